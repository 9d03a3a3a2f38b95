"""The verbs of the PyTensor engine as plain operations of its graph. See `rowtune.step.Verbs`.

Shapes follow those of the batch alone, as JAX wants it: the unique slots are as many as there are
positions, and those that are left over lie beyond the block, where JAX drops what is put. So this
is for JAX mode only; see `rowtune.pytensor.move_rows`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

NOWHERE = np.iinfo(np.int32).max


def _row_mean(x: TensorVariable) -> TensorVariable:
    return pt.sum(x, axis=-1, keepdims=True) / pt.cast(pt.maximum(x.shape[-1], 1), x.dtype)


def _row_norm(x: TensorVariable) -> TensorVariable:
    return pt.sqrt(pt.sum(x * x, axis=-1, keepdims=True))


OPERATIONS: dict[str, Any] = {
    "sqrt": pt.sqrt,
    "abs": pt.abs,
    "sign": pt.sign,
    "maximum": pt.maximum,
    "where": pt.switch,
    "row_mean": _row_mean,
    "row_norm": _row_norm,
}


def sum_duplicates(
    slots: TensorVariable, grads: TensorVariable
) -> tuple[TensorVariable, TensorVariable]:
    slots = pt.switch(pt.lt(slots, 0), NOWHERE, slots)
    order = pt.argsort(slots)
    ordered = slots[order]
    before = pt.concatenate([ordered[:1], ordered[:-1]])  # as many, in an empty batch too
    group = pt.cumsum(pt.cast(pt.neq(ordered, before), "int64"))
    unique = pt.set_subtensor(pt.full_like(slots, NOWHERE)[group], ordered)
    sums = pt.inc_subtensor(pt.zeros_like(grads)[group], grads[order])
    return unique, sums


def take(array: TensorVariable, slots: TensorVariable) -> TensorVariable:
    return array[slots]


def put(array: TensorVariable, slots: TensorVariable, values: TensorVariable) -> TensorVariable:
    return pt.set_subtensor(array[slots], cast_like(values, array))


def cast_like(array: TensorVariable, like: TensorVariable) -> TensorVariable:
    return pt.cast(array, like.dtype)
