"""Ids of a batch: refused where they can be seen, marked where they cannot."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import checkify

from rowtune import rows
from rowtune.errors import IdError
from rowtune.jax.table import RowTable

# Part of the key of every jit cache, so that a function compiled without checks is traced anew.
CHECKED = jax.make_user_context(False)


def as_ids(ids: Any, num_rows: int) -> Array:
    """``ids`` as an integer array; inside jit their values are not known yet.

    Raises
    ------
    IdError
        Not integers; or, where the values are known, negative or not below ``num_rows``.
    """
    if isinstance(ids, list | tuple) and any(isinstance(x, jax.core.Tracer) for x in ids):
        ids = jnp.asarray(ids)  # a list that was an argument of a jitted function
    if isinstance(ids, jax.core.Tracer):
        if not jnp.issubdtype(ids.dtype, jnp.integer):
            raise IdError(f"ids have dtype {ids.dtype}; expected integers")
        if CHECKED.value:
            _check_later(ids, num_rows)
        return ids
    if isinstance(ids, Array) and not ids.is_fully_addressable:
        return ids  # of several processes: none of them sees all
    given = rows.as_ids(ids)
    rows.check_range(given.reshape(-1), num_rows)
    return ids if isinstance(ids, Array) else jnp.asarray(given.astype(np.int32))


def in_range(ids: Array, num_rows: int) -> tuple[Array, Array]:
    """Ids as int32 with 0 for those out of range, and which are in range."""
    if ids.dtype.itemsize < 4:  # in which num_rows need not have a place
        ids = ids.astype(jnp.int32)
    valid = (ids >= 0) & (ids < num_rows)
    return jnp.where(valid, ids, 0).astype(jnp.int32), valid


def slots_of(table: RowTable, ids: Array) -> tuple[Array, Array, Array]:
    """For each id its slot, the place after the last where it has none; the id; if it is in range.

    k is never a row, so that what is read or written there can be filled or dropped.
    """
    safe, valid = in_range(ids, table.num_rows)
    nowhere = table.block.shape[0]
    if table.ids is not None:
        return jnp.where(valid, _searched(table.ids, safe, nowhere), nowhere), safe, valid
    if table.slots is not None and table.num_rows:
        found = table.slots.at[safe].get(mode="clip")
        return jnp.where(valid & (found >= 0), found, nowhere), safe, valid
    return jnp.where(valid, safe, nowhere), safe, valid


def _searched(trainable: Array, ids: Array, nowhere: int) -> Array:
    """The place of each id among the trainable ones, which ascend."""
    if trainable.shape[0] == 0:
        return jnp.full(ids.shape, nowhere, jnp.int32)
    place = jnp.searchsorted(trainable, ids).astype(jnp.int32)
    return jnp.where(trainable.at[place].get(mode="clip") == ids, place, nowhere)


def _check_later(ids: Array, num_rows: int) -> None:
    _, valid = in_range(ids, num_rows)
    if ids.size:
        wrong = ids.reshape(-1)[jnp.argmin(valid.reshape(-1))]
        message = f"an id is out of range: {{wrong}}; expected 0 to {num_rows - 1}"
        checkify.check(valid.all(), message, wrong=wrong)
