"""A rate of its own for each row: a soft freeze of any rule, as its weight decay is of any rule.

A row of scale 1 moves as without one, bit for bit. A row of scale 0 stays as it is, bit for bit,
while what is remembered of it goes on. Between the two the learning rate of a row is its scale
times that of the table, in decoupled weight decay too.
"""

from __future__ import annotations

from typing import Any

from rowtune.errors import RuleError
from rowtune.rules.form import Rule


def check_takes_lr(rule: Rule) -> None:
    """Raise `RuleError` where the rule takes no learning rate by itself, which could be scaled."""
    if "lr" not in rule.number_names:
        raise RuleError(f"rule {rule.name!r} does not take lr as a number of its own: no lr_scale")


def own_decay(decay: Any, lr_scale: Any, one: Any) -> Any:
    """1 - lr_scale * lr * weight_decay, from ``decay`` = 1 - lr * weight_decay; see `decay_number`.

    Written so that a scale of 1 leaves every bit of ``decay``. ``one`` is 1 in the state's dtype.
    """
    return decay + (one - lr_scale) * (one - decay)


def own_numbers(rule: Rule, decay_kind: str, numbers: list[Any], lr_scale: Any) -> list[Any]:
    """The decay's number and the rule's (as `rowtune.step.step` wants them) with the rates of rows.

    ``lr_scale`` is of shape (u, 1), for the touched rows; None leaves the numbers as they are.
    """
    if lr_scale is None:
        return numbers
    decay, *others = numbers
    if decay_kind == "decoupled":
        decay = own_decay(decay, lr_scale, 1)
    place = rule.number_names.index("lr")
    others[place] = lr_scale * others[place]
    return [decay, *others]
