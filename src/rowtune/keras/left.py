"""What backward passes leave with a block on JAX, where no gradient is row-sparse.

JAX gives the gradient of an array as an array of its shape: zeros in 200,000 rows for a batch of
256. So the backward pass of a lookup leaves (slots, gradients) with the block, and gives zeros for
the block itself, which XLA does not even make as long as nobody reads them. The optimizer takes
what was left when it gets that very array of zeros as the block's gradient. If it gets another
one, something else in the model reads the block, too; then what was left is added to it.

It is left only where the optimizer has asked for it in the same trace, the body of one compiled
training step: it asks in `scale_loss`, which Keras calls between the forward pass and the backward
pass. Anywhere else (another optimizer, `jax.grad` by hand, rematerialization, a loop inside of the
model, eager runs) the gradient is dense, and right.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rowtune.jax.table import RowTable
from rowtune.jax.touched import RowGrads, sum_slots

_LEFT = "_rowtune_left"


class _Left:
    """Of one block, in one trace."""

    def __init__(self, trace: Any) -> None:
        self.trace = trace
        self.parts: list[tuple[Array, Array]] = []
        self.zeros: Array | None = None


def ask(block: Any, witness: Any) -> None:
    """Ask that lookups of ``block`` leave their gradients, in the trace that ``witness`` is of."""
    trace = _trace_of(witness)
    setattr(block, _LEFT, None if trace is None else _Left(trace))


def leave(block: Any, slots: Array, grads: Array) -> tuple[Array | None, bool]:
    """Leave gradients (n, C) of ``slots`` (n,), if that was asked for: whether they were taken, and
    what to give for the gradient of the block, None for nothing.
    """
    left = getattr(block, _LEFT, None)
    if left is None or any(_trace_of(x) is not left.trace for x in (slots, grads)):
        return None, False
    left.parts.append((slots, grads))
    if left.zeros is not None:
        return None, True
    left.zeros = jnp.zeros(block.shape, block.dtype)
    return left.zeros, True


def take(block: Any, gradient: Array, table: RowTable) -> RowGrads | Array:
    """The gradient of the block, now that the backward pass is over: of rows where all of it was
    left, dense otherwise.
    """
    left = getattr(block, _LEFT, None)
    setattr(block, _LEFT, None)
    if left is None or not left.parts:
        return gradient
    slots = jnp.concatenate([slots.reshape(-1) for slots, _ in left.parts])
    grads = jnp.concatenate([g.reshape(-1, g.shape[-1]) for _, g in left.parts])
    if gradient is left.zeros:
        return sum_slots(table, slots, grads)
    return gradient.at[slots].add(grads.astype(gradient.dtype), mode="drop")


def _trace_of(value: Any) -> Any:
    return value._trace if isinstance(value, jax.core.Tracer) else None
