"""Put rows of the base and rows of the block together: for a lookup, or for the whole matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def lookup(
    base: NDArray[Any],
    block: NDArray[Any],
    columns: NDArray[np.int64] | None,
    ids: NDArray[Any],
    slots: NDArray[np.int32],
) -> NDArray[Any]:
    """A new array of n x D: row ``slots[i]`` of the block, or ``ids[i]`` of the base where frozen.

    With ``columns``, a trainable row takes only those from the block.
    """
    out: NDArray[Any]
    trainable = slots >= 0
    if columns is not None:
        out = base[ids]
        out[np.ix_(trainable, columns)] = block[slots[trainable]]
        return out
    out = np.empty((len(ids), block.shape[1]), block.dtype)
    if trainable.all():
        np.take(block, slots, axis=0, out=out, mode="clip")
        return out
    out[~trainable] = base[ids[~trainable]]
    out[trainable] = block[slots[trainable]]
    return out


def whole(
    base: NDArray[Any],
    block: NDArray[Any],
    columns: NDArray[np.int64] | None,
    trainable: NDArray[np.int64],
) -> NDArray[Any]:
    """A new array: ``base`` with the block's rows in place of the trainable ones."""
    matrix = np.array(base)
    if columns is None:
        matrix[trainable] = block
    else:
        matrix[np.ix_(trainable, columns)] = block
    return matrix
