"""What a rule remembers of one variable's rows, in variables that checkpoints see."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rowtune.errors import ShapeError
from rowtune.rules import Rule, get
from rowtune.tensorflow.numbers import numbers_of
from rowtune.tensorflow.verbs import state_dtype


class RowState(tf.Module):  # type: ignore[misc]
    """The state of ``rule`` for the rows of ``variable``: see `apply_rows`.

    Parameters
    ----------
    rule : str or Rule
    variable : tf.Variable (k, C), or Embedding
    **hyper
        Those hyper-parameters that a state begins with, as ``initial_accumulator_value``.

    Attributes
    ----------
    steps : tf.Variable, int32 (k,)
        Steps of each row.
    iterations : tf.Variable, int64 scalar
        Steps of the whole variable, which schedules follow.
    arrays : dict of str to tf.Variable (k, C), or (k, 1) for one number per row
        In the variable's dtype, but at least float32.
    """

    def __init__(self, rule: str | Rule, variable: Any, **hyper: Any) -> None:
        super().__init__(name="row_state")
        chosen = get(rule)
        block = block_of(variable)
        dtype = state_dtype(block)
        first = chosen.first_values(numbers_of(chosen, dtype, hyper)[0].tuned.hyper)
        count, width = block.shape
        with tf.init_scope():  # a function that is traced finds them made
            self.steps = _variable(tf.zeros(count, tf.int32), "steps")
            self.iterations = _variable(tf.zeros((), tf.int64), "iterations")
            self.arrays = {
                name: _variable(tf.fill((count, columns), tf.constant(first[name], dtype)), name)
                for name, columns in chosen.state_widths(width).items()
            }

    def check_fits(self, rule: Rule, block: Any) -> None:
        """Raise `ShapeError` where it is the state of another rule, or of other rows."""
        expected = {
            name: (block.shape[0], c) for name, c in rule.state_widths(block.shape[1]).items()
        }
        found = {name: tuple(array.shape) for name, array in self.arrays.items()}
        if found != expected or self.steps.shape != block.shape[:1]:
            raise ShapeError(
                f"the state holds {found} of {self.steps.shape[0]} rows; rule {rule.name!r} on a "
                f"variable of shape {tuple(block.shape)} needs {expected}: write "
                f"RowState({rule.name!r}, variable)"
            )


def block_of(variable: Any) -> Any:
    """The `tf.Variable` (k, C) itself, or an embedding's block.

    Raises
    ------
    ShapeError
        Not a variable of two dimensions and of floats.
    """
    block = getattr(variable, "block", variable)
    if not isinstance(block, tf.Variable):
        raise ShapeError(f"{type(variable).__name__} is not a tf.Variable or an Embedding")
    if block.shape.rank != 2 or not block.dtype.is_floating:
        raise ShapeError(
            f"the variable has shape {block.shape} and dtype {block.dtype.name}; expected a table "
            "of floats, one row for each id"
        )
    return block


def _variable(first: Any, name: str) -> Any:
    return tf.Variable(first, trainable=False, name=name)
