"""Whether a new rule has the form of one: refused where it is written, not inside a compiler."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

from rowtune.errors import RuleError
from rowtune.rules.operations import OPERATIONS
from rowtune.rules.record import Recorded, record

if TYPE_CHECKING:
    from rowtune.rules.form import Rule


def check_form(rule: Rule) -> None:
    """Call the rule's function once, on operands that only record, and look at the results.

    Raises
    ------
    RuleError
        Names, operations, branches or numbers that a rule may not use, or other results than the
        row and the state, each as wide as it was declared.
    """
    function = rule.function
    assert isinstance(function, FunctionType)
    strange = sorted(set(function.__code__.co_names) - set(OPERATIONS))
    if function.__closure__ or strange:
        raise RuleError(
            f"rule {rule.name!r} uses {strange or 'variables of the function around it'}; a rule "
            f"may use its arguments, operators, and {', '.join(sorted(OPERATIONS))} by these names"
        )
    rule.numbers(rule.hyper())
    widths = {"row": True} | {name: name not in rule.per_row for name in rule.state}
    try:
        results = record(function, "none", list(widths.items())[1:], rule.number_names)
    except RuleError as error:
        raise RuleError(f"rule {rule.name!r} {error}") from None
    except Exception as error:
        raise RuleError(f"rule {rule.name!r} cannot be called: {error!r}") from error
    if len(results) != len(widths):
        raise RuleError(
            f"rule {rule.name!r} returns {len(results)} values; expected the row and its state, "
            f"{len(widths)} in all"
        )
    for (name, wide), result in zip(widths.items(), results, strict=True):
        _check_result(f"rule {rule.name!r} returns", name, wide, result)


def _check_result(returns: str, name: str, wide: bool, result: Any) -> None:
    if not isinstance(result, Recorded | int | float):
        raise RuleError(f"{returns} {result!r} as {name!r}; expected numbers")
    is_wide = isinstance(result, Recorded) and result.wide
    if is_wide and not wide:
        raise RuleError(
            f"{returns} a whole row as {name!r}, which is one number per row; take row_mean or "
            "row_norm of it, or declare it without per_row"
        )
    if wide and not is_wide:
        cure = "" if name == "row" else f", or state={{{name!r}: per_row(...)}}"
        raise RuleError(f"{returns} one number per row as {name!r}; expected a whole row{cure}")
