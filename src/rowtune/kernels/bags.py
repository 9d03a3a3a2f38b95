"""Sums and means over bags of rows, from base and block at once, and their gradient by position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.threads import for_each_chunk

_BYTES_PER_CHUNK = 1 << 20
_ROWS_AHEAD = 8  # how far in front of its use a row is asked for


def sum_bags(
    base: NDArray[Any],
    base_step: int,
    block: NDArray[Any],
    ids: NDArray[Any],
    slots: NDArray[np.int32],
    bounds: NDArray[np.int64],
    weights: NDArray[Any],
    padding: int,
    mean: bool,
    out: NDArray[Any],
) -> None:
    """``out[b]`` = the sum of the rows of positions ``bounds[b]`` to ``bounds[b + 1]``.

    Parameters
    ----------
    base, block, out : float arrays of one dtype, C-contiguous; see `gather.take_rows`
    weights : array (n,), what each row is multiplied with; empty where that is 1
    padding : an id that counts in no bag, or -1
    mean : divide by the number of rows in the bag
    """

    def work(begin: int, end: int) -> None:
        _sum(base, base_step, block, ids, slots, bounds, weights, padding, mean, out, begin, end)

    in_bags(work, len(ids), len(out), block[:1].nbytes)


def in_bags(work: Callable[[int, int], None], positions: int, bags: int, row_bytes: int) -> None:
    """Call ``work(begin, end)`` for pieces of the bags, on all threads."""
    bags_per_chunk = _bags_per_chunk(positions, bags, row_bytes)

    def piece(chunk: int) -> None:
        begin = chunk * bags_per_chunk
        work(begin, min(begin + bags_per_chunk, bags))

    for_each_chunk(piece, -(-bags // bags_per_chunk))


def _bags_per_chunk(positions: int, bags: int, row_bytes: int) -> int:
    chunks = max(1, positions * row_bytes // _BYTES_PER_CHUNK)
    return max(1, -(-bags // chunks))


@numba.njit(nogil=True)
def _sum(
    base: Any,
    base_step: int,
    block: Any,
    ids: Any,
    slots: Any,
    bounds: Any,
    weights: Any,
    padding: int,
    mean: bool,
    out: Any,
    begin: int,
    end: int,
) -> None:
    # Indexed element by element: slices of rows, handed to a function, take three times as long.
    width, last = out.shape[1], bounds[end]
    weighted = weights.shape[0] > 0
    total = np.empty(width, out.dtype)
    for b in range(begin, end):
        total[:] = 0
        counted = 0
        for p in range(bounds[b], bounds[b + 1]):
            soon = p + _ROWS_AHEAD
            if soon < last:
                if slots[soon] >= 0:
                    prefetch_row(block, np.int64(slots[soon]))
                else:
                    prefetch_row(base, np.int64(ids[soon]) * base_step)
            if ids[p] == padding:
                continue
            counted += 1
            rows, row = (block, slots[p]) if slots[p] >= 0 else (base, ids[p] * base_step)
            if weighted:
                weight = weights[p]
                for j in range(width):
                    total[j] += weight * rows[row, j]
            else:
                for j in range(width):
                    total[j] += rows[row, j]
        share = out.dtype.type(counted if mean and counted > 1 else 1)
        for j in range(width):
            out[b, j] = total[j] / share


def spread_over_positions(
    grads: NDArray[Any],
    ids: NDArray[Any],
    bounds: NDArray[np.int64],
    weights: NDArray[Any],
    padding: int,
    mean: bool,
    out: NDArray[Any],
) -> None:
    """``out`` (n, D) = the gradients of the positions, from those of the bags (b, D)."""
    bags = len(bounds) - 1

    def work(begin: int, end: int) -> None:
        _spread(grads, ids, bounds, weights, padding, mean, out, begin, end)

    in_bags(work, len(out), bags, out[:1].nbytes)


@numba.njit(nogil=True)
def _spread(
    grads: Any,
    ids: Any,
    bounds: Any,
    weights: Any,
    padding: int,
    mean: bool,
    out: Any,
    begin: int,
    end: int,
) -> None:
    for b in range(begin, end):
        counted = 0
        for p in range(bounds[b], bounds[b + 1]):
            counted += ids[p] != padding
        share = out.dtype.type(counted if mean and counted > 1 else 1)
        grad = grads[b]
        for p in range(bounds[b], bounds[b + 1]):
            weight = weights[p] if weights.shape[0] else out.dtype.type(1)
            for j in range(out.shape[1]):
                out[p, j] = weight * grad[j] / share


@numba.njit(nogil=True)
def bag_of(bounds: Any, positions: int) -> Any:
    """The bag (n,) of each position."""
    bags = np.empty(positions, np.int64)
    for b in range(bounds.shape[0] - 1):
        for p in range(bounds[b], bounds[b + 1]):
            bags[p] = b
    return bags


@numba.njit(nogil=True)
def bounds_are_right(bounds: Any, positions: int) -> Any:
    """Whether bags begin at 0, end at ``positions``, and none ends before it begins."""
    for b in range(bounds.shape[0] - 1):
        if bounds[b] > bounds[b + 1]:
            return False
    return bounds[0] == 0 and bounds[-1] == positions
