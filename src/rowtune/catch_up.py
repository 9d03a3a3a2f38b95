"""Catch-up: an absent row gets what the dense optimizer would have done to it, when it is read.

Under catch-up a row's step count is that of the optimizer up to which the row has been brought, so
that bias corrections count the optimizer's steps, as the dense optimizer's do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune import ledger as ledgers
from rowtune.kernels import absence, update
from rowtune.kernels.grouping import group_unique
from rowtune.rules.absent import Absent, absent_step_of, check_catch_up, limit_of, pay_names
from rowtune.rules.tuned import Tuned
from rowtune.step import Trained

# What of the way that a row drifts may be lost to the series that it is computed by.
_PRECISION = {4: 1e-7, 8: 1e-11}


class Debts:
    """What the absent rows of one block owe.

    Raises
    ------
    RuleError
        The rule has no absent step: see `rowtune.rules.absent`.
    """

    def __init__(self, tuned: Tuned, now: int = 0) -> None:
        self._tuned = tuned
        check_catch_up(tuned.rule, tuned.hyper)
        self._ledger = ledgers.Ledger(tuned, now)

    @property
    def _absent(self) -> Absent:
        return absent_step_of(self._tuned.rule)

    @property
    def now(self) -> int:
        """Steps that the optimizer has taken."""
        return self._ledger.now

    @property
    def must_pay_all(self) -> bool:
        """Whether the next payment is one for every row: the ledger is full."""
        return len(self._ledger) >= ledgers.MOST_STEPS

    def record(self) -> None:
        """The optimizer takes a step, with the hyper-parameters as they are."""
        self._ledger.record(self._tuned)

    def take_back(self) -> None:
        """The last step was refused."""
        self._ledger.take_back()

    def begin_anew(self, now: int | None = None) -> None:
        """Forget the steps taken: no row owes anything, and the next step is ``now`` + 1."""
        at = self.now if now is None else now
        self._ledger = ledgers.Ledger(self._tuned, at)

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """All that is known of the steps taken: see `Ledger.as_arrays`."""
        return self._ledger.as_arrays()

    def take_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `as_arrays` gave."""
        self._ledger = ledgers.Ledger.of(self._tuned, arrays)

    def pay(self, trained: Trained, slots: NDArray[np.int32] | None) -> bool:
        """Bring the rows ``slots`` (unique) up to date, in place; all of them where None, and where
        the ledger is full. Says whether any row owed anything.
        """
        everything = slots is None or self.must_pay_all
        if slots is None or everything:
            slots = np.arange(len(trained.steps), dtype=np.int32)
        owing = slots[trained.steps[slots] < self.now]
        if len(owing):
            self._pay(trained, owing)
        if everything:
            self.begin_anew()
        return len(owing) > 0

    def _pay(self, trained: Trained, slots: NDArray[np.int32]) -> None:
        if not update.can_compile(trained.block):
            self._pay_copies(trained, slots)
            return
        if trained.lr_scale is not None:
            own = trained.lr_scale[slots] != 1
            if own.any():
                self._pay_at_own_rates(trained, slots[own])
                slots = slots[~own]
            trained = trained._replace(lr_scale=None)
        if len(slots):
            self._pay_at_one_rate(trained, slots)

    def _pay_at_own_rates(self, trained: Trained, slots: NDArray[np.int32]) -> None:
        """Without decay a row's way is proportional to its rate; with it, only steps will do."""
        if self._tuned.decay != "none":
            self._step_through(trained, slots)
            return
        scale, before = trained.lr_scale[slots, None], trained.block[slots]
        self._pay_at_one_rate(trained._replace(lr_scale=None), slots)
        after = before + scale * (trained.block[slots] - before)
        trained.block[slots] = np.where(scale == 0, before, after)

    def _pay_at_one_rate(self, trained: Trained, slots: NDArray[np.int32]) -> None:
        if self._tuned.decay == "coupled" and not self._absent.linear:
            self._step_through(trained, slots)
        else:
            self._pay_compiled(trained, slots)

    # --- the ways ------------------------------------------------------------------------

    def _pay_compiled(self, trained: Trained, slots: NDArray[np.int32]) -> None:
        ledger, tuned = self._ledger, self._tuned
        absence.pay(
            tuned.rule, self._absent, tuned.decay, trained.block, trained.state, trained.steps,
            slots, ledger.nodes, ledger.first, ledger.now, ledger.history,
            tuned.clock_table(ledger.now), self._numbers(),
        )  # fmt: skip

    def _limit(self) -> tuple[float, int]:
        return limit_of(self._absent, self._tuned.hyper, _PRECISION[self._tuned.dtype.itemsize])

    def _numbers(self) -> NDArray[Any]:
        hyper = self._tuned.hyper
        names = [n for n in pay_names(self._tuned.rule, self._absent) if n in hyper]
        limit, longest = self._limit()
        # More steps than a ledger holds are all of them; a float32 holds those exactly.
        longest = min(longest, 2 * ledgers.MOST_STEPS)
        return np.array([*(hyper[n] for n in names), limit, longest], dtype=self._tuned.dtype)

    def _pay_copies(self, trained: Trained, slots: NDArray[np.int32]) -> None:
        """Rows of half precision, for which there is no kernel: brought up to date as copies."""
        scale = None if trained.lr_scale is None else trained.lr_scale[slots]
        copies = Trained(
            trained.block[slots].astype(self._tuned.dtype),
            tuple(array[slots] for array in trained.state),
            trained.steps[slots],
            scale,
        )
        self._pay(copies, np.arange(len(slots), dtype=np.int32))
        moves = slice(None) if scale is None else scale != 0  # the others keep their bits
        with np.errstate(over="ignore", invalid="ignore"):
            trained.block[slots[moves]] = copies.block[moves]
        for array, new in zip(trained.state, copies.state, strict=True):
            array[slots] = new
        trained.steps[slots] = copies.steps

    def _step_through(self, trained: Trained, slots: NDArray[np.int32]) -> None:
        """Every missed step, with a gradient of zero."""
        since = trained.steps[slots]
        zeros = np.zeros((len(slots), trained.block.shape[1]), self._tuned.dtype)
        for t in range(int(since.min()) + 1, self.now + 1):
            here = slots[since < t]
            self._step(trained, here, zeros[: len(here)], t)

    def _step(
        self, trained: Trained, slots: NDArray[np.int32], zeros: NDArray[Any], t: int
    ) -> None:
        tuned, numbers = self._tuned, self._ledger.history[t - self._ledger.first - 1]
        update.move_groups(
            tuned.rule, tuned.decay, trained, group_unique(slots), zeros, tuned.clock_table(t),
            numbers,
        )  # fmt: skip
