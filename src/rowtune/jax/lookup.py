"""Look rows up: differentiable in the block, never in the base."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rowtune.jax.bases import rows_of
from rowtune.jax.ids import as_ids, slots_of
from rowtune.jax.table import RowTable, widened


def lookup(table: RowTable, ids: Any) -> Array:
    """The rows of ``ids``, of shape ids.shape + (D,), in the block's dtype.

    It works under `jit`, `vmap`, `scan` and `shard_map`, and its gradient is that of the block
    alone. That gradient is as large as the block: `value_and_grad` is the way to one that is as
    large as the batch.

    Raises
    ------
    IdError
        An id that is negative, out of range, or not an integer. Inside `jit` nobody can see
        that: the row is NaN there, no other row is read or moved for it, and `checked` raises.
    """
    rows: Array = _lookup(table, as_ids(ids, table.num_rows))
    return rows


@partial(jax.jit, inline=True)
def _lookup(table: RowTable, ids: Array) -> Array:
    return assemble(table, table.block, *slots_of(table, ids))


def assemble(table: RowTable, rows: Array, slots: Array, ids: Array, valid: Array) -> Array:
    """Row ``slots`` of ``rows``, or that of the base where there is no such row; else NaN.

    ``rows`` may be those touched, in another dtype, with ``slots`` their places in it.
    """
    if table.num_rows == 0:
        return jnp.full((*slots.shape, table.width), jnp.nan, table.block.dtype)
    return put_in_place(table, _taken(rows, slots), slots < rows.shape[0], ids, valid)


def put_in_place(table: RowTable, trained: Array, trains: Array, ids: Array, valid: Array) -> Array:
    """``trained`` rows (..., C) where the id ``trains``; that of the base elsewhere; else NaN."""
    dtype = table.block.dtype
    nan = jnp.asarray(jnp.nan, dtype)
    trained = trained.astype(dtype)
    if table.base is None:
        return jnp.where(valid[..., None], trained, nan)
    frozen = rows_of(table.base, ids).astype(dtype)
    out = widened(trained, frozen, table.columns)
    if not table.trains_all:
        out = jnp.where(trains[..., None], out, frozen)
    return jnp.where(valid[..., None], out, nan)


def _taken(rows: Array, slots: Array) -> Array:
    """Some row where there is no such one: what is put in its place takes its gradient, too."""
    if rows.shape[0] == 0:
        return jnp.zeros((*slots.shape, rows.shape[1]), rows.dtype)
    return rows.at[slots].get(mode="clip")
