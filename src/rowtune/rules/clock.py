"""A rule's clock, tabulated: the numbers that depend on a row's step count alone.

A power per row costs more than everything else that a row needs, and one per step count is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rowtune.rules.form import Rule

_FIRST_LENGTH = 256
_LONGEST = 1 << 16  # rows of a table that stands still
_FOR_EVER = float(1 << 62)


class Clock:
    """The clock of ``rule`` under fixed hyper-parameters, in ``dtype``.

    Attributes
    ----------
    hyper : dict of str to float
        The hyper-parameters that the clock takes; while they stay, so does the table.
    """

    def __init__(self, rule: Rule, hyper: Mapping[str, float | bool], dtype: DTypeLike) -> None:
        self._function = rule.clock
        self._width = len(rule.clock_names)
        self.hyper = {name: float(hyper[name]) for name in rule.clock_takes}
        self._table: NDArray[Any] = np.zeros((0, self._width), dtype=dtype)
        self._ends = False  # whether the last row is what the clock says for ever

    def table(self, most: int) -> NDArray[Any]:
        """Array of T x c; row t belongs to step count t, the last one to all later counts too.

        T exceeds ``most`` unless the clock has come to a stand before, as Adam's does. The table
        grows by doubling. Row 0 is never read: a row's first step is step 1.
        """
        if most >= len(self._table) and not self._ends:
            length = max(_FIRST_LENGTH, 2 * most)
            table = np.zeros((length, self._width), dtype=self._table.dtype)
            table[1:] = self._at(np.arange(1, length, dtype=np.float64))
            last = self._at(np.array([_FOR_EVER])).astype(table.dtype)
            self._ends = bool((table[-1] == last[0]).all())
            self._table = table
        return self._table

    def standing(self) -> NDArray[Any] | None:
        """The table up to where the clock comes to a stand, for engines that make it a constant of
        a program; None where it goes on for `_LONGEST` steps.
        """
        table = self.table(_LONGEST // 2)
        if not self._ends:
            return None
        moving = np.flatnonzero((table != table[-1]).any(axis=1))
        return table[: moving[-1] + 2 if len(moving) else 1]

    def _at(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._function is None:
            return np.zeros((len(t), 0))
        columns = self._function(t, **self.hyper)
        return np.stack(np.broadcast_arrays(t, *columns)[1:], axis=1)
