"""The NumPy engine: a table whose chosen rows train. Every other engine is compared with it."""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from rowtune import assemble, checks
from rowtune.base import as_base, rows_of
from rowtune.block import Block
from rowtune.bounds import Bounds
from rowtune.errors import ShapeError
from rowtune.quantized import Quantized
from rowtune.row_memory import RowMemory
from rowtune.rows import Choice, Rows, as_ids
from rowtune.rules import Rule
from rowtune.rules.tuned import Tuned
from rowtune.state_folder import StateFolder, memory_in
from rowtune.table_checkpoint import TableCheckpoint
from rowtune.table_files import TableFiles
from rowtune.table_growth import TableGrowth
from rowtune.table_hyper import TableHyper
from rowtune.table_writes import TableWrites
from rowtune.tables.mapped_pages import refuse_pickle


class Table(TableFiles, TableCheckpoint, TableGrowth, TableHyper, TableWrites):
    """An embedding table of N rows, some of which train; the others keep their bits.

    Parameters
    ----------
    weights : N x D floats (float16, float32, float64), or Quantized
        The whole table: an array, a read-only memory map (see `rowtune.open_table`), or fewer bits
        (see `rowtune.quantize`). It is never written, and only its trainable rows are copied.
    train : "all", boolean mask of N, ids, or slice
        The rows that train. Ids keep the order they have; nothing is sorted or renumbered.
    rule : str or Rule
        ``"adam"``, ``"sgd"``, ...: see `rowtune.rules.names`.
    lr : float
        Learning rate; assign ``table.lr`` to follow a schedule.
    columns : None, boolean mask of D, ids, or slice
        The columns that train; None means all.
    catch_up : bool
        Whether an absent row gets what the dense optimizer would have done to it (momentum, decay,
        drift), when it is next looked up or updated, or at `flush`. By default it waits.
    lr_scale : array of k numbers from 0 to 1, or None
        What the learning rate of each trainable row is multiplied with: 0 freezes it, 0.1 lets it
        move a little. Rows that are grown have 1.
    clip_row_norm, clip_norm, max_norm : float or None
        How long the gradient of a row, that of all touched rows together, and a touched row may be:
        see `Bounds`.
    dtype : float16, float32, float64, or None
        Of the block, and of rows that are looked up; None means that of ``weights``, and float32
        over a `Quantized`. With float32, small steps add up that a float16 base would round away.
    state_folder : folder, `StateFolder` or None
        Keep state and step counts in files there, for a block whose state is larger than memory;
        results are the same. It is scratch memory and no checkpoint: see `StateFolder`.
    **hyper
        Hyper-parameters of the rule, with torch's names and defaults.

    Attributes
    ----------
    base : N x D read-only view of ``weights``, or the Quantized
    rows : Rows

    Raises
    ------
    ShapeError, IdError, RuleError
        At construction, before anything is allocated: see `Rows` and `rowtune.rules`.
    OSError
        ``state_folder`` does not exist, cannot be written, or has no space for the state.
    """

    def __init__(
        self,
        weights: ArrayLike | Quantized,
        train: Choice = "all",
        rule: str | Rule = "adam",
        lr: float = 1e-3,
        columns: Choice | None = None,
        catch_up: bool = False,
        *,
        lr_scale: ArrayLike | None = None,
        clip_row_norm: float | None = None,
        clip_norm: float | None = None,
        max_norm: float | None = None,
        dtype: DTypeLike | None = None,
        state_folder: StateFolder | str | os.PathLike[str] | None = None,
        **hyper: Any,
    ) -> None:
        self.base = as_base(weights)
        self.rows = Rows(len(self.base), train, columns)
        self._columns = self.rows.chosen_columns(self.base.shape[1])
        # Half precision cannot hold what a rule remembers; its state is float32.
        self._dtype = _dtype_of(self.base.dtype if dtype is None else dtype, dtype is not None)
        remembered = np.float64 if self._dtype.itemsize == 8 else np.float32
        self._tuned = Tuned(rule, remembered, lr=lr, **hyper)
        bounds = Bounds(clip_row_norm, clip_norm, max_norm)
        if catch_up:
            bounds.check_catch_up()
        memory = memory_in(state_folder)
        self._block = Block(self._chosen_values(), self._tuned, catch_up, bounds, memory)
        self.lr_scale = lr_scale
        self._memory = RowMemory()
        self._added = self._no_rows(0)
        self._fingerprint: str | None = None

    @classmethod
    def zeros(
        cls, num_rows: int, width: int, *, dtype: DTypeLike = np.float32, **options: Any
    ) -> Table:
        """A table that begins as zeros, in memory for one copy of its rows and no base beside it.

        For a large table that is trained from nothing: memory is taken as rows are written. Fill
        the block with what the rows begin as, in place::

            table = rowtune.Table.zeros(100_000_000, 16, rule="rowwise_adagrad")
            rng.standard_normal(out=table.block, dtype=numpy.float32)

        Parameters
        ----------
        num_rows, width : int
            N and D.
        dtype : float16, float32 or float64
        **options
            As of `Table`: ``train``, ``rule``, ``lr``, ...
        """
        nothing = np.zeros((1, width), dtype)
        return cls(np.broadcast_to(nothing, (num_rows, width)), **options)

    # --- reading -----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D), rows that were grown included."""
        return self.rows.num_rows, int(self.base.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the block, and of rows that are looked up."""
        return self._dtype

    def __len__(self) -> int:
        return self.rows.num_rows

    def __repr__(self) -> str:
        return (
            f"Table({self.shape[0]} x {self.shape[1]} {self.dtype}, "
            f"{len(self.rows)} rows train, rule={self.rule!r}, lr={self.lr:g})"
        )

    def lookup(self, ids: ArrayLike) -> NDArray[Any]:
        """Rows of ``ids``, as a new array of ids.shape + (D,).

        Raises
        ------
        IdError
            An id that is negative, out of range, or not an integer.
        """
        given = as_ids(ids)
        slots = self.rows.slots(given).reshape(-1)
        self._block.catch_up(slots)
        out = assemble.lookup(
            self.base, self._added, self.block, self._columns, given.reshape(-1), slots
        )
        return out.reshape((*given.shape, self.shape[1]))

    @property
    def block(self) -> NDArray[Any]:
        """The trainable rows, k x D, in the order of ``rows.ids``: not a copy."""
        return self._block.values

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """What the rule remembers, by name: arrays of k x D, or k x 1, not copies."""
        return dict(self._block.state)

    @property
    def steps(self) -> NDArray[np.int32]:
        """How often each trainable row was touched: array of k, read-only, not a copy."""
        steps = self._block.steps.view()
        steps.flags.writeable = False
        return steps

    @property
    def weights(self) -> NDArray[Any]:
        """The whole matrix as it is now: a read-only N x D copy. `block` is not a copy."""
        self.flush()
        if self.rows.trains_all and self._columns is None:
            matrix = self.block.copy()
            matrix.flags.writeable = False
            return matrix
        matrix = assemble.whole(self.base, self._added, self.block, self._columns, self.rows.ids)
        matrix.flags.writeable = False
        return matrix

    # --- training ----------------------------------------------------------------------------

    def update(self, ids: ArrayLike, grads: ArrayLike, *, check_finite: bool = True) -> None:
        """One step of the rule on the touched rows.

        Duplicates are summed first. Gradients of frozen ids (and columns) are ignored; rows that
        are not in ``ids`` keep weights, state and step count.

        Parameters
        ----------
        ids : integers of any shape, as they were looked up; may be empty
        grads : floats of ids.shape + (D,), the gradient of the cost by ``lookup(ids)``
        check_finite : bool
            Refuse NaN and infinity in the gradient of a trainable row.

        Raises
        ------
        IdError, ShapeError, NonFiniteError
            Nothing has been changed then.
        """
        slots = self.rows.slots(ids)
        given = checks.gradients(grads, slots.shape, self.shape[1], self._tuned.dtype)
        if slots.size == 0 and self._block.debts is None:
            return
        if self._columns is not None:
            given = np.ascontiguousarray(given[:, self._columns])
        self._block.update(slots.reshape(-1), given, check_finite)

    def flush(self) -> None:
        """Under catch-up, bring every row up to date; without it there is nothing to do.

        `weights` and `save_patch` do so themselves; `block` and `state` are not copies, and show
        rows as they are in memory.
        """
        self._block.flush()

    # --- inside ------------------------------------------------------------------------------

    def _chosen_values(self) -> NDArray[Any]:
        """A copy of what trains."""
        base, native = self.base, self.dtype.newbyteorder("=")
        nothing = not isinstance(base, Quantized) and base.strides[0] == 0
        if self.rows.trains_all and nothing and not any(rows_of(base, slice(1)).tobytes()):
            # numpy.zeros takes no memory until a row is written.
            width = base.shape[1] if self._columns is None else len(self._columns)
            return np.zeros((len(base), width), native)
        chosen = rows_of(base, slice(None) if self.rows.trains_all else self.rows.ids)
        return np.array(self._columns_of(chosen), dtype=native, order="C")

    def __deepcopy__(self, memo: dict[int, Any]) -> Table:
        """A table of its own over the same base, which nobody writes."""
        twin = object.__new__(type(self))
        memo[id(self.base)] = self.base
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        refuse_pickle(self.base.codes if isinstance(self.base, Quantized) else self.base)
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.base, np.ndarray):
            self.base.flags.writeable = False  # which a pickle does not remember


def _dtype_of(given: DTypeLike, was_given: bool) -> np.dtype[Any]:
    dtype = np.dtype(given)
    if was_given and (dtype.kind != "f" or dtype.itemsize > 8):
        raise ShapeError(f"dtype is {dtype}; expected float16, float32 or float64")
    return dtype
