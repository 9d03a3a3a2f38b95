"""To gensim's `KeyedVectors` and back, in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from rowtune.errors import FormatError, ShapeError
from rowtune.vectors.vectors import Vectors
from rowtune.vectors.words import Words


def to_gensim(vectors: Vectors) -> Any:
    """The table as gensim's `KeyedVectors`.

    The rows are shared, not copied, and those of a loaded table are read-only: give gensim a copy
    (``kv.vectors = kv.vectors.copy()``) before anything that writes into them. gensim has a row per
    word: of a word that occurs more than once it gets the first.

    Raises
    ------
    ImportError
        If gensim is not installed.
    """
    from gensim.models import KeyedVectors  # type: ignore[import-untyped]  # noqa: PLC0415

    words, matrix = list(vectors.words), np.asarray(vectors.matrix)
    rows = {word: i for i, word in reversed(list(enumerate(words)))}
    if len(rows) < len(words):
        kept = sorted(rows.values())
        words, matrix = [words[i] for i in kept], matrix[kept]
    if matrix.dtype.name == "bfloat16":
        matrix = matrix.astype(np.float32)  # exact; gensim's arithmetic knows no bfloat16
    keyed = KeyedVectors(vectors.dim, 0, dtype=matrix.dtype)
    keyed.index_to_key = words
    keyed.key_to_index = {word: i for i, word in enumerate(words)}
    keyed.vectors = matrix
    return keyed


def from_gensim(keyed: Any) -> Vectors:
    """The table of a gensim `KeyedVectors`, or of a model that has one as ``wv``.

    The rows are shared, not copied. Of fastText models these are the composed rows of the words.

    Raises
    ------
    ShapeError
        If ``keyed`` has no words and rows, or not one word per row.
    FormatError
        For keys that are no text.
    """
    keyed = getattr(keyed, "wv", keyed)
    words, matrix = getattr(keyed, "index_to_key", None), getattr(keyed, "vectors", None)
    if words is None or not isinstance(matrix, np.ndarray):
        raise ShapeError(
            f"got {type(keyed).__name__}; expected gensim's KeyedVectors, or a model with one"
        )
    if not all(isinstance(word, str) for word in words):
        odd = next(word for word in words if not isinstance(word, str))
        raise FormatError(
            f"the key {odd!r} is no text; expected words: give each row a name, e.g. str(key)"
        )
    return Vectors(Words.of(words), matrix[: len(words)])
