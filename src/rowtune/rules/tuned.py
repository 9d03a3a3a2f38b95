"""A rule with its hyper-parameters chosen, and its numbers in the dtype of the state."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rowtune.errors import RuleError
from rowtune.rules import Rule, get
from rowtune.rules.clock import Clock
from rowtune.rules.decay import decay_number, kind_of_decay
from rowtune.rules.lr_scale import own_numbers


class Tuned:
    """What a step needs of a rule, beside the arrays.

    Parameters
    ----------
    rule : str or Rule
    dtype : dtype of the state
    **hyper
        Hyper-parameters that differ from the rule's defaults.

    Attributes
    ----------
    constants : array
        The decay's number, then all of the rule's that are not the clock's, in order.

    Raises
    ------
    RuleError
        An unknown rule or hyper-parameter, or a value outside its range.
    """

    constants: NDArray[Any]

    def __init__(self, rule: str | Rule, dtype: DTypeLike, **hyper: Any) -> None:
        self.rule = get(rule)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.hyper: dict[str, float | bool] = {}
        self._clock: Clock | None = None
        self.set(**hyper)

    def set(self, **hyper: Any) -> None:
        """Change hyper-parameters between steps; the others stay as they are.

        Raises
        ------
        RuleError
            Nothing has been changed then.
        """
        new = self.rule.hyper(**{**self.hyper, **hyper})
        numbers = {name: self._cast(name, x) for name, x in self.rule.numbers(new).items()}
        decay = self._cast("weight_decay", decay_number(new))
        clock = Clock(self.rule, new, self.dtype)
        # A table of thousands of powers is kept while nothing that it depends on has changed.
        if self._clock is None or clock.hyper != self._clock.hyper:
            self._clock = clock
        self.hyper = new
        self.constants = np.array([decay, *numbers.values()], dtype=self.dtype)
        self.decay = kind_of_decay(new)

    def _cast(self, name: str, number: float) -> Any:
        """``number`` in the state's dtype, from float64, so that 1 - beta2 keeps its digits."""
        with np.errstate(over="ignore"):
            cast = np.array(number, dtype=self.dtype)[()]
        if not np.isfinite(cast) or (cast == 0) != (number == 0):
            raise RuleError(
                f"{self.rule.name}: {name}={number!r} is {cast} in {self.dtype}, the dtype of the "
                "state; choose a number that it can hold"
            )
        return cast

    def clock_table(self, most: int) -> NDArray[Any]:
        """The clock's numbers for step counts up to ``most``: see `Clock.table`."""
        assert self._clock is not None
        return self._clock.table(most)

    def standing_clock(self) -> NDArray[Any] | None:
        """The clock's whole table where it comes to a stand: see `Clock.standing`."""
        assert self._clock is not None
        return self._clock.standing()

    def numbers_at(
        self, t: NDArray[np.int32], lr_scale: Any = None, constants: NDArray[Any] | None = None
    ) -> list[Any]:
        """Numbers for rows at step counts ``t`` (u,), as `rowtune.step.step` wants them; with
        ``constants`` of another step than the last.
        """
        table = self.clock_table(int(t.max(initial=0)))
        clock = table[np.minimum(t, len(table) - 1)]
        columns = [clock[:, i : i + 1] for i in range(clock.shape[1])]
        decay, *others = self.constants if constants is None else constants
        numbers = [decay, *self.rule.in_order(columns, others)]
        return own_numbers(self.rule, self.decay, numbers, lr_scale)
