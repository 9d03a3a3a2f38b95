"""`verify`: do the rows of one table stand in another, bit for bit?"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import ShapeError
from rowtune.vectors.reading import load
from rowtune.vectors.vectors import Matrix, Vectors

_ROWS_AT_A_TIME = 8192
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """A word whose row is not the same bits. ``max_abs`` is NaN where a NaN is involved."""

    word: str
    row_before: int
    row_after: int
    max_abs: float  # largest absolute difference of a value; 0.0 for 0.0 against -0.0


@dataclass(frozen=True)
class Verification:
    """What `verify` found. The hashes cover the found rows in BEFORE's order."""

    ok: bool
    rows: int  # checked, that is all rows of BEFORE
    differing: tuple[Difference, ...]
    missing: tuple[str, ...]  # words (or further occurrences of one) that AFTER lacks
    sha256_before: str
    sha256_after: str


def verify(
    before: Vectors | str | os.PathLike[str], after: Vectors | str | os.PathLike[str]
) -> Verification:
    """Check that every word of ``before`` has the same bits in ``after``.

    Bits, not values: -0.0 is not 0.0, and a NaN equals itself if its payload does. A word that
    occurs several times is compared occurrence by occurrence.

    Parameters
    ----------
    before, after : Vectors, path or str
        Tables, or what `load` takes.

    Raises
    ------
    ShapeError
        If the two have rows of another length or dtype.
    FormatError
        As `load`.
    """
    old, new = _loaded(before), _loaded(after)
    if old.dim != new.dim or old.matrix.dtype != new.matrix.dtype:
        raise ShapeError(
            f"rows of {old.dim} x {old.matrix.dtype} before and {new.dim} x {new.matrix.dtype} "
            "after cannot be the same bits; expected tables of one dimension and dtype"
        )
    ids = matching_ids(old, new)
    found = np.flatnonzero(ids >= 0)
    missing = tuple(old.words[i] for i in np.flatnonzero(ids < 0).tolist())
    differing, hashes = _compare(old, new, found, ids[found])
    ok = not differing and not missing
    return Verification(ok, len(old), tuple(differing), missing, hashes[0], hashes[1])


def matching_ids(old: Vectors, new: Vectors) -> Ids:
    """The row in ``new`` of every row of ``old``, shape (len(old),); -1 where there is none."""
    if len(new) >= len(old) and new.words[: len(old)] == old.words:
        return np.arange(len(old))
    rows_of: defaultdict[bytes, list[int]] = defaultdict(list)
    for i, word in enumerate(new.words.iter_raw()):
        rows_of[word].append(i)
    seen: defaultdict[bytes, int] = defaultdict(int)
    ids = np.full(len(old), -1, np.int64)
    for i, word in enumerate(old.words.iter_raw()):
        rows = rows_of.get(word, [])
        nth = seen[word]
        seen[word] = nth + 1
        if nth < len(rows):
            ids[i] = rows[nth]
    return ids


def sha256_of_rows(matrix: Matrix, ids: Ids | None = None) -> str:
    """SHA-256 of the bytes of rows ``ids`` (all by default), one row after the other."""
    chosen = np.arange(len(matrix)) if ids is None else ids
    digest = hashlib.sha256()
    for start in range(0, len(chosen), _ROWS_AT_A_TIME):
        digest.update(_bits(matrix, chosen[start : start + _ROWS_AT_A_TIME]).data)
    return digest.hexdigest()


def _compare(
    old: Vectors, new: Vectors, rows: Ids, ids: Ids
) -> tuple[list[Difference], tuple[str, str]]:
    digests = hashlib.sha256(), hashlib.sha256()
    differing: list[Difference] = []
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        these, those = rows[start : start + _ROWS_AT_A_TIME], ids[start : start + _ROWS_AT_A_TIME]
        a, b = _bits(old.matrix, these), _bits(new.matrix, those)
        digests[0].update(a.data)
        digests[1].update(b.data)
        for k in np.flatnonzero((a != b).any(axis=1)).tolist():
            differing.append(_difference(old, new, int(these[k]), int(those[k])))
    return differing, (digests[0].hexdigest(), digests[1].hexdigest())


def _bits(matrix: Matrix, ids: Ids) -> NDArray[np.uint8]:
    """Chosen rows as bytes, shape (len(ids), D x item size)."""
    run = (
        len(ids) and int(ids[-1]) - int(ids[0]) == len(ids) - 1 and bool((np.diff(ids) == 1).all())
    )
    rows = matrix[int(ids[0]) : int(ids[-1]) + 1] if run else matrix[ids]
    return np.ascontiguousarray(rows).view(np.uint8)


def _difference(old: Vectors, new: Vectors, i: int, j: int) -> Difference:
    with np.errstate(invalid="ignore"):  # inf - inf
        gap = np.abs(old.matrix[i].astype(np.float64) - new.matrix[j].astype(np.float64))
    return Difference(old.words[i], i, j, float(gap.max()))


def _loaded(table: Vectors | str | os.PathLike[str]) -> Vectors:
    # A proof is about the file itself, so it reads the file and trusts no cache of it.
    return table if isinstance(table, Vectors) else load(table, cache=False)
