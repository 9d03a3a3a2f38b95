"""`changes`: what became of the rows of one table in another: which are gone, new, moved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import ShapeError
from rowtune.vectors.reading import load
from rowtune.vectors.vectors import Progress, Vectors
from rowtune.vectors.verify import matching_ids

_ROWS_AT_A_TIME = 8192
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Changes:
    """What `changes` found. Row ``moved[i]`` of BEFORE is row ``moved_to[i]`` of AFTER."""

    before: Vectors
    after: Vectors
    common: int  # rows that both have
    removed: Ids  # rows of BEFORE that AFTER has not
    added: Ids  # rows of AFTER that BEFORE has not
    moved: Ids  # common rows with other bits, in BEFORE's order
    moved_to: Ids
    cosine: NDArray[np.float64]  # between old and new row; NaN for a zero row or NaN
    largest: NDArray[np.float64]  # absolute difference of a value; NaN where NaN is involved
    reordered: bool  # whether common rows stand in another order
    same_dtype: bool

    @property
    def same(self) -> bool:
        """Whether nothing at all differs."""
        parts = len(self.removed) or len(self.added) or len(self.moved)
        return not parts and not self.reordered and self.same_dtype

    def top_movers(self) -> Ids:
        """Positions in ``moved``: those that turned most first, then by the largest difference."""
        turned = np.where(np.isnan(self.cosine), -2.0, self.cosine)
        gap = np.where(np.isnan(self.largest), np.inf, self.largest)
        return np.lexsort((self.moved, -gap, turned))


def changes(
    before: Vectors | str | os.PathLike[str],
    after: Vectors | str | os.PathLike[str],
    progress: Progress | None = None,
) -> Changes:
    """Compare two tables word by word; a word with several rows is compared row by row.

    Rows are compared as bits where both tables have one dtype (-0.0 is not 0.0), else as values.

    Parameters
    ----------
    before, after : Vectors, path or str
        Tables, or what `load` takes; files themselves are read, and no cache of them.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    ShapeError
        If rows of the two have another number of values.
    FormatError
        As `load`.
    """
    old, new = _loaded(before, progress), _loaded(after, progress)
    if old.dim != new.dim:
        raise ShapeError(
            f"rows of {old.dim} values before and of {new.dim} after cannot be compared; expected "
            "two states of one table"
        )
    ids = matching_ids(old, new)
    found = np.flatnonzero(ids >= 0)
    there = ids[found]
    in_before = np.zeros(len(new), bool)
    in_before[there] = True
    same_dtype = old.matrix.dtype == new.matrix.dtype
    differs = np.zeros(len(found), bool)
    cosine, largest = np.empty(len(found)), np.empty(len(found))
    for start in range(0, len(found), _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        a, b = old.matrix[found[part]], new.matrix[there[part]]
        differs[part] = _differ(a, b, same_dtype)
        at = start + np.flatnonzero(differs[part])
        cosine[at], largest[at] = _distance(a[at - start], b[at - start])
        if progress:
            progress("comparing", min(start + _ROWS_AT_A_TIME, len(found)), len(found))
    return Changes(
        before=old,
        after=new,
        common=len(found),
        removed=np.flatnonzero(ids < 0),
        added=np.flatnonzero(~in_before),
        moved=found[differs],
        moved_to=there[differs],
        cosine=cosine[differs],
        largest=largest[differs],
        reordered=bool((np.diff(there) < 0).any()),
        same_dtype=same_dtype,
    )


def _differ(a: NDArray[Any], b: NDArray[Any], as_bits: bool) -> NDArray[np.bool_]:
    if as_bits:
        a, b = (np.ascontiguousarray(rows).view(np.uint8) for rows in (a, b))
        return np.asarray((a != b).any(axis=1))
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.asarray(((a != b) & ~(np.isnan(a) & np.isnan(b))).any(axis=1))


def _distance(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine, and the largest absolute difference, of each pair of rows."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):  # NaN and infinity stay what they are
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosine = np.einsum("ij,ij->i", a, b) / lengths
        return cosine, np.abs(a - b).max(axis=1)


def _loaded(table: Vectors | str | os.PathLike[str], progress: Progress | None) -> Vectors:
    if isinstance(table, Vectors):
        return table
    return load(table, cache=False, progress=progress)
