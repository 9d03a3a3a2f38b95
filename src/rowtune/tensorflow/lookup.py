"""Look rows up: differentiable in the block, never in the base."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from rowtune.tensorflow.bases import rows_of
from rowtune.tensorflow.ids import in_range
from rowtune.tensorflow.places import Places
from rowtune.tensorflow.slices import NOWHERE, leave_out


def lookup(block: Any, base: Any, places: Places, ids: Any) -> Any:
    """The rows of ``ids``, of shape ids.shape + (D,), in the block's dtype.

    The gradient by ``block``, a `tf.Variable`, is a `tf.IndexedSlices` with one slice for each id
    that trains. Ids of frozen rows have none: not a slice of zeros, none.

    Parameters
    ----------
    block : tf.Variable (k, C)
    base : tensor or tf.Variable (N, D) of any float dtype, Codes, OnHost, or None where nothing is
        frozen
    """
    ids, valid = in_range(ids, places.rows.num_rows)
    if places.has_base:
        flat = tf.reshape(ids, [-1])
        flat_valid = None if valid is None else tf.reshape(valid, [-1])
        out = _assembled(block, base, places, flat, flat_valid)
        out = tf.reshape(out, tf.concat([tf.shape(ids), [places.width]], 0))
        out = tf.ensure_shape(out, ids.shape.concatenate([places.width]))
    else:
        out = tf.gather(block, ids)
    if valid is not None:
        # XLA reads some other row for an id that is none, and cannot raise.
        out = tf.where(valid[..., None], out, tf.constant(math.nan, out.dtype))
    return out


def _assembled(block: Any, base: Any, places: Places, ids: Any, valid: Any) -> Any:
    frozen = tf.cast(rows_of(base, ids), block.dtype)
    if 0 in places.block_shape:
        return frozen
    slots = places.slots(ids)
    if valid is not None:
        slots = leave_out(slots, (slots >= 0) & valid)
        rows = places.widened(tf.gather(block, slots), frozen)
        return tf.where((slots != NOWHERE)[:, None], rows, frozen)
    positions = tf.where(slots >= 0)
    # Only what trains is gathered, so that nobody else's slot ever is an index, in the gradient
    # neither.
    rows = tf.gather(block, tf.gather_nd(slots, positions))
    if places.columns is not None:
        rows = places.widened(rows, tf.gather_nd(frozen, positions))
    return tf.tensor_scatter_nd_update(frozen, positions, rows)
