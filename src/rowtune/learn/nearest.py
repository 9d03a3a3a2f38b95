"""Ranks and nearest neighbours by cosine among all rows of a table, in blocks of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.learn.threads import blocks

Floats = NDArray[np.float32]
_CELLS = 1 << 26  # similarities held at once: 256 MB


def unit(rows: NDArray[np.floating[Any]]) -> Floats:
    """Rows scaled to length 1 as float32; zero rows stay zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)).astype(np.float32)
    return (rows / np.maximum(norms, np.float32(1e-12))[:, None]).astype(np.float32)


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
    cosines = np.zeros((len(queries), k), np.float32)
    for begin, end, similar in _similarities(table, queries):
        own = np.full(end - begin, -1, np.int64) if hide is None else hide[begin:end]
        blocks(_best, end - begin, similar, own, ids[begin:end], cosines[begin:end])
        if progress:
            progress(end, len(queries))
    return ids, cosines


def ranks(table: Floats, queries: Floats, true: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank of row ``true[q]`` for query q among all N rows; 1 is best, ties are shared."""
    out = np.zeros(len(queries), np.int64)
    for begin, end, similar in _similarities(table, queries):
        blocks(_rank, end - begin, similar, true[begin:end], out[begin:end])
    return out


def _similarities(table: Floats, queries: Floats) -> Iterator[tuple[int, int, Floats]]:
    step = max(1, min(1024, _CELLS // max(len(table), 1)))
    room = np.empty((min(step, len(queries)), len(table)), np.float32)
    for begin in range(0, len(queries), step):
        end = min(begin + step, len(queries))
        yield begin, end, np.matmul(queries[begin:end], table.T, out=room[: end - begin])


@njit(cache=True, nogil=True)
def _best(begin: int, end: int, similar: Any, own: Any, ids: Any, cosines: Any) -> None:
    k = ids.shape[1]
    if k == 0:
        return
    for q in range(begin, end):
        row = similar[q]
        best = np.full(k, -np.inf, np.float32)
        who = np.zeros(k, np.int64)
        for j in range(len(row)):
            value = row[j]
            if value <= best[k - 1] or j == own[q]:
                continue
            at = k - 1
            while at > 0 and best[at - 1] < value:
                best[at] = best[at - 1]
                who[at] = who[at - 1]
                at -= 1
            best[at] = value
            who[at] = j
        ids[q] = who
        cosines[q] = best


@njit(cache=True, nogil=True)
def _rank(begin: int, end: int, similar: Any, true: Any, out: Any) -> None:
    for q in range(begin, end):
        row = similar[q]
        own = row[true[q]]
        better = 0
        for j in range(len(row)):
            better += row[j] > own
        out[q] = better + 1
