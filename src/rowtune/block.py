"""The block of the NumPy engine: the trainable rows and what the rule remembers of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune import numpy_engine
from rowtune.errors import PatchError
from rowtune.patch import Patch
from rowtune.rules.tuned import Tuned
from rowtune.step import Trained


class Block:
    """k rows, all of whose arrays have one row for each slot and grow together.

    Attributes
    ----------
    values : k x C array, C-contiguous, in the table's dtype
    state : dict of str to k x C arrays, in the state's dtype
    steps : int32 array of k, how often each row was touched
    """

    def __init__(self, values: NDArray[Any], tuned: Tuned) -> None:
        self.values = values
        self._tuned = tuned
        self.state = self._fresh_state(len(values))
        self.steps = np.zeros(len(values), dtype=np.int32)
        self._most_steps = 0  # no row has taken more; known without looking at every row

    def update(self, slots: NDArray[np.int32], grads: NDArray[Any], check_finite: bool) -> None:
        """One step of the rule: slots (n,), -1 where frozen; grads (n, C) in the state's dtype."""
        trained = Trained(self.values, tuple(self.state.values()), self.steps)
        most_steps = self._most_steps + 1
        numpy_engine.update(self._tuned, trained, most_steps, slots, grads, check_finite)
        self._most_steps = most_steps

    def grow(self, new: NDArray[Any]) -> None:
        """Add rows at the end, with fresh state; the others keep theirs."""
        fresh = self._fresh_state(len(new))
        self.values = np.concatenate([self.values, new])
        self.state = {name: np.concatenate([old, fresh[name]]) for name, old in self.state.items()}
        self.steps = np.concatenate([self.steps, np.zeros(len(new), np.int32)])

    def load(self, patch: Patch) -> None:
        """Take the rows of a patch that fits, and its state where it has one.

        Raises
        ------
        PatchError
            The state of another rule. Nothing is changed then.
        """
        if patch.steps is not None and set(patch.state) != set(self.state):
            raise PatchError(
                f"the patch holds the state of rule {patch.rule!r}; "
                f"this table's rule is {self._tuned.rule.name!r}"
            )
        self.values[:] = patch.rows
        if patch.steps is not None:
            self.steps[:] = patch.steps
            self._most_steps = int(patch.steps.max(initial=0))
            for name, array in patch.state.items():
                self.state[name][:] = array

    def _fresh_state(self, count: int) -> dict[str, NDArray[Any]]:
        shape, dtype = (count, self.values.shape[1]), self._tuned.dtype
        first = self._tuned.rule.first_values(self._tuned.hyper)
        # numpy.zeros costs nothing until a row is touched; numpy.full writes every byte.
        return {
            name: np.full(shape, value, dtype) if value else np.zeros(shape, dtype)
            for name, value in first.items()
        }
