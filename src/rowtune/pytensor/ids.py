"""Ids of a lookup as slots, in the graph: checked where they are known, else when it runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from pytensor import shared
from pytensor.graph.basic import Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from rowtune.errors import IdError
from rowtune.rows import Rows, as_ids, check_range


class Located(NamedTuple):
    """Where the ids of one lookup live.

    Attributes
    ----------
    ids : int64 vector of n, each of them in the table
    slots : int32 vector of n, -1 where frozen
    inside : boolean scalar, whether all ids that came are in the table
    message : str, what is raised where they are not
    """

    ids: TensorVariable
    slots: TensorVariable
    inside: TensorVariable
    message: str


class SlotMap:
    """The slots of ``rows`` as shared variables that no function updates."""

    def __init__(self, rows: Rows, name: str) -> None:
        self._rows = rows
        self._name = name
        self._map = self._sorted = None
        if rows.slot_map is not None:
            shape = rows.slot_map.shape
            self._map = shared(rows.slot_map, name=f"{name}.slots", borrow=True, shape=shape)
        elif not rows.trains_all and len(rows):
            self._sorted = shared(rows.ids, name=f"{name}.ids", borrow=True)

    def locate(self, ids: TensorVariable) -> Located:
        """The slots of ``ids``, of any shape, flat.

        Every mode but JAX checks the range before anything reads these ids. JAX has no such check,
        would let negative ids count from the end, and takes the last row for one that is too large:
        so what is outside becomes row 0 of the base for reading, and frozen for writing.
        """
        flat = ids.ravel()
        if ids.type.dtype == "uint64":  # of which int64 cannot hold all
            flat = pt.minimum(flat, np.uint64(self._rows.num_rows))
        flat = pt.cast(flat, "int64")
        fits = pt.and_(pt.ge(flat, 0), pt.lt(flat, self._rows.num_rows))
        inside = pt.all(fits)
        message = (
            f"an id is outside the table {self._name!r} of {self._rows.num_rows} rows; "
            f"ids go from 0 to {self._rows.num_rows - 1}, negative ones do not count from the end"
        )
        checked = CheckAndRaise(IdError, message)(pt.switch(fits, flat, 0), inside)
        slots = pt.switch(fits, self._slots_of(checked), -1)
        return Located(checked, pt.cast(slots, "int32"), inside, message)

    def _slots_of(self, ids: TensorVariable) -> Any:
        if self._map is not None:
            return self._map[ids]
        if self._sorted is not None:
            place = pt.minimum(pt.searchsorted(self._sorted, ids), len(self._rows) - 1)
            return pt.switch(pt.eq(self._sorted[place], ids), place, -1)
        return ids if self._rows.trains_all else -1


def as_symbolic(ids: Any, num_rows: int) -> TensorVariable:
    """``ids`` as an integer variable of any shape; concrete ones are checked now.

    Raises
    ------
    IdError
        Not integers; or concrete and outside the table.
    """
    if isinstance(ids, Variable):
        dtype = getattr(ids.type, "dtype", str(ids.type))
        if not dtype.startswith(("int", "uint")):
            raise IdError(f"ids are a variable of {dtype}; expected integers, as of pt.lvector()")
        return ids
    given = as_ids(ids)
    check_range(given.reshape(-1), num_rows)
    return pt.constant(given.astype(np.int64))
