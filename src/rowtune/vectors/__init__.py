"""Word vectors in files: load, save, extend and compare them."""

from rowtune.vectors.extend import check_format_for, extend_file
from rowtune.vectors.fasttext_model import FastTextModel
from rowtune.vectors.gensim_tables import from_gensim, to_gensim
from rowtune.vectors.kinds import kind_of
from rowtune.vectors.reading import load, open_fasttext
from rowtune.vectors.vectors import Vectors, WordError
from rowtune.vectors.verify import Difference, Verification, sha256_of_rows, verify
from rowtune.vectors.writing import save

__all__ = [
    "Difference",
    "FastTextModel",
    "Vectors",
    "Verification",
    "WordError",
    "check_format_for",
    "extend_file",
    "from_gensim",
    "kind_of",
    "load",
    "open_fasttext",
    "save",
    "sha256_of_rows",
    "to_gensim",
    "verify",
]
