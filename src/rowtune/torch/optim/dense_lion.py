"""Lion for dense parameters: torch has none of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from rowtune.errors import RuleError
from rowtune.rules import bind, get
from rowtune.rules.decay import decay_number, kind_of_decay, with_decay
from rowtune.torch import verbs


class Lion(Optimizer):
    """The rule ``lion`` on every element of every parameter, in torch's form.

    Parameters
    ----------
    params : as torch's
    lr : float
    betas : (float, float)
        For the step's mix of m and gradient, and for the decay of m.
    weight_decay : float
        Decoupled, as in the paper.
    maximize : bool
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        try:
            hyper_of({"lr": lr, "betas": betas, "weight_decay": weight_decay})
        except RuleError as error:
            raise ValueError(str(error)) from None  # what torch's optimizers raise
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        rule = get("lion")
        bound = bind(rule.function, verbs.OPERATIONS)
        for group in self.param_groups:
            hyper = hyper_of(group)
            numbers = rule.numbers(hyper)
            move = with_decay(bound, kind_of_decay(hyper))
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["m"] = torch.zeros_like(parameter)
                grad = -parameter.grad if group["maximize"] else parameter.grad
                moved = move(parameter, grad, decay_number(hyper), state["m"], *numbers.values())
                parameter.copy_(moved[0])
                state["m"].copy_(moved[1])
        return loss


def hyper_of(group: dict[str, Any]) -> dict[str, Any]:
    """The rule's hyper-parameters, checked.

    Raises
    ------
    RuleError
        One outside its range.
    """
    names = ("lr", "betas", "weight_decay")
    values = {name: group[name] for name in names}
    values["lr"] = float(values["lr"])  # torch takes a tensor, too
    return get("lion").hyper(**values)
