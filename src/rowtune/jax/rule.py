"""Rowtune's own rules as optimizers of rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from rowtune.errors import RuleError
from rowtune.jax import verbs
from rowtune.jax.checked import check_finite
from rowtune.jax.clock import ClockReader
from rowtune.jax.optimizer import RowOptimizer, of_one_table
from rowtune.jax.table import RowTable
from rowtune.jax.touched import RowGrads
from rowtune.rules import Rule, bind, get
from rowtune.rules.decay import with_decay
from rowtune.rules.tuned import Tuned
from rowtune.step import Trained, step

Schedule = Callable[[Array], Any]


class RuleState(NamedTuple):
    """What a rule remembers.

    Attributes
    ----------
    table_steps : int32 scalar
        Steps of the table, which schedules follow.
    steps : int32 array (k,)
        Steps of each row.
    arrays : dict of str to array (k, C), or (k, 1) for one number per row
        In the block's dtype, but at least float32.
    """

    table_steps: Array
    steps: Array
    arrays: dict[str, Array]


def rule(name: str | Rule, lr: float | Schedule | None = None, **hyper: Any) -> RowOptimizer:
    """One of Rowtune's rules: ``rule("adam", lr=1e-3)``. `rowtune.rules.names` lists them.

    Parameters
    ----------
    lr : float or callable
        A callable is a schedule, as optax's are: of the table's steps, 0 in the first. The rule's
        own default where left out.
    **hyper
        Other hyper-parameters of the rule, ``weight_decay`` and ``decoupled`` among them.

    Raises
    ------
    RuleError
        No such rule or hyper-parameter, or a value outside its range.
    """
    chosen = get(name)
    schedule = lr if callable(lr) else None
    given = hyper if lr is None or schedule is not None else {**hyper, "lr": lr}
    chosen.hyper(**given)
    if schedule is not None:
        _check_takes_schedule(chosen)

    @cache
    def running(dtype: str) -> _Running:
        return _Running(Tuned(chosen, dtype, **given), schedule)

    def init(table: RowTable) -> RuleState:
        block, dtype = table.block, verbs.state_dtype(table.block)
        tuned = running(dtype.name).tuned
        first = chosen.first_values(tuned.hyper)
        count = block.shape[0]
        arrays = {
            state: jnp.full((count, width), first[state], dtype)
            for state, width in chosen.state_widths(block.shape[1]).items()
        }
        return RuleState(jnp.zeros((), jnp.int32), jnp.zeros(count, jnp.int32), arrays)

    def update(grads: RowGrads, state: RuleState, table: RowTable) -> tuple[RowTable, RuleState]:
        return running(verbs.state_dtype(table.block).name).update(grads, state, table)

    return of_one_table(init, update)


class _Running:
    """A rule, its numbers in the dtype of a state, and its clock."""

    def __init__(self, tuned: Tuned, schedule: Schedule | None) -> None:
        self.tuned = tuned
        self._schedule = schedule
        self._rule = with_decay(bind(tuned.rule.function, verbs.OPERATIONS), tuned.decay)
        self._clock = ClockReader(tuned)

    def update(
        self, grads: RowGrads, state: RuleState, table: RowTable
    ) -> tuple[RowTable, RuleState]:
        check_finite(grads.values)
        if table.block.shape[0] == 0:
            return table, state._replace(table_steps=state.table_steps + 1)
        names = self.tuned.rule.state  # in the rule's order: JAX sorts a dict by its keys
        trained = step(
            verbs,
            self._rule,
            Trained(table.block, tuple(state.arrays[name] for name in names), state.steps),
            grads.slots,
            grads.values.astype(self.tuned.dtype),
            lambda t, _: self._numbers(t, state.table_steps),
        )
        arrays = dict(zip(names, trained.state, strict=True))
        new = RuleState(state.table_steps + 1, trained.steps, arrays)
        return table.replace(block=trained.block), new

    def _numbers(self, t: Array, table_steps: Array) -> list[Any]:
        """The decay's number and the rule's, in order; constants are NumPy scalars in the state's
        dtype, which promote nothing.
        """
        rule, hyper = self.tuned.rule, self.tuned.hyper
        decay, *others = self.tuned.constants
        if self._schedule is not None:
            lr = jnp.asarray(self._schedule(table_steps), self.tuned.dtype)
            others[list(rule.numbers(hyper)).index("lr")] = lr
            if self.tuned.decay == "decoupled":
                decay = 1 - lr * self.tuned.dtype.type(hyper["weight_decay"])
        return [decay, *rule.in_order(self._clock(t), others)]


def _check_takes_schedule(rule: Rule) -> None:
    if "lr" not in rule.number_names:
        raise RuleError(f"rule {rule.name!r} does not take lr as a number of its own: no schedule")
