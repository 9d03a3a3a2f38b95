"""Which rows (and columns) of a table train, and where each of them lives in the block."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rowtune.errors import IdError, ShapeError
from rowtune.places import MOST_SLOTS, Places

Choice: TypeAlias = str | slice | Sequence[int] | NDArray[Any]

# Ids are checked and mapped in pieces that stay in cache between the check and the map.
_PIECE = 1 << 16


class Rows:
    """The trainable rows of a table of ``num_rows`` rows, chosen once and fixed.

    Ids keep the user's own order: slot s of the block belongs to the s-th smallest trainable id.

    Parameters
    ----------
    num_rows : int
        N, the number of rows of the table.
    train : "all", boolean mask of N, ids, or slice
        Which rows train. Ids may come in any order; each may be named once.
    columns : None, "all", boolean mask, ids, or slice
        Which columns train; ``None`` and ``"all"`` mean every one. A mask fixes the number of
        columns; ids and slices are checked against the table when it is known.

    Attributes
    ----------
    ids : int64 array of k, the trainable ids in ascending order
        Where all rows train it is made when it is asked for, and nothing here asks.
    slot_map : int32 array of ``num_rows`` or None
        The slot of every id, -1 where frozen; None where all train, or where a search is better.
    search_ids : int64 array of k or None
        ``ids``, where they are to be searched: all rows do not train, and there is no slot map.

    Raises
    ------
    IdError
        An id that is negative, out of range, named twice, or not an integer.
    ShapeError
        A mask of the wrong length, ``train`` of a kind that is not listed above, or more trainable
        rows than there are slots: 2,147,483,647.
    """

    def __init__(self, num_rows: int, train: Choice = "all", columns: Choice | None = None) -> None:
        if isinstance(num_rows, bool) or not isinstance(num_rows, (int, np.integer)):
            raise ShapeError(f"num_rows is {num_rows!r}; expected the table's number of rows")
        if num_rows < 0:
            raise ShapeError(f"num_rows is {num_rows}; expected a number that is not negative")
        self.num_rows = int(num_rows)
        self.trains_all = isinstance(train, str) and train == "all"
        # Of all rows the ids are the slots: there is nothing to remember.
        self._places: Places | None = None
        if not self.trains_all:
            self._places = Places(_chosen(train, self.num_rows, "train", "row"), self.num_rows)
        self._check_count()
        every = columns is None or (isinstance(columns, str) and columns == "all")
        self.columns: Choice | None = None if every else _own(columns)

    def __deepcopy__(self, memo: dict[int, Any]) -> Rows:
        return self  # it never changes

    def __len__(self) -> int:
        return self.num_rows if self._places is None else len(self._places.ids)

    def __repr__(self) -> str:
        columns = "" if self.columns is None else f", columns={self.columns!r}"
        return f"Rows({len(self)} of {self.num_rows} rows train{columns})"

    @property
    def ids(self) -> NDArray[np.int64]:
        """The trainable ids in ascending order: read-only array of k."""
        if self._places is not None:
            return self._places.ids
        ids = np.arange(self.num_rows, dtype=np.int64)
        ids.flags.writeable = False
        return ids

    @property
    def slot_map(self) -> NDArray[np.int32] | None:
        """The slot of every id, -1 where frozen; None where all train, or a search is better."""
        return None if self._places is None else self._places.slot_map

    @property
    def search_ids(self) -> NDArray[np.int64] | None:
        """``ids`` where they are to be searched, else None; not a copy, and not to be written. (It
        could be: torch warns of what cannot.)
        """
        if self._places is None or self._places.slot_map is not None:
            return None
        return self._places.searched

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Boolean array of ``num_rows``, true where a row trains."""
        mask = np.full(self.num_rows, self.trains_all)
        if self._places is not None:
            mask[self._places.ids] = True
        return mask

    def slots(self, ids: ArrayLike) -> NDArray[np.int32]:
        """Slots of ids, in the shape of ``ids``; -1 marks a frozen row and is never an index.

        Raises
        ------
        IdError
            An id that is negative, not below ``num_rows``, or not an integer.
        """
        given = as_ids(ids)
        slots = np.empty(given.shape, dtype=np.int32)
        flat_ids, flat_slots = given.reshape(-1), slots.reshape(-1)
        for start in range(0, flat_ids.size, _PIECE):
            piece = flat_ids[start : start + _PIECE]
            check_range(piece, self.num_rows)
            self._map_piece(piece, flat_slots[start : start + _PIECE])
        return slots

    def chosen_columns(self, num_columns: int) -> NDArray[np.int64] | None:
        """Sorted trainable columns of a table with ``num_columns``; None where all train."""
        if self.columns is None:
            return None
        return _chosen(self.columns, num_columns, "columns", "column")

    def grown(self, count: int) -> Rows:
        """These rows, and ``count`` new trainable ones after the last.

        It takes time for the new rows only: what is known of the others is shared.

        Raises
        ------
        ShapeError
            More trainable rows than there are slots.
        """
        twin = copy.copy(self)
        twin.num_rows = self.num_rows + count
        if self._places is not None:
            twin._places = self._places.grown(count)
        twin._check_count()
        return twin

    def _check_count(self) -> None:
        if len(self) > MOST_SLOTS:
            raise ShapeError(f"{len(self)} rows are to train; one table can train {MOST_SLOTS}")

    def _map_piece(self, ids: NDArray[Any], out: NDArray[np.int32]) -> None:
        if self._places is None:
            out[:] = ids
        else:
            self._places.slots(ids, out)


