"""The verbs of the JAX engine. See `rowtune.step.Verbs`.

Slots are unique and ascending here, and at or above k where they are padding: what is read there
is some row that nobody uses, what is written there is dropped.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

OPERATIONS: dict[str, Any] = {
    "sqrt": jnp.sqrt,
    "abs": jnp.abs,
    "sign": jnp.sign,
    "maximum": jnp.maximum,
    "where": jnp.where,
    "row_mean": lambda x: x.sum(axis=-1, keepdims=True) / max(x.shape[-1], 1),
    "row_norm": lambda x: jnp.sqrt((x * x).sum(axis=-1, keepdims=True)),
}


def sum_duplicates(slots: Array, grads: Array) -> tuple[Array, Array]:
    return slots, grads  # the gradient of the touched rows has none


def take(array: Array, slots: Array) -> Array:
    return array.at[slots].get(mode="clip", unique_indices=True, indices_are_sorted=True)


def put(array: Array, slots: Array, values: Array) -> Array:
    return array.at[slots].set(values, mode="drop", unique_indices=True, indices_are_sorted=True)


def cast_like(array: Array, like: Array) -> Array:
    return array.astype(like.dtype)


def state_dtype(block: Array) -> Any:
    """The dtype of a rule's state: the block's, but at least float32."""
    return block.dtype if block.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
