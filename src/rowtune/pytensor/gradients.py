"""Gradients of a cost by the rows that it is made of, and by nothing that it should not be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.gradient import DisconnectedType, grad
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.variable import TensorVariable

from rowtune.errors import RuleError
from rowtune.pytensor.table import Lookup


def lookup_of(rows: Any) -> Lookup:
    """What ``rows`` remembers of its lookup.

    Raises
    ------
    RuleError
        It is not what ``table[ids]`` gave.
    """
    lookup = getattr(getattr(rows, "tag", None), "rowtune", None)
    if not isinstance(lookup, Lookup):
        raise RuleError(
            f"{rows} is not what a lookup gave; write rows = table[ids], make the cost of rows, "
            "and pass rows (not a reshape or part of it)"
        )
    return lookup


def gradients(cost: Any, rows: Sequence[TensorVariable]) -> list[TensorVariable]:
    """The gradient of ``cost`` by each of ``rows``; a list of gradients passes through.

    Raises
    ------
    RuleError
        The cost is no scalar, does not depend on one of ``rows``, or depends on a table of theirs
        through something else, whose part of the gradient would be lost.
    """
    if isinstance(cost, (list, tuple)):
        return _given(cost, rows)
    if not isinstance(cost, Variable) or getattr(cost.type, "ndim", None) != 0:
        kind = cost.type if isinstance(cost, Variable) else type(cost).__name__
        raise RuleError(
            f"the cost is a {kind}; expected a scalar variable (write cost.sum() or cost.mean()), "
            "or a list of gradients, one for each of rows"
        )
    found = grad(cost, list(rows), disconnected_inputs="ignore", return_disconnected="disconnected")
    for variable, gradient in zip(rows, found, strict=True):
        if isinstance(gradient.type, DisconnectedType):
            raise RuleError(f"the cost does not depend on {variable}. {_cure(variable)}")
    _refuse_other_ways(cost, rows)
    return list(found)


def other_lookups(cost: Any, rows: Sequence[TensorVariable]) -> list[Lookup]:
    """Lookups of any table that the cost depends on beside ``rows``."""
    outputs = list(cost) if isinstance(cost, (list, tuple)) else [cost]
    tags = (getattr(variable.tag, "rowtune", None) for variable in ancestors(outputs, rows))
    own = {id(lookup_of(variable)) for variable in rows}
    return [x for x in tags if isinstance(x, Lookup) and id(x) not in own]


def _refuse_other_ways(cost: TensorVariable, rows: Sequence[TensorVariable]) -> None:
    reached = set(ancestors([cost], rows))
    for variable in rows:
        block = lookup_of(variable).table.block
        if block not in reached:
            continue
        # Reached, but perhaps by way of an argmax or disconnected_grad, which pass no gradient.
        (other,) = grad(
            cost,
            [block],
            list(rows),
            disconnected_inputs="ignore",
            return_disconnected="disconnected",
        )
        if not isinstance(other.type, DisconnectedType):
            raise RuleError(
                f"the cost depends on {lookup_of(variable).table.name!r} not only through "
                f"{variable}, and that part of its gradient would be lost. {_cure(variable)}"
            )


def _cure(rows: TensorVariable) -> str:
    name = lookup_of(rows).table.name
    return (
        f"Look up once, rows = {name}[ids], keep that variable, and use it wherever the cost needs "
        f"these rows: each {name}[ids] is a variable of its own. Where the cost needs several "
        "lookups, pass all of them: updates(cost, [rows, others], ...)"
    )


def _given(grads: Sequence[Any], rows: Sequence[TensorVariable]) -> list[TensorVariable]:
    kinds = [getattr(getattr(x, "type", None), "ndim", None) for x in grads]
    if kinds != [variable.type.ndim for variable in rows]:
        raise RuleError(
            f"{len(grads)} gradients of {kinds} dimensions came; expected one for each of the "
            f"{len(rows)} lookups, shaped as that"
        )
    return list(grads)
