"""Where the arrays of a block are: k rows each, and spare room for rows to come.

The arrays that everybody sees are views of the first k rows of larger ones. A row that is added
costs what it holds, since only once in a while is there no room left and all rows move.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rowtune.places import with_room


class RowMemory:
    """Arrays by name, in memory. Spare room is not touched, so the system need not provide it."""

    def __init__(self) -> None:
        self._rooms: dict[str, NDArray[Any]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> RowMemory:
        return RowMemory()  # a copy of an array has no room behind it

    def __reduce__(self) -> Any:
        return RowMemory, ()

    def zeros(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A new array of ``shape``, rows first, in place of the one called ``name``."""
        array = self._zeros(name, shape, dtype)
        self._rooms[name] = array
        return array

    def grown(self, name: str, array: NDArray[Any], count: int) -> NDArray[Any]:
        """``array``, and ``count`` rows of anything behind it; C-contiguous.

        It shares the memory of ``array`` while there is room. Nothing that ``array`` shows changes.

        Raises
        ------
        MemoryError, OSError
            No room can be had; everything is as it was.
        """
        needed = len(array) + count
        if not self.holds(name, array) or len(self._rooms[name]) < needed:
            self._rooms[name] = self._larger(name, array, with_room(needed))
        return self._rooms[name][:needed]

    def holds(self, name: str, array: NDArray[Any]) -> bool:
        """Whether ``array`` is the beginning of what is called ``name`` here, and not a copy."""
        room = self._rooms.get(name)
        return (
            room is not None
            and room.dtype == array.dtype
            and room.shape[1:] == array.shape[1:]
            and array.flags.c_contiguous
            and address(room) == address(array)
        )

    def keeps(self, name: str, array: NDArray[Any]) -> bool:  # noqa: ARG002
        """Whether ``array`` may stay where it is: in memory it may be anywhere."""
        return True

    def _zeros(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:  # noqa: ARG002
        # numpy.zeros takes no memory until a row is touched.
        return np.zeros(shape, dtype)

    def _larger(self, name: str, array: NDArray[Any], capacity: int) -> NDArray[Any]:  # noqa: ARG002
        room = np.empty((capacity, *array.shape[1:]), array.dtype)
        room[: len(array)] = array
        return room


def address(array: NDArray[Any]) -> int:
    """Where the memory of an array begins."""
    where: int = array.__array_interface__["data"][0]
    return where
