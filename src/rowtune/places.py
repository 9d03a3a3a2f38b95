"""The trainable ids of a table in order, the slot of each, and room for the rows to come."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# A slot map takes four bytes for every row of the table. Where that is more than this, and one row
# in this many trains, a binary search among the few trainable ids is the better answer.
_SMALL_SLOT_MAP = 1 << 24
_ROWS_PER_TRAINABLE_ROW_TO_SEARCH = 256
MOST_SLOTS = (1 << 31) - 1  # a slot is an int32


def with_room(count: int) -> int:
    """How many rows to make room for where ``count`` are needed: a quarter more, so that all rows
    that are ever added are copied four times on average, however few come at a time.
    """
    return count + count // 4 + 16


class Places:
    """Where the rows ``ids`` of a table of ``num_rows`` live in its block.

    A row that is added goes to the end of the table and of the block. So what stands in the spare
    room is known beforehand, and places that have grown share it: it is filled once, and nothing is
    written when a row is added.

    Attributes
    ----------
    ids : int64 array of k, ascending; not to be written
    slot_map : int32 array of ``num_rows`` or None
        The slot of every id, -1 where frozen; None where a search among ``ids`` is better.
    """

    ids: NDArray[np.int64]
    slot_map: NDArray[np.int32] | None

    def __init__(self, ids: NDArray[np.int64], num_rows: int) -> None:
        self.num_rows = num_rows
        self._ids_room = ids
        self.ids = _read_only(ids)
        self.slot_map = self._map_room = None
        if not _search_is_better(len(ids), num_rows):
            self.slot_map = self._map_room = _slot_map(ids, num_rows)

    def __deepcopy__(self, memo: dict[int, Any]) -> Places:
        return self  # it never changes

    def __reduce__(self) -> Any:
        return Places, (self.ids, self.num_rows)  # the map follows from them

    @property
    def searched(self) -> NDArray[np.int64]:
        """``ids`` without the guard."""
        return self._ids_room[: len(self.ids)]

    def grown(self, count: int) -> Places:
        """These places, and those of ``count`` rows after the last."""
        known, num_rows = len(self.ids), self.num_rows + count
        twin = object.__new__(Places)
        twin.num_rows = num_rows
        twin._ids_room = _extended(self._ids_room, known, known + count, self.num_rows)
        twin.ids = _read_only(twin._ids_room[: known + count])
        twin.slot_map = twin._map_room = None
        if self._map_room is not None:
            twin._map_room = _extended(self._map_room, self.num_rows, num_rows, known)
            twin.slot_map = twin._map_room[:num_rows]
        elif not _search_is_better(known + count, num_rows):
            twin.slot_map = twin._map_room = _slot_map(twin.ids, num_rows)
        return twin

    def slots(self, ids: NDArray[Any], out: NDArray[np.int32]) -> None:
        """Write the slots of ``ids`` (n,), each of them in the table, to ``out`` (n,)."""
        if self.slot_map is not None:
            # The range is checked, so clipping never clips; it only spares NumPy a buffer.
            np.take(self.slot_map, ids, out=out, mode="clip")
        elif len(self.ids) == 0:
            out[:] = -1
        else:
            ids = ids.astype(np.int64, copy=False)  # in range by now; unsigned ones compare badly
            place = np.searchsorted(self.ids, ids)
            place[place == len(self.ids)] = 0
            out[:] = np.where(self.ids[place] == ids, place, -1)


def _extended(room: NDArray[Any], used: int, needed: int, first: int) -> NDArray[Any]:
    """``room``, or a larger one, that holds ``needed`` numbers: after those in use they count on
    from ``first``.
    """
    if needed <= len(room):
        return room
    larger = np.empty(min(with_room(needed), max(needed, MOST_SLOTS)), room.dtype)
    larger[:used] = room[:used]
    # Spare room that no row can have may be beyond an int32; it is never shown.
    larger[used:] = np.arange(first, first + len(larger) - used).astype(room.dtype)
    return larger


def _slot_map(ids: NDArray[np.int64], num_rows: int) -> NDArray[np.int32]:
    slot_map = np.full(num_rows, -1, dtype=np.int32)
    slot_map[ids] = np.arange(len(ids), dtype=np.int32)
    return slot_map


def _search_is_better(trainable: int, num_rows: int) -> bool:
    return (
        4 * num_rows > _SMALL_SLOT_MAP and trainable * _ROWS_PER_TRAINABLE_ROW_TO_SEARCH < num_rows
    )


def _read_only(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """A view that cannot be written."""
    view = ids.view()
    view.flags.writeable = False
    return view
