"""Updates of shared variables: a step of a rule for the rows that a cost is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from rowtune.errors import IdError, NonFiniteError, RuleError
from rowtune.pytensor.clock import clock_of
from rowtune.pytensor.gradients import gradients, lookup_of, other_lookups
from rowtune.pytensor.hyper import Hyper
from rowtune.pytensor.ids import Located
from rowtune.pytensor.move_rows import MoveRows
from rowtune.pytensor.table import LookupTable
from rowtune.rules import Rule

Pairs = list[tuple[Located, TensorVariable]]


def updates(
    cost: Any, rows: Any, rule: str | Rule = "adam", *, check_finite: bool = True, **hyper: Any
) -> dict[SharedVariable, TensorVariable]:
    """What ``pytensor.function(..., updates=...)`` takes to move the rows that were looked up.

    Duplicates are summed first. A row that is not looked up in a call keeps weights, state and step
    count; frozen rows and columns are nowhere that anything writes. Every shared variable comes
    once, and is written in place in Numba and C mode.

    Parameters
    ----------
    cost : scalar variable, or a list of gradients, one for each of ``rows``
        The list is for gradients that you clip or make yourself.
    rows : variable, or a list of them
        What ``table[ids]`` gave: the very variables that the cost is made of. Lookups of one table
        make one step, as if their ids were one batch.
    rule : str or Rule
        ``"adam"``, ``"sgd"``, ...: see `rowtune.rules.names`.
    check_finite : bool
        Refuse NaN and infinity in the gradient of a trainable row (JAX mode cannot).
    **hyper
        Hyper-parameters of the rule, with torch's names and defaults. Each may be a symbolic scalar
        or a shared variable; its range is then checked when the function runs.

    Returns
    -------
    dict
        From shared variables to their new values; merge it with those of other parameters.

    Raises
    ------
    RuleError
        Here: an unknown rule or hyper-parameter; a cost that depends on a table through another
        lookup, too. When the function runs: a symbolic hyper-parameter outside its range.
    IdError, NonFiniteError
        When the function runs; no table has changed then.
    """
    lookups = list(rows) if isinstance(rows, (list, tuple)) else [rows]
    if len({id(x) for x in lookups}) < len(lookups) or not lookups:
        raise RuleError("rows must name each lookup once; none came, or one of them twice")
    batches: dict[LookupTable, Pairs] = {}
    for variable, grad in zip(lookups, _gradients(cost, lookups), strict=True):
        table, located = lookup_of(variable)
        batches.setdefault(table, []).append((located, _flat(grad, table)))
    checks = _Checks(cost, lookups)
    slots, grads = zip(*(_joined(batch) for batch in batches.values()), strict=True)
    if check_finite:
        for one, other in zip(slots, grads, strict=True):
            checks.want_finite(one, other)
    made: dict[SharedVariable, TensorVariable] = {}
    for table, one, other in zip(batches, slots, grads, strict=True):
        made |= _moved(table, checks.then(one), other, rule, hyper)
    return made


def _gradients(cost: Any, lookups: list[TensorVariable]) -> list[TensorVariable]:
    for variable in lookups:
        lookup_of(variable)
    return gradients(cost, lookups)


def _flat(grad: TensorVariable, table: LookupTable) -> TensorVariable:
    flat = grad if grad.type.ndim == 2 else grad.reshape((-1, table.shape[1]))
    chosen = flat if table.columns is None else flat[:, table.columns]
    return pt.cast(chosen, table.dtype.name)


def _joined(batch: Pairs) -> tuple[TensorVariable, TensorVariable]:
    """Slots (n,) and gradients (n, D) of all lookups of a table."""
    slots, grads = [located.slots for located, _ in batch], [grad for _, grad in batch]
    return (
        (slots[0], grads[0]) if len(batch) == 1 else (pt.concatenate(slots), pt.concatenate(grads))
    )


class _Checks:
    """What must hold before the first table is written, since a later check would come too late."""

    def __init__(self, cost: Any, rows: list[TensorVariable]) -> None:
        lookups = [lookup_of(variable) for variable in rows] + other_lookups(cost, rows)
        if len(lookups) == 1:
            lookups = []  # its slots are made of ids that have been checked
        self._wanted: list[Any] = [(IdError, x.located.message, x.located.inside) for x in lookups]

    def want_finite(self, slots: TensorVariable, grads: TensorVariable) -> None:
        frozen = pt.lt(slots, 0)[:, None]
        finite = pt.all(pt.or_(frozen, pt.lt(pt.abs(grads), np.inf)))
        message = (
            "a gradient holds NaN or infinity; no table was changed. Skip this batch, "
            "or pass check_finite=False to updates"
        )
        self._wanted.append((NonFiniteError, message, finite))

    def then(self, slots: TensorVariable) -> TensorVariable:
        for error, message, holds in self._wanted:
            slots = CheckAndRaise(error, message)(slots, holds)
        return slots


def _moved(
    table: LookupTable,
    slots: TensorVariable,
    grads: TensorVariable,
    rule: str | Rule,
    given: dict[str, Any],
) -> dict[SharedVariable, TensorVariable]:
    hyper = Hyper(rule, table.dtype, given)
    state = _state_for(table, hyper)
    if len(table.rows) == 0:
        return {}
    most_steps = pt.max(pt.concatenate([table.steps[pt.maximum(slots, 0)], [0]])) + 1
    variables: list[Variable] = [table.block, table.steps, slots, grads]
    moved = MoveRows(hyper.rule, hyper.decay)(
        *variables, clock_of(hyper, most_steps), hyper.numbers, *state.values()
    )
    return dict(zip((table.block, table.steps, *state.values()), moved, strict=True))


def _state_for(table: LookupTable, hyper: Hyper) -> dict[str, SharedVariable]:
    """The table's state; made where it has none, or where it belongs to this rule kept."""
    first = hyper.rule.first_values(hyper.tuned.hyper)
    owner = (hyper.rule.function, tuple(sorted(first.items())))
    if table.rule is None:
        width = int(table.block.get_value(borrow=True).shape[1])
        for name, columns in hyper.rule.state_widths(width).items():
            # numpy.zeros costs nothing until a row is touched; numpy.full writes every byte.
            shape = (len(table.rows), columns)
            empty = np.zeros if first[name] == 0 else lambda s, d, x=first[name]: np.full(s, x, d)
            table.state[name] = table.share(name, empty(shape, table.dtype))
        table.rule = owner
    elif table.rule != owner:
        raise RuleError(
            f"the table {table.name!r} already has the state of {table.rule[0].__name__} "
            f"{dict(table.rule[1])}; one table has one rule. Make another with "
            f"lookup_table({table.name}.weights, ...)"
        )
    return table.state
