"""`describe`: what a table is, before anybody trusts it with anything."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.base import fingerprint
from rowtune.vectors.formats import TABLE, format_in
from rowtune.vectors.opening import resolve
from rowtune.vectors.reading import read_rows
from rowtune.vectors.unpacking import ZIP, packing_of
from rowtune.vectors.vectors import Matrix, Progress, Vectors
from rowtune.vectors.verify import sha256_of_rows

_ROWS_AT_A_TIME = 8192
_WORDS_AT_A_TIME = 1 << 16
# Rows that tables give to what is no word; models look for them by these names.
_MARKERS = ("<unk>", "<UNK>", "unk", "[UNK]", "UNK", "</s>", "<s>", "<pad>", "[PAD]", "<PAD>")


@dataclass(frozen=True)
class Band:
    """Lengths of the rows ``first`` to ``last`` (counted from 1, both included).

    Most tables have their most frequent words first, so a band is a band of frequency. Rows with
    NaN or infinity are left out; all three lengths are NaN where nothing is left.
    """

    first: int
    last: int
    low: float  # a twentieth of the rows are shorter
    median: float
    high: float  # a twentieth of the rows are longer


@dataclass(frozen=True)
class Case:
    """How the words with letters are written; those of scripts without case count as lower."""

    lower: int
    capitalized: int
    upper: int
    mixed: int

    @property
    def words(self) -> int:
        return self.lower + self.capitalized + self.upper + self.mixed


@dataclass(frozen=True)
class Facts:
    """What `describe` found."""

    rows: int
    dim: int
    dtype: str
    words: int  # distinct ones
    repeated: tuple[str, ...]  # words with more than one row, in the order of the table
    zero_rows: tuple[int, ...]
    not_finite_rows: tuple[int, ...]
    bands: tuple[Band, ...]
    case: Case
    with_digit: int
    with_space: int
    not_text: int  # words whose bytes are no UTF-8
    markers: tuple[str, ...]
    sha256: str  # of the bytes of the rows
    fingerprint: str  # what a patch calls its base: SHA-256 of shape, dtype and bytes


def describe(vectors: Vectors, progress: Progress | None = None) -> Facts:
    """Count what a table holds and what is odd about it.

    Parameters
    ----------
    vectors : Vectors
        The table, shape (N, D).
    progress : callable, optional
        Called as ``progress(stage, done, total)``.
    """
    norms = _norms(vectors.matrix, progress)
    finite = np.isfinite(norms)
    case, digits, spaces, not_text = _spelling(vectors, progress)
    if progress:
        progress("hashing", 0, 2)
    hashes = sha256_of_rows(vectors.matrix), fingerprint_of(vectors.matrix)
    if progress:
        progress("hashing", 2, 2)
    repeated = _repeated(vectors)
    return Facts(
        rows=len(vectors),
        dim=vectors.dim,
        dtype=str(vectors.matrix.dtype),
        words=len(vectors) - sum(repeated.values()) + len(repeated),
        repeated=tuple(repeated),
        zero_rows=tuple(np.flatnonzero(norms == 0).tolist()),
        not_finite_rows=tuple(np.flatnonzero(~finite).tolist()),
        bands=tuple(_band(norms, first, last) for first, last in _edges(len(vectors))),
        case=case,
        with_digit=digits,
        with_space=spaces,
        not_text=not_text,
        markers=tuple(word for word in _MARKERS if word in vectors),
        sha256=hashes[0],
        fingerprint=hashes[1],
    )


def fingerprint_of(matrix: Matrix) -> str:
    """The fingerprint that patches of this table carry, bfloat16 by its bits."""
    if matrix.dtype.name == "bfloat16":
        return fingerprint(matrix.view(np.uint16), "bfloat16")
    return fingerprint(matrix)


def _norms(matrix: Matrix, progress: Progress | None) -> NDArray[np.float64]:
    """The length of every row; NaN or infinity where the row has one."""
    norms = np.empty(len(matrix))
    for start in range(0, len(matrix), _ROWS_AT_A_TIME):
        rows = matrix[start : start + _ROWS_AT_A_TIME].astype(np.float64)
        norms[start : start + len(rows)] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        if progress:
            progress("measuring rows", start + len(rows), len(matrix))
    return norms


def _edges(rows: int) -> list[tuple[int, int]]:
    """First and last row of bands that grow tenfold: 1-100, 101-1,000, and so on."""
    edges = [0]
    while edges[-1] < rows:
        edges.append(min(rows, max(100, 10 * edges[-1])))
    return [(a + 1, b) for a, b in pairwise(edges)]


def _band(norms: NDArray[np.float64], first: int, last: int) -> Band:
    own = norms[first - 1 : last]
    own = own[np.isfinite(own)]
    low, median, high = np.quantile(own, [0.05, 0.5, 0.95]).tolist() if len(own) else [np.nan] * 3
    return Band(first, last, low, median, high)


def _repeated(vectors: Vectors) -> dict[str, int]:
    """Words with more than one row, and how many each has, in the order of the table."""
    index: Any = vectors.word_index
    same = np.flatnonzero(index.hashes[1:] == index.hashes[:-1])
    rows = np.unique(np.concatenate([index.ids[same], index.ids[same + 1]]))
    counts = Counter(vectors.words[i] for i in rows.tolist())  # two words may share a hash
    return {word: count for word, count in counts.items() if count > 1}


def _spelling(vectors: Vectors, progress: Progress | None) -> tuple[Case, int, int, int]:
    kinds: Counter[str] = Counter()
    digits = spaces = not_text = 0
    for start in range(0, len(vectors), _WORDS_AT_A_TIME):
        for word in vectors.words[start : start + _WORDS_AT_A_TIME]:
            kinds[_case_of(word)] += 1
            digits += any(map(str.isdigit, word))
            spaces += " " in word
            not_text += not word.isascii() and any("\udc80" <= c <= "\udcff" for c in word)
        if progress:
            progress("reading words", min(start + _WORDS_AT_A_TIME, len(vectors)), len(vectors))
    return (
        Case(*(kinds[kind] for kind in ("lower", "capitalized", "upper", "mixed"))),
        digits,
        spaces,
        not_text,
    )


def _case_of(word: str) -> str:
    if word == word.lower():
        return "lower" if any(map(str.isalpha, word)) else "none"
    if word == word.upper():
        return "upper" if sum(map(str.isalpha, word)) > 1 else "capitalized"
    return "capitalized" if word == word.capitalize() else "mixed"


def format_of(path_or_name: str | os.PathLike[str]) -> str:
    """What kind of file a table comes from, in words; `FormatError` as `load`."""
    source = resolve(path_or_name)
    found = format_in(source)
    head = source.head(16)
    packing = packing_of(head) or ("zip" if head.startswith(ZIP) and found == TABLE else "")
    if found == TABLE:
        layout = read_rows(source)[1]
        text = "GloVe text" if layout.rows is None else "word2vec text"
        found = "word2vec binary" if layout.binary else text
    return f"{found}, {packing}" if packing else found
