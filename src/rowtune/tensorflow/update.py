"""One step of a rule on the touched rows of a variable, in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rowtune.errors import NonFiniteError
from rowtune.rules import Rule, bind, get
from rowtune.rules.decay import with_decay
from rowtune.step import Trained, step
from rowtune.tensorflow import verbs
from rowtune.tensorflow.numbers import Numbers, numbers_of
from rowtune.tensorflow.slices import leave_out, touched_rows
from rowtune.tensorflow.state import RowState, block_of
from rowtune.tensorflow.tracing import as_written, assert_before, is_known, on_host, under_xla

_NOT_FINITE = "or its sum over duplicates, holds NaN or infinity; nothing was changed"


@as_written
def apply_rows(
    rule: str | Rule,
    variable: Any,
    slices: Any,
    state: RowState,
    *,
    check_finite: bool = True,
    **hyper: Any,
) -> None:
    """Move the rows of ``variable`` that a gradient touches, in place; `RowOptimizer` wraps it.

    Duplicates are summed first. Only the touched rows are read and written, of the variable and of
    the state, and each has its own step count. It works eagerly, in `tf.function`, and under XLA.

    Parameters
    ----------
    rule : str or Rule
        `rowtune.rules.names` lists them.
    variable : tf.Variable (k, C), or Embedding
    slices : tf.IndexedSlices, tensor (k, C), or None
        The gradient. Of a dense one those rows move that are not zero; None moves none.
    state : RowState
    check_finite : bool
        Refuse NaN and infinity before anything is written.
    **hyper
        Hyper-parameters of the rule: numbers, tensors, variables, or schedules: callables of the
        variable's steps so far, 0 in the first.

    Raises
    ------
    NonFiniteError
        In a `tf.function` it is `tf.errors.InvalidArgumentError`. XLA cannot raise: such a batch
        moves no row there.
    IdError, ShapeError, RuleError
        A gradient, state or hyper-parameter that does not fit.
    """
    block, chosen = block_of(variable), get(rule)
    state.check_fits(chosen, block)
    numbers, changing = numbers_of(chosen, verbs.state_dtype(block), hyper)
    if slices is None or 0 in block.shape:
        state.iterations.assign_add(1)
        return
    iterations = tf.identity(state.iterations)
    trained = Trained(block, tuple(state.arrays[name] for name in chosen.state), state.steps)
    slots = move_rows(
        numbers, trained, slices, lambda t: numbers.at(t, iterations, changing), check_finite
    )
    with tf.control_dependencies([slots]):  # not before the gradient is known to be finite
        state.iterations.assign_add(1)


def move_rows(
    numbers: Numbers,
    trained: Trained,
    gradient: Any,
    numbers_at: Callable[[Any], Sequence[Any]],
    check_finite: bool = True,
) -> Any:
    """Move the rows of ``trained``, variables all, that a gradient touches; returns their slots."""
    block, rule = trained.block, numbers.rule
    slots, sums = touched_rows(gradient, block, verbs.state_dtype(block))
    if check_finite:
        slots, sums = _finite(slots, sums)
    bound = with_decay(bind(rule.function, verbs.OPERATIONS), numbers.decay)
    step(verbs, bound, trained, slots, sums, lambda t, _: numbers_at(t))
    return slots


def _finite(slots: Any, sums: Any) -> tuple[Any, Any]:
    """The same rows, known to be finite when anything is read or written for them."""
    finite = tf.reduce_all(tf.math.is_finite(sums))
    if is_known(finite):
        if not finite:
            row = on_host(slots)[~np.isfinite(on_host(sums)).all(axis=1)][0]
            raise NonFiniteError(
                f"the gradient of row {row} of the variable, {_NOT_FINITE}. Skip this batch, or "
                "pass check_finite=False"
            )
        return slots, sums
    if under_xla():
        return leave_out(slots, finite), sums
    slots, sums = assert_before(finite, [f"the gradient of a row, {_NOT_FINITE}"], slots, sums)
    return slots, sums
