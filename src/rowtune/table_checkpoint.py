"""A table as a checkpoint has it: every array that has a row for each slot, and the facts.

Under catch-up nothing is brought up to date: what absent rows owe is saved beside them (the
ledger), so that a save moves no row, and rows that nobody has looked up stay as they were saved.
"""

from __future__ import annotations

import hashlib
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.base import Base
from rowtune.block import Block
from rowtune.checkpoints.part import UNCHECKED, Part
from rowtune.rows import Rows

# Which rows train is hashed once, since it never changes.
_known: weakref.WeakKeyDictionary[Rows, tuple[Any, str]] = weakref.WeakKeyDictionary()


class TableCheckpoint:
    """The part of `rowtune.Table` that is about checkpoints."""

    base: Base
    rows: Rows
    rule: Any
    dtype: Any
    _block: Block
    _added: NDArray[Any]
    _columns: NDArray[np.int64] | None

    def fingerprint(self) -> str:
        raise NotImplementedError

    def checkpoint_part(self, *, unchecked_base: str | None = None) -> Part:
        """What `rowtune.checkpoints` saves of this table and loads into it, over its own memory.

        Parameters
        ----------
        unchecked_base : str, optional
            Why the base need not be compared with the one that the rows were trained on; without
            it the base is hashed once for each table.
        """
        block = self._block
        arrays = {"rows": block.values, "steps": block.steps}
        arrays |= {f"state.{name}": array for name, array in block.state.items()}
        if block.lr_scale is not None:
            arrays["lr_scale"] = block.lr_scale
        base = UNCHECKED + unchecked_base if unchecked_base else self.fingerprint()
        facts = {
            "base": base,
            "rule": self.rule,
            "catch_up": str(block.debts is not None),
            "dtype": str(self.dtype.newbyteorder("=")),
            "trainable": trainable(self.rows, len(self.base), self._columns),
        }
        whole = {} if block.debts is None else block.debts.as_arrays()
        if self._columns is not None and len(self._added):
            whole["added"] = self._added
        return Part(len(block.values), 0, arrays, facts, whole, self._loaded)

    def _loaded(self, whole: dict[str, NDArray[Any]]) -> None:
        if "added" in whole:
            self._added = whole["added"]
        self._block.follow_steps(whole)


def trainable(rows: Rows, base_rows: int, columns: NDArray[np.int64] | None) -> str:
    """SHA-256, in hex, of which rows of the base and which columns train; rows that were added all
    do, and do not count.
    """
    if rows.trains_all and columns is None:
        return "all"
    key = (base_rows, None if columns is None else columns.tobytes())
    known = _known.get(rows)
    if known is None or known[0] != key:
        known = _known[rows] = key, _digest(rows, base_rows, columns)
    return known[1]


def _digest(rows: Rows, base_rows: int, columns: NDArray[np.int64] | None) -> str:
    ids = rows.ids[: np.searchsorted(rows.ids, base_rows)]
    digest = hashlib.sha256(f"{base_rows}\n".encode())
    digest.update(np.ascontiguousarray(ids, "<i8").data.cast("B") if len(ids) else b"")
    if columns is not None:
        digest.update(b"columns" + np.ascontiguousarray(columns, "<i8").tobytes())
    return digest.hexdigest()
