"""Put rows of the base and rows of the block together: for a lookup, or for the whole matrix.

Rows that were added are in the block; ``added`` keeps what they began with, and is read for their
frozen columns only. It is never joined to the base, which would copy that. Of a quantized base
the rows that are looked up are widened, and no others.
"""

from __future__ import annotations

from typing import Any

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
    if columns is None:
        return _rows(base, block, ids, slots, trainable)
    new = ids >= len(base)
    out = np.empty((len(ids), base.shape[1]), block.dtype)
    out[~new] = rows_of(base, ids[~new])
    out[new] = added[ids[new] - len(base)]
    out[np.ix_(trainable, columns)] = block[slots[trainable]]
    return out


def _rows(
    base: Base,
    block: NDArray[Any],
    ids: NDArray[Any],
    slots: NDArray[np.int32],
    trainable: NDArray[np.bool_],
) -> NDArray[Any]:
    """Rows of either, each copied once where few or all of them are the block's."""
    chosen = int(np.count_nonzero(trainable))
    if chosen == len(ids):
        return _copy(block, slots)
    if 8 * chosen <= len(ids):
        # The id of a row that was added is beyond the base. Any other will do, and is written over.
        # Ids of few bits cannot be compared with a length that these cannot hold.
        within = np.minimum(ids.astype(np.int64, copy=False), len(base) - 1) if chosen else ids
        out = _base_rows(base, within, block.dtype)
    else:
        out = np.empty((len(ids), base.shape[1]), block.dtype)
        out[~trainable] = rows_of(base, ids[~trainable])
    if chosen:
        out[trainable] = block[slots[trainable]]
    return out


def _base_rows(base: Base, ids: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if not isinstance(base, Quantized) and base.flags.c_contiguous and base.flags.aligned:
        rows = _copy(base, ids)
    else:  # which numpy.take would copy as a whole before it takes a row
        rows = rows_of(base, ids)
    return rows.astype(dtype, copy=False)


def _copy(rows: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """The rows at ``places``, all in range, as a new array."""
    out = np.empty((len(places), rows.shape[1]), rows.dtype)

    def take(begin: int, end: int) -> None:
        # By "raise", numpy.take would fill a second array first.
        np.take(rows, places[begin:end], axis=0, out=out[begin:end], mode="clip")

    in_chunks(take, out, reach(rows))
    return out


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
