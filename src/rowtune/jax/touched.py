"""The touched rows of a batch, in arrays whose shapes do not depend on which they are."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rowtune.errors import ShapeError
from rowtune.jax.ids import as_ids, slots_of
from rowtune.jax.table import RowTable
from rowtune.jax.verbs import state_dtype, take


class Touched(NamedTuple):
    """The unique trainable rows that ``ids`` name, at most n = min(ids.size, k) of them.

    Attributes
    ----------
    slots : int32 array (n,)
        Ascending and unique; behind the last touched one come places at or above k, which are no
        rows and are dropped when written.
    rows : array (n, C)
        These rows of the block, in the dtype of a rule's state (at least float32).
    positions : int32 array in the shape of the ids
        Where each id's row is among ``rows``; n for ids that have no trainable row.
    """

    slots: Array
    rows: Array
    positions: Array


class RowGrads(NamedTuple):
    """The gradient of the touched rows: one for each, duplicates summed.

    Attributes
    ----------
    slots : int32 array (n,), as in `Touched`
    values : array (n, C), 0 behind the last touched row
    """

    slots: Array
    values: Array


def touch(table: RowTable, ids: Any) -> Touched:
    """Which rows a batch touches: see `Touched`. Frozen ids are left out.

    Raises
    ------
    IdError
        As `lookup` does.
    """
    ids = as_ids(ids, table.num_rows)
    slots, _, _ = slots_of(table, ids)
    touched: Touched = touch_slots(table, slots)
    return touched


@partial(jax.jit, inline=True)
def touch_slots(table: RowTable, slots: Array) -> Touched:
    """The same from the slots of ids, k for those that have none."""
    count = table.block.shape[0]
    flat = slots.reshape(-1)
    size = min(flat.shape[0], count)
    if size == 0:
        rows = jnp.zeros((0, table.block.shape[1]), state_dtype(table.block))
        return Touched(jnp.zeros(0, jnp.int32), rows, jnp.zeros(slots.shape, jnp.int32))
    ordered = jnp.sort(flat)
    is_first = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
    group = jnp.cumsum(is_first.astype(jnp.int32)) - 1
    place = jnp.where(ordered < count, group, size)
    unique = count + jnp.arange(size, dtype=jnp.int32)
    unique = unique.at[place].set(ordered, mode="drop", indices_are_sorted=True)
    positions = jnp.searchsorted(unique, flat, method="scan").astype(jnp.int32)
    positions = jnp.where(flat < count, positions, size)
    rows = take(table.block, unique).astype(state_dtype(table.block))
    return Touched(unique, rows, positions.reshape(slots.shape))


def row_grads(table: RowTable, ids: Any, grads: Any) -> RowGrads:
    """Gradients that came from elsewhere, one for each id, as the gradient of the touched rows.

    Parameters
    ----------
    ids : integer array of any shape
    grads : array of ids.shape + (C,)
        Those of frozen ids are left out, those of one id summed.

    Raises
    ------
    IdError
        As `lookup` does.
    ShapeError
        Gradients of another shape.
    """
    touched, grads = touch(table, ids), jnp.asarray(grads)
    expected = (*touched.positions.shape, table.block.shape[1])
    if grads.shape != expected:
        raise ShapeError(
            f"gradients have shape {grads.shape}; expected {expected}, one for each id"
        )
    return _summed(touched, grads)


def sum_slots(table: RowTable, slots: Array, grads: Array) -> RowGrads:
    """The same from the slots (n,) of ids, k for those that have none, and gradients (n, C)."""
    return _summed(touch_slots(table, slots), grads)


def _summed(touched: Touched, grads: Array) -> RowGrads:
    flat = grads.reshape(-1, grads.shape[-1]).astype(touched.rows.dtype)
    sums = jnp.zeros_like(touched.rows).at[touched.positions.reshape(-1)].add(flat, mode="drop")
    return RowGrads(touched.slots, sums)
