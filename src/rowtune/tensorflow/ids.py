"""Ids of a batch: refused where their values can be seen, asserted in graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rowtune import rows
from rowtune.errors import IdError
from rowtune.tensorflow.tracing import assert_before, is_known, is_tensor, on_host, under_xla


def in_range(ids: Any, num_rows: int) -> tuple[Any, Any]:
    """``ids`` as an int64 tensor, and under XLA which of them are rows; else None.

    Raises
    ------
    IdError
        Not integers; or, where the values are known, negative or not below ``num_rows``.
    tf.errors.InvalidArgumentError
        When a graph runs, out of the assertion that is put into it.
    """
    if not is_tensor(ids):
        given = rows.as_ids(ids)
        rows.check_range(given.reshape(-1), num_rows)
        return tf.constant(given.astype(np.int64)), None
    if isinstance(ids, tf.RaggedTensor | tf.SparseTensor):
        raise IdError(f"ids are a {type(ids).__name__}; expected a tensor of integers")
    ids = tf.convert_to_tensor(ids)
    if not ids.dtype.is_integer:
        raise IdError(
            f"ids have dtype {ids.dtype.name}; expected integers "
            "(for a boolean mask write tf.where(mask)[:, 0])"
        )
    if is_known(ids):
        rows.check_range(on_host(ids).reshape(-1), num_rows)
        return tf.cast(ids, tf.int64), None
    ids = tf.cast(ids, tf.int64)
    # Seen as unsigned, a negative id is larger than any other.
    valid = tf.bitcast(ids, tf.uint64) < tf.constant(num_rows, tf.uint64)
    if under_xla():
        return ids, valid
    words = [f"an id is not a row: expected 0 to {num_rows - 1} (negative ids do not count)", ids]
    return assert_before(tf.reduce_all(valid), words, ids)[0], None
