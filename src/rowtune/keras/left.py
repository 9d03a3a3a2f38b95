"""What backward passes leave with a block on JAX, where no gradient is row-sparse.

JAX gives the gradient of an array as an array of its shape: 200,000 rows for a batch of 256. So the
backward pass of a lookup gives that array, and leaves (slots, gradients) with the block. Where the
optimizer gets that very array as the block's gradient, or the sum of several such arrays and of
nothing else, it takes what was left instead; nobody reads the array then, and XLA does not make it.
Any other gradient, which somebody has scaled, clipped or added to, is dense, and right as it is.

It is left only where the optimizer has asked for it in the same trace, the body of one compiled
training step: it asks in `scale_loss`, which Keras calls between the forward pass and the backward
pass. Anywhere else (another optimizer, `jax.grad` by hand, rematerialization, a loop inside of the
model, eager runs) the gradient is dense, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rowtune.jax.table import RowTable
from rowtune.jax.touched import RowGrads, sum_slots

_LEFT = "_rowtune_left"
_SUMS = ("add_any", "add")


class _Part(NamedTuple):
    dense: Array
    slots: Array
    grads: Array


class _Left:
    """Of one block, in one trace."""

    def __init__(self, trace: Any) -> None:
        self.trace = trace
        self.parts: list[_Part] = []


def ask(block: Any, witness: Any) -> None:
    """Ask that lookups of ``block`` leave their gradients, in the trace that ``witness`` is of."""
    trace = _trace_of(witness)
    left = getattr(block, _LEFT, None)
    if trace is None:
        setattr(block, _LEFT, None)
    elif left is None or left.trace is not trace:
        setattr(block, _LEFT, _Left(trace))


def leave(block: Any, dense: Array, slots: Array, grads: Array) -> None:
    """Leave gradients (n, C) of ``slots`` (n,), which are those in ``dense``, if that was asked."""
    left = getattr(block, _LEFT, None)
    if left is not None and all(_trace_of(x) is left.trace for x in (dense, slots, grads)):
        left.parts.append(_Part(dense, slots, grads))


def take(block: Any, gradient: Array, table: RowTable) -> RowGrads | Array:
    """The gradient of the block, now that the backward pass is over: of rows where all of it was
    left, dense otherwise.
    """
    left = getattr(block, _LEFT, None)
    setattr(block, _LEFT, None)
    parts = [] if left is None else _summands(gradient, left.parts)
    if not parts:
        return gradient
    slots = jnp.concatenate([part.slots.reshape(-1) for part in parts])
    grads = jnp.concatenate([part.grads.reshape(-1, part.grads.shape[-1]) for part in parts])
    return sum_slots(table, slots, grads)


def _summands(gradient: Any, parts: list[_Part]) -> list[_Part]:
    """The parts whose sum a gradient is; none where it is anything else."""
    known = {id(part.dense): part for part in parts}
    found, open_ones = [], [gradient]
    while open_ones:
        array = open_ones.pop()
        equation: Any = getattr(
            array, "parent", None
        )  # which JAX may cease to tell: then it is dense
        if id(array) in known:
            found.append(known[id(array)])
        elif getattr(getattr(equation, "primitive", None), "name", None) in _SUMS:
            if any(x.shape != gradient.shape for x in equation.in_tracers):
                return []
            open_ones.extend(equation.in_tracers)
        else:
            return []
    return found


def _trace_of(value: Any) -> Any:
    return value._trace if isinstance(value, jax.core.Tracer) else None
