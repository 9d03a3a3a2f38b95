"""Rows on Keras's TensorFlow backend: the functions of `rowtune.tensorflow` on its variables."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from rowtune.on_host import OnHost
from rowtune.rules import Rule
from rowtune.step import Trained
from rowtune.tensorflow.bases import Codes
from rowtune.tensorflow.lookup import lookup
from rowtune.tensorflow.numbers import numbers_of
from rowtune.tensorflow.places import Places
from rowtune.tensorflow.slices import sum_duplicates
from rowtune.tensorflow.tracing import as_written
from rowtune.tensorflow.update import move_rows
from rowtune.tensorflow.verbs import state_dtype


def table_of(layer: Any) -> Any:
    """See `rowtune.keras.backend`. Ragged ids give ragged rows."""
    places = Places(layer.rows, layer.output_dim)

    @as_written
    def look_up(ids: Any) -> Any:
        if isinstance(ids, tf.RaggedTensor):
            return ids.with_flat_values(look_up(ids.flat_values))
        return lookup(layer.block.value, _base_of(layer), places, ids)

    return look_up


def _base_of(layer: Any) -> Any:
    if layer.base is None or isinstance(layer.base, OnHost):
        return layer.base
    base = layer.base.value
    if not layer.is_quantized:
        return base
    return Codes(base, None if layer.scales is None else layer.scales.value)


def step_of(
    rule: Rule, hyper: dict[str, Any], block: Any, steps: Any, arrays: dict[str, Any]
) -> Any:
    """See `rowtune.keras.backend`."""
    in_order = [arrays[name] for name in rule.state]

    @as_written
    def step(gradient: Any, learning_rate: Any, iterations: Any) -> None:
        given = {**hyper, "lr": tf.convert_to_tensor(learning_rate)}
        numbers, changing = numbers_of(rule, state_dtype(block.value), given)
        trained = Trained(block.value, tuple(array.value for array in in_order), steps.value)
        move_rows(numbers, trained, gradient, lambda t: numbers.at(t, iterations, changing))

    return step


def ask(optimizer: Any, blocks: list[Any]) -> None:
    """See `rowtune.keras.backend`."""


def row_gradient(gradient: Any, block: Any, as_dense: bool) -> Any:
    """See `rowtune.keras.backend`."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    summed = sum_duplicates(gradient)
    if as_dense:
        zeros = tf.zeros(block.shape, summed.values.dtype)
        return tf.tensor_scatter_nd_add(zeros, summed.indices[:, None], summed.values)
    return _Slices(summed.values, summed.indices, summed.dense_shape)


def values(gradient: Any) -> Any:
    """See `rowtune.keras.backend`."""
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def with_values(gradient: Any, new: Any) -> Any:
    """See `rowtune.keras.backend`."""
    if not isinstance(gradient, tf.IndexedSlices):
        return new
    return _Slices(new, gradient.indices, gradient.dense_shape)


class _Slices(tf.IndexedSlices):  # type: ignore[misc]
    """Slices that can be divided, as Keras divides gradients by the scale of a loss."""

    def __truediv__(self, by: Any) -> _Slices:
        return _Slices(self.values / tf.cast(by, self.values.dtype), self.indices, self.dense_shape)


def in_float64() -> Any:
    """See `rowtune.keras.backend`."""
    return nullcontext()


def as_array(tensor: Any) -> Any:
    """See `rowtune.keras.backend`."""
    return np.asarray(tensor)


def as_tensor(array: Any) -> Any:
    """See `rowtune.keras.backend`."""
    return array
