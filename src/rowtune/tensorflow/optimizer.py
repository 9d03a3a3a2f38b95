"""A rule with its state, for as many variables as one likes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from rowtune.rules import Rule, get
from rowtune.tensorflow.numbers import numbers_of
from rowtune.tensorflow.state import RowState, block_of
from rowtune.tensorflow.tracing import as_written
from rowtune.tensorflow.update import apply_rows


class RowOptimizer(tf.Module):  # type: ignore[misc]
    """Moves the rows that were looked up: ``optimizer.apply(tape.gradient(loss, block), block)``.

    What it remembers is as large as the variable, and is read and written row by row. It is made at
    a variable's first `apply`, or by `build`; `tf.train.Checkpoint` holds it in the order in which
    variables came, so after a restart let them come in the same order.

    Parameters
    ----------
    rule : str or Rule
        `rowtune.rules.names` lists them.
    lr : float, tf.Variable, tensor, or schedule
        The rule's own default where left out. A number is a constant of a `tf.function`: give a
        variable, or a callable of the variable's steps so far, for one that changes.
    check_finite : bool
        Refuse NaN and infinity in a gradient before anything is written.
    name : str, optional
    **hyper
        Other hyper-parameters of the rule, ``weight_decay`` and ``decoupled`` among them, of the
        same kinds.

    Raises
    ------
    RuleError
        No such rule or hyper-parameter, or a value outside its range.
    """

    def __init__(
        self,
        rule: str | Rule,
        lr: Any = None,
        *,
        check_finite: bool = True,
        name: str | None = None,
        **hyper: Any,
    ) -> None:
        super().__init__(name=name)
        given = hyper if lr is None else {**hyper, "lr": lr}
        self._plan = _Plan(get(rule), given, check_finite)
        numbers_of(self._plan.rule, tf.float32, given)  # raises here rather than at the first step
        self.states: list[RowState] = []

    @property
    def rule(self) -> str:
        """The rule's name."""
        return self._plan.rule.name

    @as_written
    def build(self, variables: Iterable[Any]) -> None:
        """Make the state of variables (or embeddings) now, in this order."""
        for variable in variables:
            self.state_of(variable)

    def state_of(self, variable: Any) -> RowState:
        """What is remembered of a variable's (or embedding's) rows."""
        block = block_of(variable)
        for known, state in zip(self._plan.blocks, self.states, strict=True):
            if known is block:
                return state
        state = RowState(self._plan.rule, block, **self._plan.hyper)
        self._plan.blocks.append(block)
        self.states.append(state)
        return state

    @as_written
    def apply(self, gradient: Any, variable: Any) -> None:
        """One step on the rows of ``variable`` that ``gradient`` touches: see `apply_rows`.

        Parameters
        ----------
        gradient : tf.IndexedSlices, tensor (k, C), or None
        variable : tf.Variable (k, C), or Embedding

        Raises
        ------
        NonFiniteError, IdError, ShapeError
            As `apply_rows` does.
        """
        plan, state = self._plan, self.state_of(variable)
        apply_rows(
            plan.rule, variable, gradient, state, check_finite=plan.check_finite, **plan.hyper
        )

    @as_written
    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        """`apply` for each pair of a gradient and its variable."""
        for gradient, variable in grads_and_vars:
            self.apply(gradient, variable)


class _Plan:
    """What an optimizer was given: in a plain object, of which checkpoints know nothing."""

    def __init__(self, rule: Rule, hyper: dict[str, Any], check_finite: bool) -> None:
        self.rule = rule
        self.hyper = hyper
        self.check_finite = check_finite
        self.blocks: list[Any] = []  # the variables of the states, in their order
