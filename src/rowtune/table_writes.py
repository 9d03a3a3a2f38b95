"""Rows that are written by no rule: set, added to, or taken out, moved elsewhere and put back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rowtune import checks
from rowtune.block import Block
from rowtune.errors import IdError
from rowtune.rows import Rows, as_ids
from rowtune.subset import Subset


class TableWrites:
    """The part of `rowtune.Table` that writes rows by no rule."""

    rows: Rows
    block: Any
    dtype: Any
    _block: Block

    def set(self, ids: ArrayLike, values: ArrayLike, *, check_finite: bool = True) -> None:
        """Replace rows: ``values`` of ids.shape + (D,), or + (columns,) where those were chosen.

        Raises
        ------
        FrozenRowError
            A frozen id.
        IdError, ShapeError, NonFiniteError
            A row named twice, an id out of range, a wrong shape, NaN. Nothing is changed then.
        """
        slots, new = self._checked_write(ids, values, check_finite)
        unique, counts = np.unique(slots, return_counts=True)
        if len(unique) < len(slots):
            twice = self.rows.ids[unique[counts > 1][0]]
            raise IdError(f"set names row {twice} twice; name it once, or use add")
        self.block[slots] = new

    def add(self, ids: ArrayLike, values: ArrayLike, *, check_finite: bool = True) -> None:
        """Add to rows; a row that is named twice gets both. Shapes and errors as in `set`."""
        slots, new = self._checked_write(ids, values, check_finite)
        np.add.at(self.block, slots, new)

    def sub(self, ids: ArrayLike, values: ArrayLike, *, check_finite: bool = True) -> None:
        """Subtract from rows; a row named twice gets both. Shapes and errors as in `set`."""
        slots, new = self._checked_write(ids, values, check_finite)
        np.subtract.at(self.block, slots, new)

    def subset(self, ids: ArrayLike) -> Subset:
        """A compact copy of trainable rows, for an optimizer of any kind: see `Subset`.

        Raises
        ------
        FrozenRowError, IdError
            A frozen id, or one that is named twice or out of range.
        """
        given = as_ids(ids).reshape(-1).astype(np.int64)
        slots = checks.all_trainable(self.rows, given)
        if len(np.unique(slots)) < len(slots):
            raise IdError("subset names a row twice; pass numpy.unique(ids)")
        self._block.catch_up(slots)
        return Subset(given, self.block[slots], self.set)

    def _checked_write(
        self, ids: ArrayLike, new: ArrayLike, check_finite: bool
    ) -> tuple[NDArray[np.int32], NDArray[Any]]:
        slots = checks.all_trainable(self.rows, ids)
        self._block.catch_up(slots.reshape(-1))
        width = self.block.shape[1]
        return slots, checks.values(new, np.shape(ids), width, self.dtype, check_finite)
