"""How the blocks of an optimizer move: their rules, the rates of their rows, what they owe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rowtune.bounds import Bounds
from rowtune.errors import RuleError
from rowtune.row_memory import RowMemory
from rowtune.rules import Rule, get
from rowtune.rules.lr_scale import check_takes_lr
from rowtune.rules.tuned import Tuned
from rowtune.state_folder import StateFolder, memory_in
from rowtune.torch.optim import row_rates, row_state
from rowtune.torch.optim.block_debts import BlockDebts
from rowtune.torch.optim.block_states import BlockStates
from rowtune.torch.optim.row_rates import RowRates


class BlockRules(BlockStates):
    """The part of `RowOptimizer` that is about the rules of blocks."""

    rules: ClassVar[tuple[str, ...]]  # that `rule_of` may name

    # Not begun anew when a state is loaded, and none in a copy, whose state is in memory.
    _state_folder: StateFolder | None = None

    def _begin(self) -> None:
        """Know nothing of any block yet."""
        self._tuned: dict[tuple[int, torch.dtype], tuple[dict[str, Any] | None, Tuned]] = {}
        self._most_steps: dict[Tensor, int] = {}
        self._debts: dict[Tensor, BlockDebts] = {}
        self._rates = RowRates()
        self._memories: dict[Tensor, RowMemory] = {}

    def _scale_of(self, block: Tensor, tuned: Tuned, group: dict[str, Any]) -> Tensor | None:
        """Scales of the learning rates of a block's rows; what is owed so far goes by the old."""
        if group["lr_scale"] is not None:
            check_takes_lr(tuned.rule)
            row_rates.check(group, is_rows=True)
            # Once, and not in every step; and as torch.load takes it.
            group["lr_scale"] = row_rates.as_tensor(group["lr_scale"])
        scale, changed = self._rates.of(block, group["lr_scale"], tuned.dtype)
        debts = self._debts.get(block)
        if debts is not None and changed:
            self._pay(block, None)
        if debts is not None:
            debts.lr_scale = scale
        return scale

    def _follow(self, parameter: Tensor, tuned: Tuned) -> None:
        """Make the state of a block fit it; under catch-up, rows that were added begin now."""
        state = self.state[parameter]
        known = len(state.get(row_state.STEP, ()))
        row_state.follow(state, parameter, tuned, self._memory_of(parameter))
        debts = self._debts.get(parameter)
        if debts is not None and known < len(parameter):
            state[row_state.STEP][known:] = debts.now

    def _memory_of(self, parameter: Tensor) -> RowMemory:
        """Where the state of a block is."""
        if self._state_folder is not None and parameter.device.type != "cpu":
            raise RuleError(
                f"state_folder is for blocks on the CPU, and this one is on {parameter.device}"
            )
        if parameter not in self._memories:
            self._memories[parameter] = memory_in(self._state_folder)
        return self._memories[parameter]

    # --- catch-up ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Under catch-up, bring every row of every block up to date; else there is nothing to do.

        ``state_dict()``, a model's ``eval()``, ``state_dict()`` and ``weight``, `save_patch` and
        ``merge()`` do so themselves; ``block`` shows rows as they are in memory.
        """
        for block in list(self._debts):
            self._pay(block, None)

    def _debts_of(self, block: Tensor, tuned: Tuned, group: dict[str, Any]) -> BlockDebts | None:
        payer = getattr(block, "payer", None)
        if payer is not None and not (group["catch_up"] and payer == self._pay):
            block.settle()  # type: ignore[attr-defined]  # what it owes to an earlier optimizer
            block.payer = None  # type: ignore[attr-defined]
            self._debts.pop(block, None)
        if not group["catch_up"]:
            return None
        debts = self._debts.get(block)
        if debts is None or debts.tuned is not tuned:
            self._pay(block, None)
            debts = self._debts[block] = BlockDebts(block, self.state[block], tuned)
            self._most_steps.pop(block, None)
        block.payer = self._pay  # type: ignore[attr-defined]
        return debts

    def _pay(self, block: Tensor, slots: Tensor | None) -> None:
        debts = self._debts.get(block)
        if debts is not None:
            # Whatever mode the reader is in: rows and state are written for good.
            with torch.inference_mode(False), torch.no_grad():
                self._follow(block, debts.tuned)
                debts.pay(slots)

    def _settle(self, tuned: Tuned) -> None:
        """What blocks owe so far goes by the options that were."""
        for block, debts in list(self._debts.items()):
            if debts.tuned is tuned:
                self._pay(block, None)
                del self._debts[block]

    def _rules(self) -> list[Rule]:
        return [get(name) for name in self.rules]

    def _tuned_for(self, index: int, group: dict[str, Any], dtype: torch.dtype) -> Tuned:
        """The rule of a group's blocks, kept while its options are the very same objects."""
        options, tuned = self._tuned.get((index, dtype), (None, None))
        changed = options is None or any(group.get(k) is not x for k, x in options.items())
        if tuned is None or changed:
            check_options(group, map(self._is_rows, group["params"]))
            tuned = self._tune(group, dtype, tuned)
            # Rates of rows are no part of a rule, and have a memory of their own.
            options = {k: x for k, x in group.items() if k not in ("params", "lr_scale")}
            fixed = all(map(_is_unchanging, options.values()))
            self._tuned[index, dtype] = options if fixed else None, tuned
        return tuned

    def _tune(self, group: dict[str, Any], dtype: torch.dtype, tuned: Tuned | None) -> Tuned:
        name, hyper = self.rule_of(group)
        wide = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
        hyper = {key: number(value) for key, value in hyper.items()}
        # A schedule may end at a rate that is 0 in the state's dtype.
        hyper["lr"] = float(wide.type(hyper["lr"]))
        if tuned is None or tuned.rule.name != name:
            new = Tuned(get(name), wide, **hyper)
            if tuned is not None:
                self._settle(tuned)
            return new
        changed = {key for key, value in hyper.items() if tuned.hyper[key] != value}
        if changed - {"lr"}:
            self._settle(tuned)
        if changed:
            tuned.set(**hyper)
        return tuned


def check_options(group: dict[str, Any], are_rows: Iterable[bool]) -> None:
    """Refuse options of a group that torch's optimizers do not have and no step could go by.

    Raises
    ------
    RuleError, ShapeError
        Also for options that do not go together.
    """
    row_rates.check(group, all(are_rows))
    bounds = Bounds(max_norm=group["max_norm"])
    if group["catch_up"]:
        bounds.check_catch_up()


def _is_unchanging(value: Any) -> bool:
    """Whether it cannot change in place, as a tensor can."""
    if isinstance(value, tuple):
        return all(map(_is_unchanging, value))
    return value is None or isinstance(value, int | float | str)


def number(value: Any) -> Any:
    """torch takes a tensor as a learning rate, too."""
    return value.item() if isinstance(value, Tensor) else value
