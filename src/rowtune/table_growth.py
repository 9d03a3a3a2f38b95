"""New rows at the end of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rowtune import checks
from rowtune.base import Base
from rowtune.block import Block
from rowtune.row_memory import RowMemory
from rowtune.rows import Rows


class TableGrowth:
    """The part of `rowtune.Table` that is about rows to come."""

    base: Base
    rows: Rows
    shape: Any
    dtype: Any
    _block: Block
    _added: NDArray[Any]
    _memory: RowMemory
    _columns: NDArray[np.int64] | None

    def grow(self, new_rows: ArrayLike) -> NDArray[np.int64]:
        """Add trainable rows at the end; all other rows keep weights, state and step count.

        It takes time for the new rows only: once in a while all rows move to a place with a
        quarter more room, so rows may well come one by one.

        Parameters
        ----------
        new_rows : g x D floats

        Returns
        -------
        int64 array of g
            Their ids.

        Raises
        ------
        ShapeError, NonFiniteError
            New rows of another width, or with NaN in them.
        MemoryError, OSError
            No room in memory, or for the state in ``state_folder``. Nothing is changed then.
        """
        given = np.asarray(new_rows)
        count = len(given) if given.ndim == 2 else 1  # one row is [row], not row
        new = checks.values(given, (count,), self.shape[1], self.dtype, check_finite=True)
        first, known = self.rows.num_rows, len(self.rows)
        rows, added = self.rows.grown(count), self._with_added(new)
        try:
            self._block.grow(self._columns_of(new), known)
            # The last to change is what lets an id in.
            self._added, self.rows = added, rows
        except BaseException:
            self._block.keep_first(len(self.rows))
            raise
        return np.arange(first, rows.num_rows, dtype=np.int64)

    def _with_added(self, new: NDArray[Any]) -> NDArray[Any]:
        """Rows as they were when they were added, ``new`` ones too: for their frozen columns."""
        count = self.rows.num_rows - len(self.base)
        if self._columns is None:
            return self._no_rows(count + len(new))
        added = self._memory.grown("added", self._added[:count], len(new))
        added[count:] = new
        return added

    def _no_rows(self, count: int) -> NDArray[Any]:
        """Rows that nobody reads, since all of their columns train: they take no memory."""
        nothing = np.zeros((1, self.base.shape[1]), self.dtype.newbyteorder("="))
        return np.broadcast_to(nothing, (count, self.base.shape[1]))

    def _columns_of(self, whole: NDArray[Any]) -> NDArray[Any]:
        return whole if self._columns is None else whole[:, self._columns]
