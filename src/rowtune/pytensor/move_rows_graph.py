"""Moving rows in PyTensor's JAX mode, which compiles plain operations only."""

from __future__ import annotations

from typing import Any

import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter

from rowtune.pytensor import verbs
from rowtune.pytensor.clock import ClockTable
from rowtune.pytensor.move_rows import MoveRows
from rowtune.rules import bind
from rowtune.rules.decay import with_decay
from rowtune.step import Trained, step


def as_graph(op: MoveRows, inputs: list[Any]) -> list[Any]:
    """The outputs of ``op`` by `rowtune.step.step`."""
    block, steps, slots, grads, clock, numbers, *state = inputs
    rule = op.rule

    def numbers_at(t: Any, scale: None) -> list[Any]:  # noqa: ARG001
        columns = [column[:, None] for column in _clock_at(clock, t)]
        others = [numbers[i] for i in range(1, 1 + len(rule.number_names) - len(columns))]
        return [numbers[0], *rule.in_order(columns, others)]

    function = with_decay(bind(rule.function, verbs.OPERATIONS), op.decay)
    moved = step(verbs, function, Trained(block, tuple(state), steps), slots, grads, numbers_at)
    return [moved.block, moved.steps, *moved.state]


def _clock_at(clock: Any, t: Any) -> list[Any]:
    """The clock's numbers at step counts t (u,), each (u,)."""
    if clock.owner is not None and isinstance(clock.owner.op, ClockTable):
        _, *hyper = clock.owner.inputs  # the table has as many rows as JAX does not know beforehand
        return [pt.cast(x, clock.dtype) for x in clock.owner.op.at(pt.cast(t, "float64"), *hyper)]
    at = pt.clip(t, 0, clock.shape[0] - 1)
    return [clock[at, i] for i in range(clock.type.shape[1])]


@node_rewriter([MoveRows])
def _as_graph(fgraph: Any, node: Apply) -> Any:  # noqa: ARG001
    return as_graph(node.op, node.inputs)


optdb.register("rowtune_move_rows_as_graph", dfs_rewriter(_as_graph), "jax", position=100)
