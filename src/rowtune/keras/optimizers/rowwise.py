"""What turns an optimizer of Keras into one that moves blocks row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rowtune.keras.backend import RowStep, backend
from rowtune.keras.blocks import is_block
from rowtune.keras.weights import full_of
from rowtune.rules import get

# What Keras keeps beside a variable that is no state of a rule, and the size of the variable.
_ACCUMULATORS = ("gradient_accumulator", "average")


class Rowwise:
    """In front of a class of Keras's: blocks of `rowtune.keras.Embedding` go to a rule of
    Rowtune's, all other variables to that class.

    A touched row moves by the sum of its gradients, has its own step count, and pays weight decay
    only when it is touched. Rows that were not looked up, and what is remembered of them, keep
    their bits.
    """

    # What Keras's classes bring.
    gradient_accumulation_steps: int | None
    weight_decay: float | None
    _iterations: Any
    _trainable_variables: list[Any]
    _get_variable_index: Callable[[Any], int]
    _use_weight_decay: Callable[[Any], bool]
    add_variable: Callable[..., Any]

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        """The name of the rule of rows, and its hyper-parameters but for lr and weight decay."""
        raise NotImplementedError

    def build(self, variables: Any) -> None:
        """Make the state: Keras's for dense variables, the rule's for blocks."""
        if getattr(self, "built", False):
            return
        self._steps = _Steps()
        super().build(variables)  # type: ignore[misc]
        blocks = [v for v in variables if is_block(v)]
        for block in blocks:
            self._steps.by_index[self._get_variable_index(block)] = self._step_of(block)
        self._steps.blocks = blocks

    def add_variable_from_reference(
        self, reference_variable: Any, name: Any = None, initializer: Any = "zeros"
    ) -> Any:
        """As Keras's; None for a block, whose state the rule has."""
        if is_block(reference_variable) and name not in _ACCUMULATORS:
            return None
        add = super().add_variable_from_reference  # type: ignore[misc]
        return add(reference_variable, name=name, initializer=initializer)

    def scale_loss(self, loss: Any) -> Any:
        """As Keras's; and gradients of rows are asked for, which JAX and PyTorch have to be told.

        In a training loop of your own, call it on the loss before the backward pass (on JAX, in the
        function that you differentiate).
        """
        if getattr(self, "built", False):
            backend().ask(self, self._steps.blocks)
        return super().scale_loss(loss)  # type: ignore[misc]

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """As Keras's: one step, from gradients in any form."""
        grads = list(grads)
        given = trainable_variables
        variables = list(self._trainable_variables if given is None else given)
        as_dense = bool(self.gradient_accumulation_steps)
        if len(grads) == len(variables):
            grads = [
                backend().row_gradient(grad, v, as_dense)
                if grad is not None and is_block(v)
                else grad
                for grad, v in zip(grads, variables, strict=True)
            ]
        super().apply(grads, None if given is None else variables)  # type: ignore[misc]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Keras's for a dense variable, the rule's for a block."""
        step = self._steps.by_index.get(self._get_variable_index(variable))
        if step is None:
            super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]
        else:
            step(gradient, learning_rate, self._iterations)

    def _parallel_update_step(self, grads: Any, variables: Any, learning_rate: Any) -> None:
        """On PyTorch, where Keras moves all variables at once: blocks by themselves."""
        dense = []
        for grad, variable in zip(grads, variables, strict=True):
            if is_block(variable):
                self.update_step(grad, variable, learning_rate)
            else:
                dense.append((grad, variable))
        if dense:
            move = super()._parallel_update_step  # type: ignore[misc]
            move(*map(list, zip(*dense, strict=True)), learning_rate)

    def _clip_gradients(self, grads: Any) -> Any:
        """Keras's clipping of the numbers that there are; the zeros of other rows add nothing."""
        on = backend()
        clipped = super()._clip_gradients([on.values(g) for g in grads])  # type: ignore[misc]
        return [on.with_values(g, new) for g, new in zip(grads, clipped, strict=True)]

    def _apply_weight_decay(self, variables: Any) -> None:
        dense = [v for v in variables if not is_block(v)]
        if dense:
            super()._apply_weight_decay(dense)  # type: ignore[misc]

    def _step_of(self, block: Any) -> RowStep:
        name, hyper = self._row_rule()
        rule = get(name)
        if self.weight_decay and self._use_weight_decay(block):
            hyper.update(weight_decay=float(self.weight_decay), decoupled=True)
        elif "decoupled" in rule.defaults:
            hyper.update(weight_decay=0.0)
        first = rule.first_values(rule.hyper(**hyper))
        count, width = block.shape
        dtype = block.dtype if block.dtype == "float64" else "float32"
        path = block.path.replace("/", "_")
        steps = self.add_variable((count,), dtype="int32", name=f"{path}_steps")
        arrays = {
            state: self.add_variable(
                (count, columns),
                initializer=full_of(first[state]),
                dtype=dtype,
                name=f"{path}_{state}",
            )
            for state, columns in rule.state_widths(width).items()
        }
        return backend().step_of(rule, hyper, block, steps, arrays)


class _Steps:
    """In a plain object, in which Keras looks for no variables."""

    def __init__(self) -> None:
        self.by_index: dict[int, RowStep] = {}
        self.blocks: list[Any] = []
