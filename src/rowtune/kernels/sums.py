"""Sum the gradients of duplicates, and look for the NaN or infinity that would spoil a row.

A slot that fills the batch must not keep one thread busy while the others wait, so the positions of
a long group are cut into segments that are summed apart and added in order. The cuts depend on the
batch alone, hence so do the bits. It also keeps the rounding error of a long sum small.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.threads import for_each_chunk
from rowtune.signals import returned

SEGMENT = 256  # positions that are summed in one go; a longer group is cut
_SEGMENTS_PER_CHUNK = 64  # fewer are summed before another thread has woken up
_POSITIONS_AHEAD = 8  # how far in front of its use a gradient is asked for


@numba.njit(nogil=True)
def prefetch_ahead(grads: Any, order: Any, i: int) -> None:
    """Ask for the gradient that is used a few positions after ``order[i]``."""
    if i + _POSITIONS_AHEAD < order.shape[0]:
        prefetch_row(grads, order[i + _POSITIONS_AHEAD])


@numba.njit(nogil=True)
def sum_positions(grads: Any, order: Any, begin: int, end: int, total: Any) -> None:
    """total = the sum of grads[order[begin:end]], one after the other.

    Whoever sums goes through ``order`` from front to back, so what is asked for ahead is what the
    next group begins with.
    """
    prefetch_ahead(grads, order, begin)
    first = grads[order[begin]]
    for j in range(total.shape[0]):
        total[j] = first[j]
    for i in range(begin + 1, end):
        prefetch_ahead(grads, order, i)
        grad = grads[order[i]]
        for j in range(total.shape[0]):
            total[j] += grad[j]


def sum_long_groups(
    starts: NDArray[np.int64], order: NDArray[np.int64], grads: NDArray[Any]
) -> NDArray[Any]:
    """One row for each group of more than `SEGMENT` positions, in the order of the groups."""
    edges, firsts = returned(segments_of, starts)
    segments = np.empty((len(edges), grads.shape[1]), grads.dtype)

    num_chunks = -(-len(edges) // _SEGMENTS_PER_CHUNK)

    def work(chunk: int) -> None:
        begin = chunk * _SEGMENTS_PER_CHUNK
        end = min(begin + _SEGMENTS_PER_CHUNK, len(edges))
        sum_segments(grads, order, edges, segments, begin, end)

    for_each_chunk(work, num_chunks)
    sums: NDArray[Any] = returned(join_segments, segments, firsts)
    return sums


@numba.njit(nogil=True)
def sum_segments(grads: Any, order: Any, edges: Any, segments: Any, begin: int, end: int) -> None:
    for segment in range(begin, end):
        sum_positions(grads, order, edges[segment, 0], edges[segment, 1], segments[segment])


@numba.njit(nogil=True)
def segments_of(starts: Any) -> Any:
    """First and last positions of every segment, and each long group's first segment."""
    total = 0
    long_groups = 0
    for g in range(starts.shape[0] - 1):
        size = starts[g + 1] - starts[g]
        if size > SEGMENT:
            total += (size + SEGMENT - 1) // SEGMENT
            long_groups += 1
    edges = np.empty((total, 2), np.int64)
    firsts = np.empty(long_groups + 1, np.int64)
    total = 0
    long_groups = 0
    for g in range(starts.shape[0] - 1):
        if starts[g + 1] - starts[g] > SEGMENT:
            firsts[long_groups] = total
            long_groups += 1
            for begin in range(starts[g], starts[g + 1], SEGMENT):
                edges[total, 0] = begin
                edges[total, 1] = min(begin + SEGMENT, starts[g + 1])
                total += 1
    firsts[long_groups] = total
    return edges, firsts


@numba.njit(nogil=True)
def join_segments(segments: Any, firsts: Any) -> Any:
    sums = np.empty((firsts.shape[0] - 1, segments.shape[1]), segments.dtype)
    for g in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            sums[g, j] = segments[firsts[g], j]
        for segment in range(firsts[g] + 1, firsts[g + 1]):
            for j in range(sums.shape[1]):
                sums[g, j] += segments[segment, j]
    return sums


def finite_check(grads: NDArray[Any], most: int) -> tuple[NDArray[Any], Any]:
    """Bits of ``grads``, and the first that are too large: what `all_finite` takes.

    No sum of ``most`` gradients below it can overflow, with room for rounding. Floats without their
    sign are in the order of their bits, and infinity and NaN come last.
    """
    kind, maximum = _bits_and_maximum(grads.dtype)
    return grads.view(kind), _largest(maximum, most).view(kind)


def _largest(maximum: Any, most: int) -> Any:
    return maximum if most <= 1 else maximum / type(maximum)(2 * most)


@cache
def _bits_and_maximum(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], Any]:
    return np.dtype(f"u{dtype.itemsize}"), np.finfo(dtype).max


@numba.njit(nogil=True)
def all_finite(slots: Any, bits: Any, begin: int, end: int, largest: Any) -> Any:
    """Whether no gradient of a slot that trains is above ``largest``; see `finite_check`."""
    kind = bits.dtype.type
    no_sign = kind(np.iinfo(bits.dtype).max >> 1)
    for i in range(begin, end):
        if slots[i] < 0:
            continue
        grad = bits[i]
        highest = kind(0)
        for j in range(grad.shape[0]):
            highest = max(highest, kind(grad[j] & no_sign))
        if highest > largest:
            return False
    return True
