"""The rules: the arithmetic that moves one row. See `rowtune.rules.form` for what a rule is.

Adding a rule is writing one function under ``@rule`` in a file of this folder; the registry below
finds it, and with it the tests, the command line's choices and the documentation.
"""

from __future__ import annotations

from rowtune.errors import RuleError
from rowtune.rules import adaptive, descent, moments
from rowtune.rules.form import Rule, per_row, rule
from rowtune.rules.operations import bind, row_mean, row_norm

__all__ = ["Rule", "bind", "get", "names", "per_row", "row_mean", "row_norm", "rule"]

_REGISTRY: dict[str, Rule] = {
    value.name: value
    for module in (descent, adaptive, moments)
    for value in vars(module).values()
    if isinstance(value, Rule)
}


def names() -> tuple[str, ...]:
    """Names of all rules."""
    return tuple(_REGISTRY)


def get(name_or_rule: str | Rule) -> Rule:
    """The rule of that name; a `Rule` of the user's own passes through.

    Raises
    ------
    RuleError
        No such rule; the message lists those that there are.
    """
    if isinstance(name_or_rule, Rule):
        return name_or_rule
    if not isinstance(name_or_rule, str) or name_or_rule not in _REGISTRY:
        raise RuleError(f"there is no rule {name_or_rule!r}; expected one of {', '.join(names())}")
    return _REGISTRY[name_or_rule]


def __getattr__(name: str) -> Rule:
    if name in _REGISTRY:
        return _REGISTRY[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
