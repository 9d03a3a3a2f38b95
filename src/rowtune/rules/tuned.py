"""A rule with its hyper-parameters chosen, and its numbers in the dtype of the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rowtune.rules import Rule, get
from rowtune.rules.clock import Clock
from rowtune.rules.decay import decay_number, kind_of_decay


class Tuned:
    """What a step needs of a rule, beside the arrays.

    Parameters
    ----------
    rule : str or Rule
    dtype : dtype of the state
    **hyper
        Hyper-parameters that differ from the rule's defaults.

    Raises
    ------
    RuleError
        An unknown rule or hyper-parameter, or a value outside its range.
    """

    def __init__(self, rule: str | Rule, dtype: DTypeLike, **hyper: Any) -> None:
        self.rule = get(rule)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.hyper: dict[str, float | bool] = {}
        self.set(**hyper)

    def set(self, **hyper: Any) -> None:
        """Change hyper-parameters between steps; the others stay as they are."""
        before = self.hyper
        self.hyper = self.rule.hyper(**{**self.hyper, **hyper})
        self.decay = kind_of_decay(self.hyper)
        # Constants are cast once, from float64, so that 1 - beta2 keeps its digits in float32.
        cast: Callable[[float], Any] = self.dtype.type
        self._numbers = {name: cast(value) for name, value in self.rule.numbers(self.hyper).items()}
        self._decay_number = cast(decay_number(self.hyper))
        # A schedule sets lr in every step; no clock depends on it, so none is tabulated again.
        if {**before, "lr": 0.0} != {**self.hyper, "lr": 0.0}:
            self._clock = Clock(self.rule, self.hyper, self.dtype)

    @property
    def constants(self) -> NDArray[Any]:
        """The decay's number, then all of the rule's that are not the clock's, in order."""
        return np.array([self._decay_number, *self._numbers.values()], dtype=self.dtype)

    def clock_table(self, most: int) -> NDArray[Any]:
        """The clock's numbers for step counts up to ``most``: array of (most + 1 or more) x c."""
        return self._clock.table(most)

    def numbers_at(self, t: NDArray[np.int32]) -> list[Any]:
        """Numbers for rows at step counts ``t`` (u,), as `rowtune.step.step` wants them."""
        clock = self.clock_table(int(t.max(initial=0)))[t]
        by_name = {name: clock[:, i : i + 1] for i, name in enumerate(self.rule.clock_names)}
        by_name.update(self._numbers)
        return [self._decay_number, *(by_name[name] for name in self.rule.number_names)]
