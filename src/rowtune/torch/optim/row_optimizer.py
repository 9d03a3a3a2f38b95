"""One optimizer for the whole model: rows by a rule, everything else by torch's own."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from rowtune.errors import RowtuneError, RuleError
from rowtune.rules import get
from rowtune.state_folder import StateFolder
from rowtune.torch.optim import row_rates, row_state
from rowtune.torch.optim.block_rules import BlockRules, check_options, number
from rowtune.torch.optim.row_step import Move, Options, prepare
from rowtune.torch.parameter import RowParameter

# Options of a group that torch's optimizers do not have.
OPTIONS: dict[str, Any] = {
    "check_finite": True,
    "catch_up": False,
    "max_norm": None,
    "lr_scale": None,
}


class RowOptimizer(BlockRules):
    """Base of the optimizers in `rowtune.torch.optim`.

    Dense parameters are handed to ``torch_class``, with this optimizer's own groups and state. A
    block (a `RowParameter`, or any parameter whose gradient is row-sparse) is moved by a rule: only
    the touched rows, each with a step count of its own. Everything is looked at before anything is
    moved, so an error leaves the model as it was.

    With ``catch_up`` a row that is absent gets what torch's optimizer, which moves every row in
    every step, would have done to it: when it is next looked up, or at `flush`.

    With ``max_norm`` no touched row is longer after a step. ``lr_scale``, an option of a group that
    holds one block, is a number from 0 to 1 for each row of it: what its learning rate is
    multiplied with.

    With ``state_folder`` what is remembered of blocks is in files there, for blocks whose state is
    larger than memory; a state dict holds all of it as ever. See `rowtune.StateFolder`: it is
    scratch memory and no checkpoint.
    """

    torch_class: ClassVar[type[Optimizer]]

    def __init__(
        self,
        params: Any,
        *args: Any,
        check_finite: bool = True,
        catch_up: bool = False,
        max_norm: float | None = None,
        lr_scale: Tensor | None = None,
        state_folder: StateFolder | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        # torch checks its own arguments, and gives its own defaults for those left out.
        probe = self.torch_class([torch.zeros(0, requires_grad=True)], *args, **kwargs)
        self._dense: Optimizer | None = None
        self._built = False  # torch's constructor adds the groups one by one
        self._begin()
        if state_folder is not None:
            self._state_folder = StateFolder.of(state_folder)
        own: dict[str, Any] = {"check_finite": check_finite, "catch_up": catch_up}
        own.update(max_norm=max_norm, lr_scale=lr_scale)
        super().__init__(params, {**probe.defaults, **own})
        self._hand_over()
        self._built = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Show the arguments that torch's class takes."""
        super().__init_subclass__(**kwargs)
        theirs = inspect.signature(cls.torch_class.__init__)
        ours = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in {**OPTIONS, "state_folder": None}.items()
        ]
        cls.__signature__ = theirs.replace(  # type: ignore[attr-defined]
            parameters=[*list(theirs.parameters.values())[1:], *ours]
        )

    # --- a step --------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the touched rows of every block, and every dense parameter that has a gradient.

        Raises
        ------
        NonFiniteError
            NaN or infinity in the gradient of a block (``check_finite=False`` lets it through);
            nothing has been changed then, the dense parameters included.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moves = [
            self._prepare(parameter, index, group)
            for index, group in enumerate(self.param_groups)
            for parameter in group["params"]
            if parameter.grad is not None and self._is_rows(parameter)
        ]
        if self._dense is not None:
            self._tell_dense()
            self._dense.step()
        for move in moves:
            move()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's; a gradient that is zeroed in place forgets which rows it was of."""
        if not set_to_none:
            super().zero_grad(set_to_none)
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                if isinstance(parameter, RowParameter):
                    parameter.forget()

    def _prepare(self, parameter: Tensor, index: int, group: dict[str, Any]) -> Move:
        tuned = self._tuned_for(index, group, parameter.dtype)
        state = self.state[parameter]
        if not isinstance(parameter, RowParameter) and state and not _has_rows(state):
            if state[row_state.STEP] > 0:
                raise RuleError(
                    "a parameter that was stepped with dense gradients has a sparse one now; "
                    "keep to one of them, or make a new optimizer"
                )
            state.clear()  # begun by torch's Adagrad, which could not know that rows will come
        self._follow(parameter, tuned)
        debts = self._debts_of(parameter, tuned, group)
        if debts is None and parameter not in self._most_steps:
            self._most_steps[parameter] = int(state[row_state.STEP].max()) if len(parameter) else 0
        steps = self._most_steps[parameter] if debts is None else debts.now
        options = Options(group["maximize"], group["check_finite"], group["max_norm"])
        scale = self._scale_of(parameter, tuned, group)
        move = prepare(parameter, tuned, state, steps + 1, options, scale, debts)
        if debts is None:
            self._most_steps[parameter] += 1
        return move

    def _is_rows(self, parameter: Tensor) -> bool:
        """A block, or a plain parameter that has, or has had, row-sparse gradients."""
        grad = parameter.grad
        return (
            isinstance(parameter, RowParameter)
            or (grad is not None and grad.is_sparse)
            or _has_rows(self.state.get(parameter, {}))
        )

    # --- the dense parameters ------------------------------------------------------------------

    def _hand_over(self) -> None:
        """Give the dense parameters to torch's optimizer, on this one's state."""
        groups = [
            {**_options(group), "params": [p for p in group["params"] if not self._is_rows(p)]}
            for group in self.param_groups
        ]
        if not any(group["params"] for group in groups):
            self._dense = None
            return
        make: Any = self.torch_class  # torch's base class has another constructor than its children
        takes = inspect.signature(make).parameters
        # Not only by the groups: Adagrad begins its state with what its constructor was given.
        given = {name: value for name, value in self.defaults.items() if name in takes}
        self._dense = make(groups, **given)
        for parameter, begun in self._dense.state.items():  # Adagrad begins before the first step
            if not self.state.get(parameter):
                self.state[parameter] = begun
        self._dense.state = self.state

    def _tell_dense(self) -> None:
        """Learning rates and the like may have been changed since the last step."""
        assert self._dense is not None
        for group, handed in zip(self.param_groups, self._dense.param_groups, strict=True):
            handed.update(_options(group))
            handed["params"] = [p for p in group["params"] if not self._is_rows(p)]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's: a group with options of its own.

        Raises
        ------
        RuleError
            An option that rows have not; the group is not added then.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            if any(self._is_rows(p) for p in group["params"]):
                name, hyper = self.rule_of(group)
                get(name).hyper(**{key: number(value) for key, value in hyper.items()})
            check_options(group, map(self._is_rows, group["params"]))
            row_rates.check_numbers(group)
        except RowtuneError:
            self.param_groups.pop()
            raise
        if self._built:
            self._hand_over()

    # --- copying -----------------------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._begin()
        self._built = True
        for group in self.param_groups:
            for name, default in OPTIONS.items():
                group.setdefault(name, default)
        self._hand_over()

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        state: dict[str, Any] = super().__getstate__()
        return state


def _has_rows(state: dict[str, Any]) -> bool:
    step = state.get(row_state.STEP)
    return isinstance(step, Tensor) and step.ndim == 1


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in ("params", "param_names")}


def refuse(group: dict[str, Any], name: str, usual: Any, why: str) -> None:
    """Raise `RuleError` where a group asks for an option that rows have not."""
    if group.get(name, usual) != usual:
        raise RuleError(f"{name}={group[name]!r} is not there for blocks of rows: {why}")
