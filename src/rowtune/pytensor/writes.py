"""Writing rows by hand, as updates of a function: set and inc, on trainable rows only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from rowtune import checks
from rowtune.errors import FrozenRowError, IdError, ShapeError
from rowtune.pytensor.ids import as_symbolic
from rowtune.pytensor.table import LookupTable
from rowtune.pytensor.verbs import NOWHERE

Update = dict[SharedVariable, TensorVariable]


def set_rows(table: LookupTable, ids: Any, values: Any) -> Update:
    """The update that replaces rows by ``values``: ids.shape + (D,), or + (C,) for C columns.

    Raises
    ------
    FrozenRowError, IdError
        A frozen id; an id outside the table, or named twice. Here where ids are concrete, else when
        the function runs; nothing is changed then. JAX mode cannot raise: it writes none of these,
        but for one of the values of a row that is named twice.
    ShapeError
        Values of another number of dimensions, or another width.
    """
    given = as_symbolic(ids, len(table))
    slots = _trainable(table, given)
    message = (
        f"set_rows names a row of the table {table.name!r} twice; name it once, or use inc_rows"
    )
    if isinstance(given, Constant) and len(np.unique(given.data)) < given.data.size:
        raise IdError(message)
    ordered = pt.sort(slots)
    slots = CheckAndRaise(IdError, message)(slots, pt.all(pt.neq(ordered[1:], ordered[:-1])))
    return {table.block: pt.set_subtensor(table.block[slots], _flat(table, given, values))}


def inc_rows(table: LookupTable, ids: Any, values: Any) -> Update:
    """The update that adds ``values`` to rows; a row that is named twice gets both.

    Shapes and errors as in `set_rows`.
    """
    given = as_symbolic(ids, len(table))
    slots = _trainable(table, given)
    return {table.block: pt.inc_subtensor(table.block[slots], _flat(table, given, values))}


def _trainable(table: LookupTable, ids: TensorVariable) -> TensorVariable:
    """Slots of ids, flat; none of them frozen."""
    if isinstance(ids, Constant):
        checks.all_trainable(table.rows, ids.data)
    _, slots, inside, outside = table.locate(ids)
    frozen = (
        f"a row of the table {table.name!r} is frozen; only rows chosen with train= are written"
    )
    slots = CheckAndRaise(IdError, outside)(pt.switch(pt.lt(slots, 0), NOWHERE, slots), inside)
    return CheckAndRaise(FrozenRowError, frozen)(slots, pt.all(pt.lt(slots, NOWHERE)))


def _flat(table: LookupTable, ids: TensorVariable, values: Any) -> TensorVariable:
    new = pt.as_tensor(values)
    width = table.shape[1] if table.columns is None else len(table.columns)
    if new.type.ndim != ids.type.ndim + 1 or new.type.shape[-1] not in (None, width):
        raise ShapeError(
            f"values are a {new.type}; expected {ids.type.ndim + 1} dimensions, the last of {width}"
        )
    return pt.cast(new.reshape((-1, width)), table.dtype.name)
