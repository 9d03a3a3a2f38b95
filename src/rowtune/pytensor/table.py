"""A lookup table in PyTensor's idiom: shared variables, of which the trainable rows are one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from numpy.typing import ArrayLike, NDArray
from pytensor import shared
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

from rowtune.errors import IdError
from rowtune.pytensor.bases import Base
from rowtune.pytensor.ids import Located, SlotMap, as_symbolic
from rowtune.quantized import Quantized
from rowtune.rows import Choice, Rows


class LookupTable:
    """A table of N rows, some of which train; ``table[ids]`` is what a cost is made of.

    Make one with `lookup_table`. ``table[ids]`` takes integers of any shape, symbolic or not, and
    gives a variable of ids.shape + (D,). Keep it: `rowtune.pytensor.updates` asks for that very
    variable.

    Attributes
    ----------
    block : shared variable of k x D, or of k x C where columns were chosen
        The trainable rows in the order of ``rows.ids``: all that is ever written. N x D where all
        rows train.
    base : shared variable of N x D, or None where all rows and columns train
        The matrix as it was given, not copied and never updated; its codes where it has few bits.
    state : dict of str to shared variables of k x D, or of k x 1
        What the rule remembers; empty before `rowtune.pytensor.updates`.
    steps : shared int32 vector of k
        How often each row was touched.
    rows : Rows
    """

    def __init__(
        self, matrix: ArrayLike | Quantized, train: Choice, columns: Choice | None, name: str
    ) -> None:
        self._base = Base(matrix)
        self.rows = Rows(self._base.shape[0], train, columns)
        self.name = name
        self.shape: tuple[int, int] = self._base.shape
        self.dtype = self._base.dtype
        self.columns = self.rows.chosen_columns(self.shape[1])
        all_train = self.rows.trains_all
        chosen = self._base.whole() if all_train else self._base.rows(self.rows.ids)
        values = np.array(chosen if self.columns is None else chosen[:, self.columns], order="C")
        self.block = self.share("block", values)
        self.base: SharedVariable | None = None
        if not self.rows.trains_all or self.columns is not None:
            self.base = self._base.share(self.share)
        self.steps = self.share("steps", np.zeros(len(values), np.int32))
        self.state: dict[str, SharedVariable] = {}
        self.rule: tuple[Any, ...] | None = None  # what the state belongs to
        self._slot_map = SlotMap(self.rows, name)

    def share(self, what: str, values: NDArray[Any]) -> SharedVariable:
        """A shared variable of one row for each slot, that holds ``values`` itself."""
        # Its shape is part of its type: set_value refuses another, which slots might point beyond.
        return shared(values, name=f"{self.name}.{what}", borrow=True, shape=values.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        size = f"{self.shape[0]} x {self.shape[1]} {self.dtype}"
        return f"LookupTable({self.name!r}, {size}, {len(self.rows)} rows train)"

    def __iter__(self) -> Any:
        raise IdError(f"a lookup table is not a sequence; write {self.name}[ids]")

    def __getitem__(self, ids: Any) -> TensorVariable:
        """Rows of ``ids``, of ids.shape + (D,).

        Raises
        ------
        IdError
            Ids that are no integers; concrete ids outside the table. Symbolic ones are looked at
            when the function runs (but not in JAX mode).
        """
        given = as_symbolic(ids, len(self))
        located = self.locate(given)
        shape = (*(given.shape[i] for i in range(given.ndim)), self.shape[1])
        flat = self._assemble(located)
        rows = flat if given.ndim == 1 else flat.reshape(shape, ndim=given.ndim + 1)
        rows.name = f"{self.name}[{given.name or 'ids'}]"
        rows.tag.rowtune = Lookup(self, located)
        return rows

    def locate(self, ids: TensorVariable) -> Located:
        """Where ``ids`` live; what `__getitem__` looks up and an update moves."""
        return self._slot_map.locate(ids)

    def _assemble(self, located: Located) -> TensorVariable:
        ids, slots = located.ids, located.slots
        if self.base is None:
            return self.block[ids]
        whole = self._base.lookup(self.base, ids)
        if len(self.rows) == 0:
            return whole
        rows = self.block[pt.maximum(slots, 0)]
        if self.columns is not None:
            rows = pt.set_subtensor(whole[:, self.columns], rows)
        return pt.switch(pt.lt(slots, 0)[:, None], whole, rows)

    @property
    def weights(self) -> NDArray[Any]:
        """The whole matrix as it is now: an N x D array, a copy; float32 where the base has fewer
        bits, of which it gives all numbers.
        """
        matrix, block = self._base.whole(), np.asarray(self.block.get_value(borrow=True))
        if self.columns is None:
            matrix[self.rows.ids] = block
        else:
            matrix[np.ix_(self.rows.ids, self.columns)] = block
        return matrix


class Lookup(NamedTuple):
    """What ``table[ids]`` remembers of itself, as the tag ``rowtune`` of the variable."""

    table: LookupTable
    located: Located


def lookup_table(
    matrix: ArrayLike | Quantized,
    train: Choice = "all",
    columns: Choice | None = None,
    name: str = "table",
) -> LookupTable:
    """A lookup table over ``matrix``, of which some rows train; the others keep their bits.

    Parameters
    ----------
    matrix : N x D floats (float16, float32 or float64), or Quantized
        An array or a read-only memory map. It is never written; only trainable rows are copied.
        The block and what the rule remembers have its dtype, whatever floatX is; they are float32
        where it is float16 or a `rowtune.quantized.Quantized`, whose rows are widened as they are
        looked up.
    train : "all", boolean mask of N, ids, or slice
        The rows that train. Ids keep the order they have.
    columns : None, boolean mask of D, ids, or slice
        The columns that train; None means all.
    name : str
        What the shared variables and messages call it.

    Raises
    ------
    ShapeError, IdError
        See `Rows`.
    """
    return LookupTable(matrix, train, columns, name)