def _own(columns: Any) -> Any:
    """A copy that the caller cannot change behind our back."""
    return np.array(columns) if isinstance(columns, (list, np.ndarray)) else columns


def as_ids(ids: ArrayLike) -> NDArray[Any]:
    """``ids`` as an integer array of any shape; anything else is an `IdError`."""
    try:
        given = np.asarray(ids)
    except ValueError as error:  # a ragged list
        raise IdError(f"ids are not one array: {error}") from None
    if given.size == 0 and given.dtype.kind == "f":
        return given.astype(np.int64)  # an empty list has no integers to show
    if given.dtype.kind not in "iu":
        raise IdError(
            f"ids have dtype {given.dtype}; expected integers "
            "(for a boolean mask write numpy.flatnonzero(mask))"
        )
    return given


def check_range(ids: NDArray[Any], num_rows: int, thing: str = "row") -> None:
    """Raise `IdError` for the first id outside 0 .. num_rows - 1."""
    if ids.size == 0:
        return
    # Seen as unsigned, a negative id is larger than any other: one pass over the ids, not two.
    signed_and_native = ids.dtype.kind == "i" and ids.dtype.isnative
    largest = ids.view(f"u{ids.dtype.itemsize}").max() if signed_and_native else ids.max()
    if largest < num_rows and (signed_and_native or ids.min() >= 0):
        return
    place = int(np.flatnonzero((ids < 0) | (ids >= num_rows))[0])
    wrong = int(ids.reshape(-1)[place])
    if num_rows == 0:
        raise IdError(f"id {wrong} is not a {thing}: there are none")
    hint = ""
    if wrong < 0:
        hint = " (negative ids do not count from the end)"
    elif thing == "row":
        hint = " (grow the table to add rows)"
    raise IdError(f"id {wrong} is not a {thing}: expected 0 to {num_rows - 1}{hint}")


def _chosen(choice: Choice, size: int, argument: str, thing: str) -> NDArray[np.int64]:
    """Sorted indices that ``choice`` names among ``size`` rows or columns."""
    if isinstance(choice, str):
        if choice == "all":
            return np.arange(size, dtype=np.int64)
        raise ShapeError(
            f'{argument}={choice!r} is unknown; expected "all", a boolean mask, ids, or a slice'
        )
    if isinstance(choice, slice):
        try:
            return np.sort(np.arange(*choice.indices(size), dtype=np.int64))
        except TypeError:
            raise ShapeError(f"{argument}={choice!r}; expected a slice of integers") from None
    given = _as_list(choice, argument)
    if given.dtype == bool:
        if given.shape != (size,):
            raise ShapeError(
                f"the {argument} mask has shape {given.shape}; expected ({size},), "
                f"one value per {thing}"
            )
        return np.flatnonzero(given).astype(np.int64)
    return _sorted_ids(given, size, argument, thing)


def _as_list(choice: Any, argument: str) -> NDArray[Any]:
    try:
        given = np.asarray(choice)
    except ValueError:
        given = np.empty((), object)  # a ragged list
    if given.ndim != 1:
        raise ShapeError(
            f'{argument} is a {type(choice).__name__}; expected "all", a boolean mask, '
            "a flat list of ids, or a slice"
        )
    return given


def _sorted_ids(given: NDArray[Any], size: int, argument: str, thing: str) -> NDArray[np.int64]:
    try:
        ids = as_ids(given)
        check_range(ids, size, thing)
    except IdError as error:
        raise IdError(f"{argument}: {error}") from None
    ids = np.sort(ids.astype(np.int64))
    repeated = np.flatnonzero(ids[1:] == ids[:-1])
    if repeated.size:
        raise IdError(f"{argument} names {thing} {ids[repeated[0]]} twice; name each one once")
    return ids
