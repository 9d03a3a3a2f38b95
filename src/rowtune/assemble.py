"""Put rows of the base and rows of the block together: for a lookup, or for the whole matrix.

Rows that were added are in the block; ``added`` keeps what they began with, and is read for their
frozen columns only. It is never joined to the base, which would copy that. Of a quantized base
the rows that are looked up are widened, and no others.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from rowtune.base import Base, copy_into, rows_of
from rowtune.kernels.gather import in_chunks
from rowtune.kernels.reach import reach
from rowtune.quantized import Quantized


def lookup(
    base: Base,
    added: NDArray[Any],
    block: NDArray[Any],
    columns: NDArray[np.int64] | None,
    ids: NDArray[Any],
    slots: NDArray[np.int32],
) -> NDArray[Any]:
    """A new array of n x D: row ``slots[i]`` of the block, or ``ids[i]`` of the base where frozen.

    With ``columns``, a trainable row takes only those from the block.
    """
    trainable = slots >= 0
    out = np.empty((len(ids), base.shape[1]), block.dtype)
    if columns is None:
        _take(block, base, ids, slots, trainable, out)
        return out
    new = ids >= len(base)
    out[~new] = rows_of(base, ids[~new])
    out[new] = added[ids[new] - len(base)]
    out[np.ix_(trainable, columns)] = block[slots[trainable]]
    return out


def _take(
    block: NDArray[Any],
    base: Base,
    ids: NDArray[Any],
    slots: NDArray[np.int32],
    trainable: NDArray[np.bool_],
    out: NDArray[Any],
) -> None:
    """Rows of either, each copied once where few or all of them are the block's."""
    chosen = int(np.count_nonzero(trainable))
    if chosen == len(ids):
        _copy(block, slots, out)
        return
    if 8 * chosen <= len(ids) and _lies_in_order(base, out.dtype):
        # The id of a row that was added is beyond the base: clipped, and written over below.
        _copy(base, ids, out)
    else:
        out[~trainable] = rows_of(base, ids[~trainable])
    if chosen:
        out[trainable] = block[slots[trainable]]


def _copy(rows: NDArray[Any], places: NDArray[Any], out: NDArray[Any]) -> None:
    """``out[i]`` = the row at ``places[i]``, or the last one where that is beyond them."""

    def take(begin: int, end: int) -> None:
        np.take(rows, places[begin:end], axis=0, out=out[begin:end], mode="clip")

    in_chunks(take, out, reach(rows))


def _lies_in_order(base: Base, dtype: np.dtype[Any]) -> TypeGuard[NDArray[Any]]:
    """Whether `numpy.take` reads rows where they are; it copies any other base as a whole."""
    if isinstance(base, Quantized):
        return False
    return bool(base.flags.c_contiguous and base.flags.aligned and base.dtype == dtype)


def whole(
    base: Base,
    added: NDArray[Any],
    block: NDArray[Any],
    columns: NDArray[np.int64] | None,
    trainable: NDArray[np.int64],
) -> NDArray[Any]:
    """A new array: ``base`` and ``added``, with the block's rows in place of the trainable ones."""
    matrix = np.empty((len(base) + len(added), base.shape[1]), block.dtype)
    copy_into(matrix, base)
    matrix[len(base) :] = added
    if columns is None:
        matrix[trainable] = block
    else:
        matrix[np.ix_(trainable, columns)] = block
    return matrix
