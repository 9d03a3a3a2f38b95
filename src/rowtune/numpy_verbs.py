"""The verbs of the NumPy engine. See `rowtune.step.Verbs`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.rules import operations

OPERATIONS: dict[str, Any] = operations.OPERATIONS


def sum_duplicates(
    slots: NDArray[np.int32], grads: NDArray[Any]
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    trainable = slots >= 0
    unique, group = np.unique(slots[trainable], return_inverse=True)
    sums = np.zeros((len(unique), grads.shape[1]), dtype=grads.dtype)
    np.add.at(sums, group, grads[trainable])
    return unique, sums


def take(array: NDArray[Any], slots: NDArray[np.int32]) -> NDArray[Any]:
    return array[slots]


def put(array: NDArray[Any], slots: NDArray[np.int32], values: NDArray[Any]) -> NDArray[Any]:
    array[slots] = values
    return array


def cast_like(array: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    return array.astype(like.dtype, copy=False)
