"""Clipping of gradients row by row."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rowtune.bounds import check_bound
from rowtune.tensorflow.slices import sum_duplicates
from rowtune.tensorflow.tracing import as_written


@as_written
def clip_row_norms(slices: Any, max_norm: float) -> Any:
    """Scale the gradient of each row to ``max_norm`` where it is longer.

    Duplicates are summed first. For one norm over all rows, and over other variables, there is
    ``tf.clip_by_global_norm`` of what `sum_duplicates` gives.

    Parameters
    ----------
    slices : tf.IndexedSlices, or a dense tensor (k, C)
    max_norm : float

    Raises
    ------
    RuleError
        ``max_norm`` is not a positive number.
    """
    if not tf.is_tensor(max_norm):
        check_bound("max_norm", max_norm)
    if not isinstance(slices, tf.IndexedSlices):
        return _shortened(tf.convert_to_tensor(slices), max_norm)
    summed = sum_duplicates(slices)
    values = _shortened(summed.values, max_norm)
    return tf.IndexedSlices(values, summed.indices, summed.dense_shape)


def _shortened(values: Any, max_norm: Any) -> Any:
    wide = tf.cast(values, tf.float64)  # in which the squares of no float32 overflow
    norms = tf.sqrt(tf.reduce_sum(tf.square(wide), axis=-1, keepdims=True))
    most = tf.cast(max_norm, tf.float64)
    # Rows that are short enough keep their bits.
    return tf.where(norms > most, tf.cast(wide * (most / norms), values.dtype), values)
