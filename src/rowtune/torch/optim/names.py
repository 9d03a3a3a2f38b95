"""The optimizers by name: which rule and which options of torch's each one stands for."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from rowtune.torch.optim import dense_lion
from rowtune.torch.optim.row_optimizer import RowOptimizer, refuse

_LAZY = "a row that is absent does not move, so it cannot be kept differentiable"


class SGD(RowOptimizer):
    """`torch.optim.SGD`; touched rows move by the rule ``sgd``, ``momentum`` or ``nesterov``.

    ``dampening`` is not there for rows.
    """

    torch_class = torch.optim.SGD
    rules = ("sgd", "momentum")

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        refuse(group, "dampening", 0, "the first step of a row would be another than the others")
        hyper = _pick(group, "lr", "weight_decay")
        if not group["momentum"]:
            return "sgd", hyper
        return "momentum", {**hyper, **_pick(group, "momentum", "nesterov")}


class Adagrad(RowOptimizer):
    """`torch.optim.Adagrad`; touched rows move by the rule ``adagrad``."""

    torch_class = torch.optim.Adagrad
    rules = ("adagrad",)

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        names = ("lr", "lr_decay", "eps", "weight_decay", "initial_accumulator_value")
        return "adagrad", _pick(group, *names)


class RowwiseAdagrad(Adagrad):
    """Adagrad with one number for each row of a block: the rule ``rowwise_adagrad``.

    It takes 1 / D of Adagrad's memory. Dense parameters are stepped by `torch.optim.Adagrad`.
    """

    rules = ("rowwise_adagrad",)

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return "rowwise_adagrad", super().rule_of(group)[1]


class RMSprop(RowOptimizer):
    """`torch.optim.RMSprop`; touched rows move by the rule ``rmsprop``, ``rmsprop_momentum``,
    ``centered_rmsprop`` or ``centered_rmsprop_momentum``.
    """

    torch_class = torch.optim.RMSprop
    rules = ("rmsprop", "rmsprop_momentum", "centered_rmsprop", "centered_rmsprop_momentum")

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        hyper = _pick(group, "lr", "alpha", "eps", "weight_decay")
        name = "centered_rmsprop" if group["centered"] else "rmsprop"
        if not group["momentum"]:
            return name, hyper
        return f"{name}_momentum", {**hyper, **_pick(group, "momentum")}


class Adadelta(RowOptimizer):
    """`torch.optim.Adadelta`; touched rows move by the rule ``adadelta``."""

    torch_class = torch.optim.Adadelta
    rules = ("adadelta",)

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return "adadelta", _pick(group, "lr", "rho", "eps", "weight_decay")


class Adamax(RowOptimizer):
    """`torch.optim.Adamax`; touched rows move by the rule ``adamax``, whose bias correction counts
    the steps of each row.
    """

    torch_class = torch.optim.Adamax
    rules = ("adamax",)

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        hyper = _pick(group, "lr", "betas", "eps", "weight_decay")
        hyper["beta1"], hyper["beta2"] = hyper.pop("betas")
        return "adamax", hyper


class Lion(RowOptimizer):
    """Chen et al.'s Lion, which torch has not; touched rows move by the rule ``lion``, and dense
    parameters by the same rule. Weight decay is decoupled.
    """

    torch_class = dense_lion.Lion
    rules = ("lion",)

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        hyper = _pick(group, "lr", "betas", "weight_decay")
        hyper["beta1"], hyper["beta2"] = hyper.pop("betas")
        return "lion", hyper


class _AnyAdam(RowOptimizer):
    torch_class: ClassVar[type[torch.optim.Optimizer]] = torch.optim.Adam
    rules: ClassVar[tuple[str, ...]] = ("adam", "amsgrad")
    decoupled: bool

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        hyper = _pick(group, "lr", "betas", "eps", "weight_decay")
        hyper["beta1"], hyper["beta2"] = hyper.pop("betas")
        hyper["decoupled"] = group.get("decoupled_weight_decay", self.decoupled)
        return "amsgrad" if group["amsgrad"] else "adam", hyper


class Adam(_AnyAdam):
    """`torch.optim.Adam`; touched rows move by the rule ``adam`` or ``amsgrad``, whose bias
    correction counts the steps of each row.
    """

    torch_class = torch.optim.Adam
    decoupled = False


class RowwiseAdam(Adam):
    """Adam with one second moment for each row of a block: the rule ``rowwise_adam``.

    It takes about half of Adam's memory. Dense parameters are stepped by `torch.optim.Adam`;
    ``amsgrad`` is not there for rows.
    """

    rules = ("rowwise_adam",)

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        refuse(group, "amsgrad", False, "it needs the largest second moment of each element")
        return "rowwise_adam", super().rule_of(group)[1]


class AdamW(_AnyAdam):
    """`torch.optim.AdamW`; touched rows move by ``adam`` or ``amsgrad`` with decoupled decay."""

    torch_class = torch.optim.AdamW
    decoupled = True


def _pick(group: dict[str, Any], *names: str) -> dict[str, Any]:
    refuse(group, "differentiable", False, _LAZY)
    return {name: group[name] for name in names}
