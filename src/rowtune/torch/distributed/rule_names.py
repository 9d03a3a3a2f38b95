"""From the name of a rule to the optimizer that has it, here and in TorchRec."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from rowtune import rules
from rowtune.errors import RuleError
from rowtune.torch import optim
from rowtune.torch.optim.row_optimizer import OPTIONS, RowOptimizer

# Which class of `rowtune.torch.optim`, and what it is told.
_CLASSES: dict[str, tuple[type[RowOptimizer], dict[str, Any]]] = {
    "sgd": (optim.SGD, {}),
    "momentum": (optim.SGD, {}),
    "nesterov": (optim.SGD, {}),
    "lion": (optim.Lion, {}),
    "adagrad": (optim.Adagrad, {}),
    "rowwise_adagrad": (optim.RowwiseAdagrad, {}),
    "rmsprop": (optim.RMSprop, {}),
    "rmsprop_momentum": (optim.RMSprop, {}),
    "centered_rmsprop": (optim.RMSprop, {"centered": True}),
    "centered_rmsprop_momentum": (optim.RMSprop, {"centered": True}),
    "adadelta": (optim.Adadelta, {}),
    "adam": (optim.Adam, {}),
    "adamw": (optim.AdamW, {}),
    "rowwise_adam": (optim.RowwiseAdam, {}),
    "amsgrad": (optim.Adam, {"amsgrad": True}),
    "adamax": (optim.Adamax, {}),
}
# What FBGEMM's fused kernels have on the CPU, and the hyper-parameters that they go by there: they
# take a weight decay and ignore it, and know no decay of the learning rate.
FUSED: dict[str, tuple[str, ...]] = {
    "sgd": ("lr",),
    "adagrad": ("lr", "eps", "initial_accumulator_value"),
    "rowwise_adagrad": ("lr", "eps", "initial_accumulator_value"),
}


def checked(rule: str, hyper: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All hyper-parameters of a rule, defaults too, and the options that are our optimizers' own.

    Raises
    ------
    RuleError
        An unknown rule, or a hyper-parameter that it does not take.
    """
    if not isinstance(rule, str) or rule not in _CLASSES:
        raise RuleError(f"there is no rule {rule!r} here; expected one of {', '.join(_CLASSES)}")
    options = {name: value for name, value in hyper.items() if name in OPTIONS}
    own = {name: value for name, value in hyper.items() if name not in OPTIONS}
    return rules.get(rule).hyper(**own), options


def optimizer_of(
    rule: str, params: Any, hyper: Mapping[str, Any], options: Mapping[str, Any]
) -> RowOptimizer:
    """The optimizer of `rowtune.torch.optim` whose blocks move by ``rule``.

    Raises
    ------
    RuleError
        Weight decay of the other kind than the class has.
    """
    make, told = _CLASSES[rule]
    given: dict[str, Any] = dict(hyper)
    decoupled, decay = given.pop("decoupled"), given["weight_decay"]
    if make is optim.Adam and decoupled:
        make = optim.AdamW
    elif make is optim.AdamW and not decoupled:
        make = optim.Adam
    elif decay and decoupled != (make in (optim.AdamW, optim.Lion)):
        kind = "decoupled" if decoupled else "coupled"
        raise RuleError(f"rowtune.torch.optim.{make.__name__} has no {kind} weight decay")
    if "beta1" in given:
        given["betas"] = (given.pop("beta1"), given.pop("beta2"))
    return make(params, **given, **told, **options)


def lacking(rule: str, hyper: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Why TorchRec cannot train by this rule on the CPU; empty where it can."""
    has = f"TorchRec's fused kernels have {', '.join(FUSED)} on the CPU"
    if rule not in FUSED:
        return f"{has}, and no {rule}"
    usual = rules.get(rule).defaults
    for name, value in hyper.items():
        matters = name != "decoupled" and value != usual[name]
        if matters and name not in FUSED[rule]:
            return (
                f"{name}={value:g} would be ignored there: {has}, and for {rule} they go by "
                f"{', '.join(FUSED[rule])} alone"
            )
    for name, value in options.items():
        if value != OPTIONS[name]:
            return f"{name}={value!r} is not there: the rows move inside TorchRec"
    if importlib.util.find_spec("torchrec") is None:
        return "torchrec is not installed (pip install torchrec, with its fbgemm-gpu-cpu)"
    return ""
