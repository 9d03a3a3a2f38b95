"""Word vectors in files: load, save, extend and compare them."""

from rowtune.vectors.extend import check_format_for, extend_file
from rowtune.vectors.kinds import kind_of
from rowtune.vectors.reading import load
from rowtune.vectors.vectors import Vectors, WordError
from rowtune.vectors.verify import Difference, Verification, sha256_of_rows, verify
from rowtune.vectors.writing import save

__all__ = [
    "Difference",
    "Vectors",
    "Verification",
    "WordError",
    "check_format_for",
    "extend_file",
    "kind_of",
    "load",
    "save",
    "sha256_of_rows",
    "verify",
]
