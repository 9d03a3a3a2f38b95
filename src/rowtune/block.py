"""The block of the NumPy engine: the trainable rows and what the rule remembers of each."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune import numpy_engine
from rowtune.bounds import NO_BOUNDS, Bounds
from rowtune.catch_up import Debts
from rowtune.errors import NonFiniteError, PatchError
from rowtune.kernels.grouping import group
from rowtune.patch import Patch
from rowtune.row_memory import RowMemory
from rowtune.rules.lr_scale import check_takes_lr
from rowtune.rules.tuned import Tuned
from rowtune.step import Trained

_STATE = "state."  # before the name that a rule has given, in the names of arrays


class Block:
    """k rows, all of whose arrays have one row for each slot and grow together.

    Attributes
    ----------
    values : k x C array, C-contiguous, in the table's dtype
    state : dict of str to k x C arrays (k x 1 for one number per row), in the state's dtype
    steps : int32 array of k, how often each row was touched
    lr_scale : array of k in the state's dtype, or None: see `rowtune.rules.lr_scale`
    bounds : Bounds
    """

    state: dict[str, NDArray[Any]]
    steps: NDArray[np.int32]

    def __init__(
        self,
        values: NDArray[Any],
        tuned: Tuned,
        catch_up: bool = False,
        bounds: Bounds = NO_BOUNDS,
        state_memory: RowMemory | None = None,
    ) -> None:
        self._memory = RowMemory()
        self._state_memory = state_memory or RowMemory()
        self.lr_scale: NDArray[Any] | None = None
        self.bounds = bounds
        self.debts = Debts(tuned) if catch_up else None
        self.values = values
        self._tuned = tuned
        self._begin_state()
        self._most_steps = 0  # no row has taken more; known without looking at every row

    def update(self, slots: NDArray[np.int32], grads: NDArray[Any], check_finite: bool) -> None:
        """One step of the rule: slots (n,), -1 where frozen; grads (n, C) in the state's dtype."""
        if np.may_share_memory(grads, self.values):
            grads = grads.copy()  # a user's own block as gradients: rows move while it is read
        if self.debts is not None:
            self._update_in_time(self.debts, slots, grads, check_finite)
            return
        # Counted first: an update that Ctrl-C ends half-way has counted some rows already.
        self._most_steps += 1
        self._move(self._most_steps, slots, grads, check_finite)

    def _move(
        self, most_steps: int, slots: NDArray[np.int32], grads: NDArray[Any], check_finite: bool
    ) -> None:
        numpy_engine.update(
            self._tuned, self._trained, most_steps, slots, grads, check_finite, self.bounds
        )

    @property
    def _trained(self) -> Trained:
        return Trained(self.values, tuple(self.state.values()), self.steps, self.lr_scale)

    # --- catch-up ------------------------------------------------------------------------------

    def _update_in_time(
        self, debts: Debts, slots: NDArray[np.int32], grads: NDArray[Any], check_finite: bool
    ) -> None:
        """An update of rows that owe nothing, at the optimizer's step."""
        self.catch_up(slots)
        debts.record()
        try:
            self._move(debts.now, slots, grads, check_finite)
        except (NonFiniteError, MemoryError):
            debts.take_back()
            raise

    def catch_up(self, slots: NDArray[np.int32]) -> None:
        """Bring the rows of slots (n,), -1 where frozen, to the optimizer's step."""
        if self.debts is not None:
            self.debts.pay(self._trained, group(slots).unique)

    def flush(self) -> None:
        """Bring all rows to the optimizer's step."""
        if self.debts is not None:
            self.debts.pay(self._trained, None)

    def set_lr_scale(self, scale: NDArray[Any] | None) -> None:
        """Give every row a scale of the learning rate; what is owed so far goes by the old one."""
        if scale is not None:
            check_takes_lr(self._tuned.rule)
        self.flush()
        self.lr_scale = scale

    def grow(self, new: NDArray[Any], known: int) -> None:
        """Add rows after the first ``known``, with fresh state; the others keep theirs.

        Raises
        ------
        MemoryError, OSError
            There is no room; the first ``known`` rows are as they were.
        """
        values = self._memory.grown("values", self.values[:known], len(new))
        values[known:] = new
        state, first = {}, self._tuned.rule.first_values(self._tuned.hyper)
        for name, old in self.state.items():
            state[name] = self._state_memory.grown(_STATE + name, old[:known], len(new))
            state[name][known:] = first[name]
        steps = self._state_memory.grown("steps", self.steps[:known], len(new))
        steps[known:] = 0 if self.debts is None else self.debts.now
        scale = self.lr_scale
        if scale is not None:
            scale = self._memory.grown("lr_scale", scale[:known], len(new))
            scale[known:] = 1
        # All or none: memory may have run out above.
        self.values, self.state, self.steps, self.lr_scale = values, state, steps, scale

    def keep_first(self, known: int) -> None:
        """Forget all rows but the first ``known``: growing has failed after some arrays grew."""
        self.values, self.steps = self.values[:known], self.steps[:known]
        self.state = {name: array[:known] for name, array in self.state.items()}
        if self.lr_scale is not None:
            self.lr_scale = self.lr_scale[:known]

    def load(self, patch: Patch, path: str | os.PathLike[str]) -> None:
        """Take the rows of a patch that fits; state and step counts from it too, or afresh.

        Raises
        ------
        PatchError
            The state of another rule, or of another dtype or shape. Nothing is changed then.
        """
        if patch.steps is None:
            self._begin_state()
        else:
            if _kinds(self.state) != _kinds(patch.state):
                same_names = sorted(self.state) == sorted(patch.state)
                raise PatchError(
                    f"{path} holds the state {sorted(patch.state)} of rule {patch.rule!r}; this "
                    f"table's rule {self._tuned.rule.name!r} remembers {sorted(self.state)}"
                    + (" of another dtype or width" if same_names else "")
                )
            for name, array in self.state.items():
                array[:] = patch.state[name]
            self.steps[:] = patch.steps
        self.values[:] = patch.rows
        self._most_steps = int(self.steps.max(initial=0))
        if self.debts is not None:
            # Rows of a lazy table have been at different steps: all of them are taken as they are.
            self.steps[:] = self._most_steps
            self.debts.begin_anew(self._most_steps)

    def follow_steps(self, ledger: dict[str, NDArray[Any]]) -> None:
        """Values, state and step counts have been written in place, from a table that left this
        ``ledger``; nothing under its name where it had no catch-up.
        """
        self._most_steps = int(self.steps.max(initial=0))
        if self.debts is not None:
            self.debts.take_arrays(ledger)

    def _begin_state(self) -> None:
        """State and step counts before the first step of any row."""
        rule, memory, count = self._tuned.rule, self._state_memory, len(self.values)
        state = {}
        for name, value in rule.first_values(self._tuned.hyper).items():
            width = rule.state_widths(self.values.shape[1])[name]
            state[name] = memory.zeros(_STATE + name, (count, width), self._tuned.dtype)
            if value:
                state[name][:] = value
        self.state, self.steps = state, memory.zeros("steps", (count,), np.int32)


def _kinds(state: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return {name: (array.dtype, array.shape) for name, array in state.items()}
