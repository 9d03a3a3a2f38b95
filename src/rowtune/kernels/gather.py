"""The forward pass on the CPU: ids to slots, then every row from the base or the block, once.

Rows are moved as integers of their elements' size, so that any float dtype goes through the same
code and every bit arrives, NaN payloads included.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.reach import reach
from rowtune.kernels.row_copy import copy_row
from rowtune.kernels.threads import for_each_chunk
from rowtune.rows import check_range

_BYTES_PER_CHUNK = 1 << 20
_ROWS_AHEAD = 8  # how far in front of its use a row is asked for


def slots_of(
    ids: NDArray[Any],
    num_rows: int,
    slot_map: NDArray[np.int32] | None,
    trainable: NDArray[np.int64] | None,
) -> NDArray[np.int32]:
    """Slots (n,) of ids (n,): by the map, or among the sorted ``trainable``, or all as they are.

    Raises
    ------
    IdError
        An id that is negative or not below ``num_rows``.
    """
    slots = np.empty(len(ids), np.int32)
    if slot_map is not None:
        good = _map_ids(ids, slot_map, slots)
    elif trainable is not None:
        good = _search_ids(ids, num_rows, trainable, slots)
    else:
        good = _keep_ids(ids, num_rows, slots)
    if not good:
        check_range(ids, num_rows)
    return slots


@numba.njit(nogil=True)
def _map_ids(ids: Any, slot_map: Any, slots: Any) -> bool:
    for i in range(ids.shape[0]):
        if ids[i] < 0 or ids[i] >= slot_map.shape[0]:
            return False
        slots[i] = slot_map[ids[i]]
    return True


@numba.njit(nogil=True)
def _search_ids(ids: Any, num_rows: int, trainable: Any, slots: Any) -> bool:
    for i in range(ids.shape[0]):
        if ids[i] < 0 or ids[i] >= num_rows:
            return False
        place = np.searchsorted(trainable, ids[i])
        found = place < trainable.shape[0] and trainable[place] == ids[i]
        slots[i] = place if found else -1
    return True


@numba.njit(nogil=True)
def _keep_ids(ids: Any, num_rows: int, slots: Any) -> bool:
    for i in range(ids.shape[0]):
        if ids[i] < 0 or ids[i] >= num_rows:
            return False
        slots[i] = ids[i]
    return True


def take_rows(
    base: NDArray[Any],
    base_step: int,
    block: NDArray[Any],
    ids: NDArray[Any],
    slots: NDArray[np.int32],
    out: NDArray[Any],
) -> None:
    """``out[i]`` = row ``slots[i]`` of the block, or ``ids[i] * base_step`` of the base if frozen.

    Parameters
    ----------
    base, block, out : integer arrays of one dtype, C-contiguous
    base_step : 1, or 0 where one row stands for every frozen id
    """

    def take(begin: int, end: int) -> None:
        _take(base, base_step, block, ids, slots, out, begin, end)

    in_chunks(take, out, reach(max(base, block, key=lambda rows: rows.nbytes)))


def taking(put: Any, ask: Any) -> Any:
    """The compiled loop over positions, around one way to ``put`` a frozen row into the output and
    to ``ask`` for it ahead. Both are part of it: handed over in every call, a compiled function
    would take longer to be told from others than a small batch does.
    """

    @numba.njit(nogil=True)
    def take(
        base: Any, more: Any, block: Any, ids: Any, slots: Any, out: Any, begin: int, end: int
    ) -> None:
        for i in range(begin, end):
            soon = i + _ROWS_AHEAD
            if soon < end:
                if slots[soon] >= 0:
                    prefetch_row(block, np.int64(slots[soon]))
                else:
                    ask(base, more, np.int64(ids[soon]))
            if slots[i] >= 0:
                copy_row(block, np.int64(slots[i]), out, i)
            else:
                put(base, more, np.int64(ids[i]), out, i)

    return take


@numba.njit(nogil=True)
def _put(base: Any, base_step: int, row: int, out: Any, place: int) -> None:
    copy_row(base, row * base_step, out, place)


@numba.njit(nogil=True)
def _ask(base: Any, base_step: int, row: int) -> None:
    prefetch_row(base, row * base_step)


_take = taking(_put, _ask)


def take_columns(
    base: NDArray[Any],
    base_step: int,
    base_rows: int,
    added: NDArray[Any],
    block: NDArray[Any],
    columns: NDArray[np.int64],
    ids: NDArray[Any],
    slots: NDArray[np.int32],
    out: NDArray[Any],
) -> None:
    """As `take_rows`, where a block's row holds ``columns`` only; the others are frozen.

    Rows that were added after the ``base_rows`` of the base keep their frozen columns in ``added``.
    """

    def take(begin: int, end: int) -> None:
        _take_columns(
            base, base_step, base_rows, added, block, columns, ids, slots, out, begin, end
        )

    in_chunks(take, out, reach(max(base, block, key=lambda rows: rows.nbytes)))


@numba.njit(nogil=True)
def _take_columns(
    base: Any,
    base_step: int,
    base_rows: int,
    added: Any,
    block: Any,
    columns: Any,
    ids: Any,
    slots: Any,
    out: Any,
    begin: int,
    end: int,
) -> None:
    for i in range(begin, end):
        if ids[i] < base_rows:
            copy_row(base, np.int64(ids[i]) * base_step, out, i)
        else:
            copy_row(added, np.int64(ids[i]) - base_rows, out, i)
        if slots[i] >= 0:
            for c in range(columns.shape[0]):
                out[i, columns[c]] = block[slots[i], c]


def in_chunks(take: Any, out: NDArray[Any], reached: int = 0) -> None:
    """Call ``take(begin, end)`` for pieces of ``out``, on all threads. Each row counts as its own
    bytes and those of `rowtune.kernels.reach`.
    """
    rows_per_chunk = max(1, _BYTES_PER_CHUNK // max(1, out[:1].nbytes + reached))
    num_chunks = -(-len(out) // rows_per_chunk)

    def work(chunk: int) -> None:
        begin = chunk * rows_per_chunk
        take(begin, min(begin + rows_per_chunk, len(out)))

    for_each_chunk(work, num_chunks)
