"""What a rule does, written down: its function is called once, on operands that record.

Two readers need it. The check of a new rule sees which of its results are whole rows and which one
number per row; and a kernel whose rule looks at whole rows is built from the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rowtune.errors import RuleError
from rowtune.rules.decay import with_decay
from rowtune.rules.operations import OPERATIONS, REDUCTIONS, bind

# Python's own operators that a rule may use, with the names of their methods.
ARITHMETIC = {
    "+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow",
    "&": "and", "|": "or",
}  # fmt: skip
COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
_ARITY = dict.fromkeys(OPERATIONS, 1) | {"maximum": 2, "where": 3}


class Recorded:
    """One value in a rule: an operand, or what an operation made of other values.

    Attributes
    ----------
    what : str
        Name of the operand or of the operation: ``"row"``, ``"eps"``, ``"+"``, ``"sqrt"``, ...
    operands : tuple of (Recorded or number)
        Empty where the value is itself an operand of the rule.
    wide : bool
        Whether it has a number for each column, not one per row.
    """

    __slots__ = ("operands", "what", "wide")

    def __init__(self, what: str, operands: tuple[Any, ...], wide: bool) -> None:
        self.what, self.operands, self.wide = what, operands, wide

    def __bool__(self) -> bool:
        raise RuleError("asks whether a value is true; write where(condition, yes, no)")

    def __neg__(self) -> Recorded:
        return Recorded("negative", (self,), self.wide)


def record(
    function: Callable[..., Any],
    decay: str,
    state: Iterable[tuple[str, bool]],
    numbers: Iterable[str],
) -> tuple[Any, ...]:
    """The new row and the new state of a rule, as `Recorded` values (or plain numbers).

    Parameters
    ----------
    function : plain function
    decay : "none", "coupled" or "decoupled"
        The wrapper's number is an operand called ``decay``.
    state : (name, wide) pairs, in order
    numbers : names, in order

    Raises
    ------
    RuleError
        The function branches on a value, or gives an operation what it does not take. Anything
        else that it does wrong raises as it does in Python.
    """
    row, grad = Recorded("row", (), True), Recorded("grad", (), True)
    before = [Recorded(name, (), wide) for name, wide in state]
    given = [Recorded(name, (), False) for name in numbers]
    bound = with_decay(bind(function, _RECORDING), decay)
    result = bound(row, grad, Recorded("decay", (), False), *before, *given)
    return result if isinstance(result, tuple) else (result,)


def _recording(what: str) -> Callable[..., Recorded]:
    """The operation ``what``, as one that only makes a `Recorded` value."""

    def operation(*operands: Any) -> Recorded:
        if len(operands) != _ARITY.get(what, 2):
            raise RuleError(f"gives {what} {len(operands)} values; it takes {_ARITY[what]}")
        for value in operands:
            if not isinstance(value, Recorded | int | float):
                raise RuleError(f"gives {what} {value!r}; it takes numbers")
        wide = any(isinstance(value, Recorded) and value.wide for value in operands)
        if what in REDUCTIONS and not wide:
            raise RuleError(f"gives {what} one number per row; it takes whole rows")
        return Recorded(what, operands, wide and what not in REDUCTIONS)

    return operation


_RECORDING = {name: _recording(name) for name in OPERATIONS}


def _reflected(operation: Callable[..., Recorded]) -> Callable[[Any, Any], Recorded]:
    return lambda self, other: operation(other, self)


for _symbol, _name in (ARITHMETIC | COMPARISONS).items():
    _operation = _recording(_symbol)
    setattr(Recorded, f"__{_name}__", _operation)
    if _symbol in ARITHMETIC:  # Python turns comparisons round by itself
        setattr(Recorded, f"__r{_name}__", _reflected(_operation))
