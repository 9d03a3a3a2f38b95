"""The verbs of the TensorFlow engine. See `rowtune.step.Verbs`.

Arrays are variables that are read and written row by row: `tf.gather` of a variable reads rows
without the table, and a scatter writes them in place. Reading such a variable whole is what costs a
copy of the table: no verb does.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def _like(tensor: Any, other: Any) -> Any:
    """A literal of a rule's as a tensor of the other operand's dtype."""
    return tensor if tf.is_tensor(tensor) else tf.constant(tensor, other.dtype)


def _maximum(x: Any, y: Any) -> Any:
    x, y = (x, _like(y, x)) if tf.is_tensor(x) else (_like(x, y), y)
    return tf.maximum(x, y)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    yes, no = (yes, _like(no, yes)) if tf.is_tensor(yes) else (_like(yes, no), no)
    return tf.where(condition, yes, no)


OPERATIONS: dict[str, Any] = {
    "sqrt": tf.sqrt,
    "abs": tf.abs,
    "sign": tf.sign,
    "maximum": _maximum,
    "where": _where,
    "row_mean": lambda x: tf.reduce_sum(x, axis=-1, keepdims=True) / max(x.shape[-1], 1),
    "row_norm": lambda x: tf.sqrt(tf.reduce_sum(x * x, axis=-1, keepdims=True)),
}


def sum_duplicates(slots: Any, grads: Any) -> tuple[Any, Any]:
    return slots, grads  # they have been summed, and checked, before anything is read


def take(array: Any, slots: Any) -> Any:
    return tf.gather(array, slots)


def put(array: Any, slots: Any, values: Any) -> Any:
    array.scatter_update(tf.IndexedSlices(values, slots))
    return array


def cast_like(array: Any, like: Any) -> Any:
    return tf.cast(array, like.dtype)


def state_dtype(block: Any) -> Any:
    """The dtype of a rule's state: the block's, but at least float32."""
    return tf.float64 if block.dtype == tf.float64 else tf.float32
