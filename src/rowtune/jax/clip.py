"""Clipping of row gradients, which have no rows that were not touched."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rowtune.jax.touched import RowGrads


def clip_by_global_norm(grads: Any, max_norm: float) -> Any:
    """Scale all gradients together where their common norm is larger than ``max_norm``.

    Parameters
    ----------
    grads : RowGrads, or a pytree of them and of arrays
        What `value_and_grad` returns, parameters of a model included.
    """
    squares = [jnp.sum(jnp.square(values)) for values in _values(grads)]
    norm = jnp.sqrt(sum(squares, start=jnp.zeros(())))
    factor = jnp.where(norm > max_norm, max_norm / norm, 1.0)
    return _map(lambda values: values * factor.astype(values.dtype), grads)


def clip_by_row_norm(grads: Any, max_norm: float) -> Any:
    """Scale the gradient of each row whose norm is larger than ``max_norm``.

    Parameters
    ----------
    grads : RowGrads, or a pytree of them
    """

    def shorten(values: Array) -> Array:
        norms = jnp.sqrt(jnp.sum(jnp.square(values), axis=-1, keepdims=True))
        return values * jnp.where(norms > max_norm, max_norm / norms, 1.0).astype(values.dtype)

    return _map(shorten, grads)


def _is_row_grads(leaf: Any) -> bool:
    return isinstance(leaf, RowGrads)


def _values(grads: Any) -> list[Array]:
    leaves = jax.tree.leaves(grads, is_leaf=_is_row_grads)
    return [leaf.values if isinstance(leaf, RowGrads) else leaf for leaf in leaves]


def _map(function: Any, grads: Any) -> Any:
    def on_leaf(leaf: Any) -> Any:
        if isinstance(leaf, RowGrads):
            return leaf._replace(values=function(leaf.values))
        return function(leaf)

    return jax.tree.map(on_leaf, grads, is_leaf=_is_row_grads)
