"""Gradients for chosen rows only, on variables that are not split."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rowtune.errors import IdError, ShapeError
from rowtune.rows import Rows, as_ids
from rowtune.tensorflow.places import search
from rowtune.tensorflow.slices import leave_out
from rowtune.tensorflow.tracing import as_written, on_host, under_xla


@as_written
def stop_rows(gathered: Any, ids: Any, rows: Any) -> Any:
    """``gathered`` as it is, with a gradient only where ``ids`` are among ``rows``.

    The other rows get slices of zeros, and an optimizer that decays weights or has momentum moves
    a row whose gradient is zero. Where that must not be, leave them out with `keep_rows`, or use an
    `Embedding`.

    Parameters
    ----------
    gathered : tensor ids.shape + (D,), what ``tf.gather(table, ids)`` gave
    ids : integer tensor
    rows : ids, boolean mask of N, or rowtune.Rows
        The rows that may learn. A tensor may change from call to call.
    """
    gathered = tf.convert_to_tensor(gathered)
    flat = tf.reshape(tf.cast(ids, tf.int64), [-1])
    chosen = tf.reshape(is_among(flat, rows), tf.concat([tf.shape(ids), [1]], 0))
    return tf.where(chosen, gathered, tf.stop_gradient(gathered))


@as_written
def keep_rows(slices: Any, rows: Any) -> Any:
    """The slices whose indices are among ``rows``; the others are gone, not zero.

    Parameters
    ----------
    slices : tf.IndexedSlices
        A gradient by a whole table.
    rows : ids, boolean mask of N, or rowtune.Rows

    Raises
    ------
    ShapeError
        A dense gradient, which moves every row.
    """
    if not isinstance(slices, tf.IndexedSlices):
        raise ShapeError(
            f"keep_rows takes tf.IndexedSlices, and not {type(slices).__name__}: look rows up with "
            "tf.gather(variable, ids)"
        )
    indices = tf.convert_to_tensor(slices.indices)
    chosen = is_among(tf.cast(indices, tf.int64), rows)
    if under_xla():
        values = tf.where(chosen[:, None], slices.values, tf.zeros_like(slices.values))
        return tf.IndexedSlices(values, leave_out(indices, chosen), slices.dense_shape)
    kept = tf.where(chosen)[:, 0]
    return tf.IndexedSlices(
        tf.gather(slices.values, kept), tf.gather(indices, kept), slices.dense_shape
    )


def is_among(ids: Any, rows: Any) -> Any:
    """Boolean (n,): which of int64 ``ids`` (n,) are among ``rows``."""
    if isinstance(rows, Rows) and rows.trains_all:
        return tf.fill(tf.shape(ids), True)
    if tf.is_symbolic_tensor(rows):
        if rows.dtype == tf.bool:
            return tf.gather(rows, ids)
        return search(tf.sort(tf.cast(rows, tf.int64)), ids) >= 0
    return search(tf.constant(_sorted(rows)), ids) >= 0


def _sorted(rows: Any) -> Any:
    if isinstance(rows, Rows):
        return rows.ids
    given = np.asarray(on_host(rows))
    if given.dtype == bool and given.ndim == 1:
        return np.flatnonzero(given).astype(np.int64)
    if given.ndim != 1 or isinstance(rows, str):
        raise IdError(
            f"rows are {rows!r}; expected ids, a boolean mask, or rowtune.Rows(num_rows, ...)"
        )
    return np.unique(as_ids(given).astype(np.int64))
