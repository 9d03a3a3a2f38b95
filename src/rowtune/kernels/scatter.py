"""The backward pass on the CPU: gradients of positions, summed into the rows of the block.

The sums have the order and the cuts of `rowtune.kernels.sums`, so their bits do not depend on the
number of threads.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.grouping import Groups
from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.sums import SEGMENT, sum_long_groups, sum_positions
from rowtune.kernels.threads import for_each_chunk

_BYTES_PER_CHUNK = 1 << 20
_ROWS_AHEAD = 8  # how far in front of its use a mark is asked for


def sum_groups(groups: Groups, grads: NDArray[Any], out: NDArray[Any]) -> None:
    """``out`` (u x D): for each touched slot, the sum of its positions' gradients."""
    places = np.arange(len(groups.unique), dtype=np.int32)
    _fill(out, places, groups, grads)


def sum_into_rows(groups: Groups, grads: NDArray[Any], out: NDArray[Any]) -> None:
    """``out`` (k x D): the same sums in the rows of their slots, zeros elsewhere.

    Each byte is written once: there is no pass of zeros before that of the sums.
    """
    _fill(out, groups.unique, groups, grads)


@numba.njit(nogil=True)
def mark(slots: Any, stamp: int, marks: Any) -> None:
    """Set ``marks`` (k,) to ``stamp`` at the slots (n,) that are not -1."""
    for i in range(slots.shape[0]):
        soon = i + _ROWS_AHEAD
        if soon < slots.shape[0] and slots[soon] >= 0:
            prefetch_row(marks, np.int64(slots[soon]))
        if slots[i] >= 0:
            marks[slots[i]] = stamp


@numba.njit(nogil=True)
def none_frozen(slots: Any) -> Any:
    """Whether no slot is -1."""
    frozen = 0
    for i in range(slots.shape[0]):
        frozen += slots[i] < 0
    return frozen == 0


@numba.njit(nogil=True)
def ascend(slots: Any) -> Any:
    """Whether each slot is above the one before, so that none comes twice."""
    wrong = 0
    for i in range(1, slots.shape[0]):
        wrong += slots[i] <= slots[i - 1]
    return wrong == 0


@numba.njit(nogil=True)
def any_nonzero(rows: Any) -> Any:
    """Whether a matrix holds anything but zeros; it looks no further than the first such row."""
    for i in range(rows.shape[0]):
        found = 0
        for j in range(rows.shape[1]):
            found += rows[i, j] != 0
        if found:
            return True
    return False


def _fill(
    rows: NDArray[Any], places: NDArray[np.int32], groups: Groups, grads: NDArray[Any]
) -> None:
    long_sums = (
        sum_long_groups(groups.starts, groups.order, grads)
        if groups.longest > SEGMENT
        else np.empty((0, grads.shape[1]), grads.dtype)
    )
    rows_per_chunk = max(1, _BYTES_PER_CHUNK // max(1, rows[:1].nbytes))
    num_chunks = -(-len(rows) // rows_per_chunk)
    edges = np.minimum(np.arange(num_chunks + 1) * rows_per_chunk, len(rows))
    first_groups = np.searchsorted(places, edges)

    def work(chunk: int) -> None:
        _fill_chunk(
            rows, places, groups.starts, groups.order, grads, long_sums,
            edges[chunk], edges[chunk + 1], first_groups[chunk], first_groups[chunk + 1],
        )  # fmt: skip

    for_each_chunk(work, num_chunks)


@numba.njit(nogil=True)
def _fill_chunk(
    rows: Any,
    places: Any,
    starts: Any,
    order: Any,
    grads: Any,
    long_sums: Any,
    begin: int,
    end: int,
    first: int,
    last: int,
) -> None:
    """Rows begin to end, whose groups are first to last."""
    passed = 0  # long groups before this chunk
    if long_sums.shape[0] > 0:
        for g in range(first):
            passed += starts[g + 1] - starts[g] > SEGMENT
    row = begin
    for g in range(first, last):
        _zero(rows, row, places[g])
        row = places[g]
        if starts[g + 1] - starts[g] <= SEGMENT:
            sum_positions(grads, order, starts[g], starts[g + 1], rows[row])
        else:
            for j in range(rows.shape[1]):
                rows[row, j] = long_sums[passed, j]
            passed += 1
        row += 1
    _zero(rows, row, end)


@numba.njit(nogil=True)
def _zero(rows: Any, begin: int, end: int) -> None:
    for i in range(begin, end):
        for j in range(rows.shape[1]):
            rows[i, j] = 0


def rows_to_move(grads: NDArray[Any], marks: NDArray[np.bool_] | None) -> NDArray[np.int32]:
    """Slots (k,) of a gradient by row (k x D): its own where a row is marked or not zero, else -1.

    A row without a mark is looked at, because it can have a gradient from elsewhere: a tied head,
    a penalty on the block, another process.
    """
    slots = np.empty(len(grads), np.int32)
    if marks is None:
        marks = np.zeros(len(grads), np.bool_)
    rows_per_chunk = max(1, _BYTES_PER_CHUNK // max(1, grads[:1].nbytes))

    def work(chunk: int) -> None:
        begin = chunk * rows_per_chunk
        _choose(grads, marks, slots, begin, min(begin + rows_per_chunk, len(grads)))

    for_each_chunk(work, -(-len(grads) // rows_per_chunk))
    return slots


@numba.njit(nogil=True)
def _choose(grads: Any, marks: Any, slots: Any, begin: int, end: int) -> None:
    for i in range(begin, end):
        moves = marks[i]
        if not moves:
            found = 0
            for j in range(grads.shape[1]):
                found += grads[i, j] != 0
            moves = found > 0
        slots[i] = i if moves else -1
