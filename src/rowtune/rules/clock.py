"""A rule's clock, tabulated: the numbers that depend on a row's step count alone.

A power per row costs more than everything else that a row needs, and one per step count is enough.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rowtune.rules.form import Rule

_FIRST_LENGTH = 256


class Clock:
    """The clock of ``rule`` under fixed hyper-parameters, in ``dtype``."""

    def __init__(self, rule: Rule, hyper: Mapping[str, float | bool], dtype: DTypeLike) -> None:
        self._function = rule.clock
        self._width = len(rule.clock_names)
        wanted = list(inspect.signature(rule.clock).parameters)[1:] if rule.clock else []
        self._hyper = {name: float(hyper[name]) for name in wanted}
        self._table: NDArray[Any] = np.zeros((0, self._width), dtype=dtype)

    def table(self, most: int) -> NDArray[Any]:
        """Array of at least (most + 1) x c; row t belongs to step count t. Grows by doubling.

        Row 0 is never read: a row's first step is step 1.
        """
        if most >= len(self._table):
            length = max(_FIRST_LENGTH, 2 * most)
            table = np.zeros((length, self._width), dtype=self._table.dtype)
            if self._function is not None:
                t = np.arange(1, length, dtype=np.float64)
                columns = self._function(t, **self._hyper)
                table[1:] = np.stack(np.broadcast_arrays(*columns), axis=1)
            self._table = table
        return self._table
