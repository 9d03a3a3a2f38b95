"""Word vectors in files: load, save, extend and compare them."""

from rowtune.vectors.reading import load
from rowtune.vectors.vectors import Vectors, WordError

__all__ = ["Vectors", "WordError", "load"]
