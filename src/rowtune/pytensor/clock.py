"""The clock of a rule in the graph: a table where it comes to a stand, else one made as it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor import shared
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_and_cache_key
from pytensor.tensor.variable import TensorVariable

from rowtune.pytensor.hyper import Hyper
from rowtune.rules import Rule


def clock_of(hyper: Hyper, most_steps: TensorVariable) -> TensorVariable:
    """A variable of T x c: the clock's numbers by step count; the last row serves all later ones.

    Parameters
    ----------
    most_steps : integer scalar
        No touched row has taken more steps after this update.
    """
    if hyper.symbolic.keys().isdisjoint(hyper.rule.clock_takes):
        table = hyper.tuned.standing_clock()
        if table is not None:
            width = len(hyper.rule.clock_names)
            return shared(table, name="clock", borrow=True, shape=(None, width))
    numbers = [pt.as_tensor(hyper[name], dtype="float64") for name in hyper.rule.clock_takes]
    return ClockTable(hyper.rule, hyper.tuned.dtype.name)(most_steps, *numbers)


class ClockTable(Op):  # type: ignore[misc]
    """The clock's numbers for steps 1 to ``most_steps``, made anew in every call.

    Its time grows with the steps of the rows, by nanoseconds each. In JAX mode the clock is asked
    for the touched rows' own step counts instead.
    """

    __props__ = ("rule", "dtype")

    def __init__(self, rule: Rule, dtype: str) -> None:
        self.rule = rule
        self.dtype = dtype

    def __str__(self) -> str:
        return f"ClockTable{{{self.rule.name}}}"

    def make_node(self, most_steps: Any, *hyper: Any) -> Apply:
        width = len(self.rule.clock_names)
        inputs = [pt.as_tensor(most_steps), *map(pt.as_tensor, hyper)]
        return Apply(self, inputs, [pt.tensor(dtype=self.dtype, shape=(None, width))])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:  # noqa: ARG002
        most_steps, *hyper = inputs
        t = np.arange(1.0, int(most_steps) + 1)
        table = np.zeros((len(t) + 1, len(self.rule.clock_names)), self.dtype)
        for i, column in enumerate(self.at(t, *map(float, hyper))):
            table[1:, i] = column
        outputs[0][0] = table

    def at(self, t: Any, *hyper: Any) -> Any:
        """The clock's numbers at step counts ``t``, of arrays or variables in float64."""
        assert self.rule.clock is not None
        return self.rule.clock(t, *hyper)


_SOURCE = """
def clock_table(most_steps, {hyper}):
    table = np.zeros((most_steps.item() + 1, {width}), np.{dtype})
    for t in range(1, table.shape[0]):
        {targets} = clock(np.float64(t), {arguments})
    return table
"""


@register_funcify_and_cache_key(ClockTable)
def _compiled(op: ClockTable, node: Apply, **_: Any) -> tuple[Any, None]:  # noqa: ARG001
    names = op.rule.clock_takes
    targets = "".join(f"table[t, {i}], " for i in range(len(op.rule.clock_names)))
    source = _SOURCE.format(
        hyper=", ".join(names),
        width=len(op.rule.clock_names),
        dtype=op.dtype,
        targets=targets,
        arguments=", ".join(f"{name}.item()" for name in names),
    )
    known = {"np": np, "clock": numba_njit(op.rule.clock, fastmath=False)}
    function = compile_numba_function_src(source, "clock_table", known)
    return numba_njit(function, fastmath=False), None  # a user's clock may call anything: no cache
