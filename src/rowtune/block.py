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
from rowtune.rules.lr_scale import check_takes_lr
from rowtune.rules.tuned import Tuned
from rowtune.step import Trained


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

    def __init__(
        self, values: NDArray[Any], tuned: Tuned, catch_up: bool = False, bounds: Bounds = NO_BOUNDS
    ) -> None:
        self.lr_scale: NDArray[Any] | None = None
        self.bounds = bounds
        self.debts = Debts(tuned) if catch_up else None
        self.values = values
        self._tuned = tuned
        self.state = self._fresh_state(len(values))
        self.steps = np.zeros(len(values), dtype=np.int32)
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

    def grow(self, new: NDArray[Any]) -> None:
        """Add rows at the end, with fresh state; the others keep theirs."""
        fresh = self._fresh_state(len(new))
        values = np.ascontiguousarray(np.concatenate([self.values, new]))
        state = {name: np.concatenate([old, fresh[name]]) for name, old in self.state.items()}
        born = 0 if self.debts is None else self.debts.now
        steps = np.concatenate([self.steps, np.full(len(new), born, np.int32)])
        scale = self.lr_scale
        if scale is not None:
            scale = np.concatenate([scale, np.ones(len(new), scale.dtype)])
        # All or none: memory may have run out above.
        self.values, self.state, self.steps, self.lr_scale = values, state, steps, scale

    def load(self, patch: Patch, path: str | os.PathLike[str]) -> None:
        """Take the rows of a patch that fits; state and step counts from it too, or afresh.

        Raises
        ------
        PatchError
            The state of another rule, or of another dtype or shape. Nothing is changed then.
        """
        state, steps = self._fresh_state(len(self.values)), np.zeros_like(self.steps)
        if patch.steps is not None:
            if _kinds(state) != _kinds(patch.state):
                same_names = sorted(state) == sorted(patch.state)
                raise PatchError(
                    f"{path} holds the state {sorted(patch.state)} of rule {patch.rule!r}; this "
                    f"table's rule {self._tuned.rule.name!r} remembers {sorted(state)}"
                    + (" of another dtype or width" if same_names else "")
                )
            state, steps = {name: patch.state[name].copy() for name in state}, patch.steps.copy()
        self.values[:] = patch.rows
        self.state, self.steps = state, steps
        self._most_steps = int(steps.max(initial=0))
        if self.debts is not None:
            # Rows of a lazy table have been at different steps: all of them are taken as they are.
            steps[:] = self._most_steps
            self.debts.begin_anew(self._most_steps)

    def follow_steps(self, ledger: dict[str, NDArray[Any]]) -> None:
        """Values, state and step counts have been written in place, from a table that left this
        ``ledger``; nothing under its name where it had no catch-up.
        """
        self._most_steps = int(self.steps.max(initial=0))
        if self.debts is not None:
            self.debts.take_arrays(ledger)

    def _fresh_state(self, count: int) -> dict[str, NDArray[Any]]:
        rule, dtype = self._tuned.rule, self._tuned.dtype
        first = rule.first_values(self._tuned.hyper)
        widths = rule.state_widths(self.values.shape[1])
        # numpy.zeros costs nothing until a row is touched; numpy.full writes every byte.
        return {
            name: np.full((count, width), first[name], dtype)
            if first[name]
            else np.zeros((count, width), dtype)
            for name, width in widths.items()
        }


def _kinds(state: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return {name: (array.dtype, array.shape) for name, array in state.items()}
