"""The operation of the graph that moves the touched rows, in place where PyTensor allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.tensor.basic import as_tensor_variable

from rowtune.kernels.grouping import group
from rowtune.kernels.update import move_groups
from rowtune.rules import Rule
from rowtune.step import Trained


class MoveRows(Op):  # type: ignore[misc]
    """One step of a rule on the touched rows: sum duplicates, take, rule, put.

    Inputs are the block (k, D), the step counts (k,), slots (n,) with -1 where frozen, gradients
    (n, D), the clock's table (T, c), the numbers (the decay's, then the rule's that are not the
    clock's) and the state's arrays. Outputs are the block, the step counts and the state as they
    are after the step.

    The same operation is a compiled kernel in Numba mode (`rowtune.pytensor.move_rows_numba`), a
    graph of plain operations in JAX mode (`rowtune.pytensor.move_rows_graph`), and the NumPy
    engine's kernels in the others.
    """

    __props__ = ("rule", "decay", "inplace")

    def __init__(self, rule: Rule, decay: str, inplace: bool = False) -> None:
        self.rule = rule
        self.decay = decay
        self.inplace = inplace
        if inplace:
            self.destroy_map = {output: [place] for output, place in enumerate(self.places)}

    @property
    def places(self) -> list[int]:
        """Which inputs the outputs are the next value of."""
        return [0, 1, *range(6, 6 + len(self.rule.state))]

    def __str__(self) -> str:
        return f"MoveRows{{{self.rule.name}, {self.decay}{', inplace' * self.inplace}}}"

    def make_node(self, *inputs: Any) -> Apply:
        inputs = tuple(as_tensor_variable(x) for x in inputs)
        return Apply(self, list(inputs), [inputs[place].type() for place in self.places])

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:  # noqa: ARG002
        return [shapes[place] for place in self.places]

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:  # noqa: ARG002
        _, _, slots, grads, clock, numbers = inputs[:6]
        results = [inputs[place] for place in self.places]
        if not self.inplace:
            results = [array.copy() for array in results]
        block, steps, *state = results
        trained = Trained(block, tuple(state), steps)
        grads = np.ascontiguousarray(grads)
        move_groups(self.rule, self.decay, trained, group(slots), grads, clock, numbers)
        for output, array in zip(outputs, results, strict=True):
            output[0] = array


@node_rewriter([MoveRows], inplace=True)
def _in_place(fgraph: Any, node: Apply) -> Any:  # noqa: ARG001
    if node.op.inplace:
        return None
    new = MoveRows(node.op.rule, node.op.decay, inplace=True).make_node(*node.inputs)
    copy_stack_trace(node.outputs, new.outputs)
    return new.outputs


optdb.register(
    "rowtune_move_rows_in_place", dfs_rewriter(_in_place), "fast_run", "inplace", position=70.7
)
