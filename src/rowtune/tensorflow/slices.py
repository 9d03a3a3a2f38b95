"""Gradients of rows as `tf.IndexedSlices`: one slice for each touched row.

XLA knows the shapes of a program when it compiles it, and so not how many rows a batch touches.
Slices for no row make up the difference there: their index is `NOWHERE` and their values are
zeros. XLA drops what is written there, and so does `sum_duplicates` where slices leave a function
that was compiled.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rowtune import rows
from rowtune.errors import ShapeError
from rowtune.tensorflow.tracing import as_written, assert_before, is_known, on_host, under_xla

NOWHERE = (1 << 31) - 1  # no row in any table: slots are int32


@as_written
def sum_duplicates(slices: Any) -> Any:
    """``slices`` with each row once, and the sum of its slices.

    The norm of a gradient is that of these sums: call it before `tf.clip_by_global_norm`.

    Parameters
    ----------
    slices : tf.IndexedSlices
        As `tf.GradientTape.gradient` gives it. A dense gradient is returned as it is.
    """
    if not isinstance(slices, tf.IndexedSlices):
        return slices
    values, indices = tf.convert_to_tensor(slices.values), tf.convert_to_tensor(slices.indices)
    summed = _summed_in_place if under_xla() else _summed
    return tf.IndexedSlices(*summed(values, indices), slices.dense_shape)


def _summed(values: Any, indices: Any) -> tuple[Any, Any]:
    unique, group = tf.unique(indices)
    sums = tf.math.unsorted_segment_sum(values, group, tf.size(unique))
    somewhere = tf.where(unique != NOWHERE)[:, 0]
    return tf.gather(sums, somewhere), tf.gather(unique, somewhere)


def _summed_in_place(values: Any, indices: Any) -> tuple[Any, Any]:
    """As many slices as there were, those for no row at the end."""
    order = tf.argsort(indices)
    ordered = tf.gather(indices, order)
    is_first = tf.concat([tf.fill(tf.shape(ordered[:1]), True), ordered[1:] != ordered[:-1]], 0)
    group = tf.cumsum(tf.cast(is_first, tf.int32)) - 1
    sums = tf.math.unsorted_segment_sum(tf.gather(values, order), group, tf.size(indices))
    nowhere = tf.fill(tf.shape(indices), tf.constant(NOWHERE, indices.dtype))
    return sums, tf.tensor_scatter_nd_update(nowhere, group[:, None], ordered)


def touched_rows(gradient: Any, block: Any, dtype: Any) -> tuple[Any, Any]:
    """The rows (u,) of ``block`` that a gradient touches, and their sums (u, C) in ``dtype``.

    Of a dense gradient, which has no record of what was looked up, those rows that are not zero.

    Raises
    ------
    IdError, ShapeError
        An index that is no row of the block; values of another shape.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        gradient = tf.convert_to_tensor(gradient)
        _check_shape(gradient.shape, block)
        return _rows_that_are_not_zero(tf.cast(gradient, dtype))
    values = tf.cast(gradient.values, dtype)
    _check_shape(values.shape, block)
    summed = sum_duplicates(tf.IndexedSlices(values, gradient.indices))
    return _checked(summed.indices, block.shape[0]), summed.values


def leave_out(slots: Any, unless: Any) -> Any:
    """Under XLA, ``slots`` with those for no row that do not fulfil the condition."""
    return tf.where(unless, slots, tf.constant(NOWHERE, slots.dtype))


def _rows_that_are_not_zero(gradient: Any) -> tuple[Any, Any]:
    moves = tf.reduce_any(gradient != 0, axis=1)
    if under_xla():
        return leave_out(tf.range(tf.shape(gradient)[0]), moves), gradient
    unique = tf.where(moves)[:, 0]
    return unique, tf.gather(gradient, unique)


def _checked(indices: Any, num_rows: int) -> Any:
    if is_known(indices):
        rows.check_range(on_host(indices), num_rows)
        return indices
    if under_xla():
        return indices  # XLA writes nothing where there is no row
    valid = (indices >= 0) & (indices < num_rows)
    words = [f"the gradient names a row that is not there: expected 0 to {num_rows - 1}", indices]
    return assert_before(tf.reduce_all(valid), words, indices)[0]


def _check_shape(shape: Any, block: Any) -> None:
    if shape.rank != 2 or not shape[1:].is_compatible_with(block.shape[1:]):
        raise ShapeError(
            f"the gradient has shape {shape}; expected rows like those of the variable, "
            f"{tuple(block.shape)}"
        )
