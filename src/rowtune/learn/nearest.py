"""Ranks and nearest neighbours by cosine among all rows of a table, in blocks of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.learn.row_blocks import over_blocks

Floats = NDArray[np.float32]
_QUERIES, _TILE = 1024, 8192  # similarities held at once: 32 MB


_ABSURD = np.float32(1e15)  # squares and sums of such values leave float32


def unit(rows: NDArray[np.floating[Any]]) -> Floats:
    """Rows scaled to length 1 as float32; zero rows stay zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)).astype(np.float32)
    scaled: Floats = (rows / np.maximum(norms, np.float32(1e-12))[:, None]).astype(np.float32)
    return scaled


def usable(rows: NDArray[Any]) -> Floats:
    """A float32 copy to learn from: rows with NaN, infinity or absurd values are zero in it."""
    with np.errstate(over="ignore"):
        copy = np.array(rows, dtype=np.float32)
    copy[~(np.abs(copy) < _ABSURD).all(axis=1)] = 0  # NaN is not below anything
    return copy


def nearest(
    table: Floats,
    queries: Floats,
    k: int,
    hide: NDArray[np.int64] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.int64], Floats]:
    """The ``k`` rows of ``table`` with the greatest cosine, best first, and those cosines.

    Parameters
    ----------
    table : (N, D) float32 of unit rows
    queries : (Q, D) float32 of unit rows
    k : neighbours, at most N (fewer columns come back from a smaller table)
    hide : (Q,) int64, optional: one row per query that is not a neighbour (the word itself)
    """
    k = min(k, len(table) - (hide is not None))
    ids = np.zeros((len(queries), k), np.int64)
    cosines = np.full((len(queries), k), -np.inf, np.float32)
    for begin, end, first, similar in _similarities(table, queries):
        own = np.full(end - begin, -1, np.int64) if hide is None else hide[begin:end]
        over_blocks(_best, end - begin, similar, first, own, ids[begin:end], cosines[begin:end])
        if progress and first == 0:
            progress(begin, len(queries))
    return ids, cosines


def ranks(table: Floats, queries: Floats, true: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank of row ``true[q]`` for query q among all N rows; 1 is best, ties are shared."""
    out = np.ones(len(queries), np.int64)
    own = np.einsum("ij,ij->i", queries, table[true])
    for begin, end, first, similar in _similarities(table, queries):
        part = slice(begin, end)
        over_blocks(_rank, end - begin, similar, first, true[part], own[part], out[part])
    return out


def _similarities(table: Floats, queries: Floats) -> Iterator[tuple[int, int, int, Floats]]:
    """Tiles small enough for the cache: queries begin..end against the table from row first."""
    for begin in range(0, len(queries), _QUERIES):
        chosen = queries[begin : begin + _QUERIES]
        for first in range(0, len(table), _TILE):
            yield begin, begin + len(chosen), first, chosen @ table[first : first + _TILE].T


# Leave out the care for NaN, which would keep `max` scalar; rows are finite when they get here.
_FINITE = {"nnan", "nsz"}
_RUN = 64  # similarities whose greatest is compared first: most runs hold no neighbour


@njit(cache=True, nogil=True, fastmath=_FINITE)
def _best(begin: int, end: int, similar: Any, first: int, own: Any, ids: Any, cosines: Any) -> None:
    k = ids.shape[1]
    if k == 0:
        return
    for q in range(begin, end):
        row = similar[q]
        best = cosines[q]
        who = ids[q]
        for start in range(0, len(row), _RUN):
            stop = min(start + _RUN, len(row))
            top = row[start]
            for j in range(start, stop):
                top = max(top, row[j])
            if top <= best[k - 1]:
                continue
            for j in range(start, stop):
                value = row[j]
                if value <= best[k - 1] or first + j == own[q]:
                    continue
                at = k - 1
                while at > 0 and best[at - 1] < value:
                    best[at] = best[at - 1]
                    who[at] = who[at - 1]
                    at -= 1
                best[at] = value
                who[at] = first + j


@njit(cache=True, nogil=True)
def _rank(begin: int, end: int, similar: Any, first: int, true: Any, own: Any, out: Any) -> None:
    for q in range(begin, end):
        row = similar[q]
        level = own[q]
        better = 0
        for j in range(len(row)):
            better += row[j] > level
        # The matrix product may round the true row's own cosine up: it is not better than itself.
        at = true[q] - first
        if 0 <= at < len(row) and row[at] > level:
            better -= 1
        out[q] += better
