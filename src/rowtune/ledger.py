"""The steps that an optimizer has taken, so that a row which was absent can be told its share.

Each step leaves a few 2 x 2 matrices (a rule's course) and the numbers that the rule took. The
matrices are kept in a tree of products over 2, 4, 8, ... steps: those of any range of steps are
then the product of a few.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.rules.absent import absent_step_of, course_at
from rowtune.rules.tuned import Tuned

MOST_STEPS = 1 << 16  # then every row is brought up to date, and the ledger begins anew
_FIRST_CAPACITY = 256


class Ledger:
    """The steps after ``first``.

    Attributes
    ----------
    first, now : int
        The optimizer's step before the first that is in here, and the last one.
    nodes : float64 (2 * capacity, M, 4)
        Steps, then products of pairs, of fours, ...; see `rowtune.kernels.absence.range_product`.
    history : array (n, c)
        The decay's number and the rule's constants at each step, in the state's dtype.
    """

    def __init__(self, tuned: Tuned, first: int = 0) -> None:
        self.first = self.now = first
        matrices = len(absent_step_of(tuned.rule).names) // 4
        self.nodes = np.zeros((2 * _FIRST_CAPACITY, matrices, 4))
        self.history = np.zeros((_FIRST_CAPACITY, len(tuned.constants)), tuned.dtype)

    def __len__(self) -> int:
        return self.now - self.first

    def record(self, tuned: Tuned) -> None:
        """The optimizer takes its next step, with these hyper-parameters."""
        place = len(self)
        if place == len(self.history):
            self._double()
        self.history[place] = tuned.constants
        self.nodes[place] = self._matrices(tuned)
        self.now += 1
        level, capacity = 0, len(self.history)
        while place & 1:
            pair = level_start(capacity, level) + place - 1
            earlier, later = self.nodes[pair : pair + 2].reshape(2, -1, 2, 2)
            level, place = level + 1, place >> 1
            with np.errstate(over="ignore", invalid="ignore"):  # terms that nobody will read
                product = later @ earlier
            self.nodes[level_start(capacity, level) + place] = product.reshape(-1, 4)

    def take_back(self) -> None:
        """The last step was not taken after all."""
        self.now -= 1

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """The steps as arrays: ``ledger.nodes``, ``ledger.history``, and ``ledger.span``, which is
        ``first`` and ``now`` (int64). Not copies.
        """
        span = np.array([self.first, self.now], np.int64)
        return {"ledger.nodes": self.nodes, "ledger.history": self.history, "ledger.span": span}

    @classmethod
    def of(cls, tuned: Tuned, arrays: dict[str, NDArray[Any]]) -> Ledger:
        """A ledger of the steps that `as_arrays` gave."""
        made = cls(tuned)
        made.first, made.now = (int(step) for step in arrays["ledger.span"])
        made.nodes, made.history = arrays["ledger.nodes"], arrays["ledger.history"]
        return made

    def _matrices(self, tuned: Tuned) -> Any:
        return course_at(tuned.rule, tuned.hyper, float(self.now + 1))

    def _double(self) -> None:
        old, capacity = self.nodes, len(self.history)
        self.history = np.concatenate([self.history, np.zeros_like(self.history)])
        self.nodes = np.zeros((4 * capacity, *old.shape[1:]))
        level = 0
        while capacity >> level:
            before, after = level_start(capacity, level), level_start(2 * capacity, level)
            count = capacity >> level
            self.nodes[after : after + count] = old[before : before + count]
            level += 1


def level_start(capacity: int, level: int) -> int:
    """Where in ``nodes`` the products of 2^level steps begin."""
    return 2 * capacity - ((2 * capacity) >> level)
