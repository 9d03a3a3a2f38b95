"""Rows on Keras's JAX backend: the lookup and the rules of `rowtune.jax` on its variables."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rowtune.jax.bases import Codes, Mapped
from rowtune.jax.ids import as_ids, slots_of
from rowtune.jax.lookup import put_in_place
from rowtune.jax.rule import RuleState
from rowtune.jax.rule import rule as rule_of_rows
from rowtune.jax.table import RowTable, places
from rowtune.jax.touched import RowGrads
from rowtune.keras import left
from rowtune.on_host import OnHost
from rowtune.rules import Rule


def table_of(layer: Any) -> Any:
    """See `rowtune.keras.backend`."""
    rows = layer.rows
    columns = None if layer.columns is None else jnp.asarray(layer.columns, jnp.int32)
    slots, ids_that_train = places(rows)
    take = _take_of(layer.block)

    def look_up(ids: Any) -> Any:
        block = layer.block.value
        base = _base_of(layer)
        table = RowTable(base, block, slots, columns, rows.num_rows, ids_that_train)
        of_ids, safe, valid = slots_of(table, as_ids(ids, rows.num_rows))
        if 0 in block.shape:
            trained = jnp.zeros((*of_ids.shape, block.shape[1]), block.dtype)
        else:
            trained = take(block, of_ids)
        return put_in_place(table, trained, of_ids < block.shape[0], safe, valid)

    return look_up


def _base_of(layer: Any) -> Any:
    if layer.base is None or isinstance(layer.base, OnHost):
        return None if layer.base is None else Mapped(layer.base)
    base = layer.base.value
    if not layer.is_quantized:
        return base
    return Codes(base, None if layer.scales is None else layer.scales.value, layer.input_dim)


def _take_of(block_variable: Any) -> Any:
    """Rows of the block, whose gradient is left where somebody asks for it."""

    @jax.custom_vjp
    def take(block: Any, slots: Any) -> Any:
        return block.at[slots].get(mode="clip")

    def forward(block: Any, slots: Any) -> Any:
        return take(block, slots), slots

    def backward(slots: Any, grads: Any) -> Any:
        zeros = jnp.zeros(block_variable.shape, grads.dtype)
        gradient = zeros.at[slots].add(grads, mode="drop")
        left.leave(block_variable, gradient, slots, grads)
        return gradient, None

    take.defvjp(forward, backward)
    return take


def step_of(
    rule: Rule, hyper: dict[str, Any], block: Any, steps: Any, arrays: dict[str, Any]
) -> Any:
    """See `rowtune.keras.backend`."""

    def step(gradient: Any, learning_rate: Any, iterations: Any) -> None:
        optimizer = rule_of_rows(rule, lambda _: jnp.asarray(learning_rate), **hyper)
        if not isinstance(gradient, RowGrads):
            gradient = _rows_that_are_not_zero(gradient)
        before = {name: array.value for name, array in arrays.items()}
        state = RuleState(jnp.asarray(iterations, jnp.int32), jnp.asarray(steps.value), before)
        table, after = optimizer.update(gradient, state, _table(block))
        block.assign(table.block)
        steps.assign(after.steps)
        for name, array in arrays.items():
            array.assign(after.arrays[name])

    return step


def _table(block: Any) -> RowTable:
    return RowTable(None, block.value, None, None, block.shape[0])


def _rows_that_are_not_zero(gradient: Any) -> RowGrads:
    """Of a dense gradient, which has no record of what was looked up."""
    count = gradient.shape[0]
    moves = (gradient != 0).any(axis=1)
    slots = jnp.nonzero(moves, size=count, fill_value=count)[0].astype(jnp.int32)
    place = jnp.arange(count, dtype=jnp.int32)
    values = gradient.at[slots].get(mode="fill", fill_value=0)
    # Places behind the last row must be unique too.
    return RowGrads(jnp.where(slots < count, slots, count + place), values)


def ask(optimizer: Any, blocks: list[Any]) -> None:
    """See `rowtune.keras.backend`. Accumulated gradients are dense, and so are theirs."""
    for block in blocks:
        witness = None if optimizer.gradient_accumulation_steps else optimizer.iterations.value
        left.ask(block, witness)


def row_gradient(gradient: Any, block: Any, as_dense: bool) -> Any:
    """See `rowtune.keras.backend`."""
    taken = left.take(block, gradient, _table(block))
    assert not (as_dense and isinstance(taken, RowGrads)), "nobody asked for it"
    return _Rows(*taken) if isinstance(taken, RowGrads) else taken


def values(gradient: Any) -> Any:
    """See `rowtune.keras.backend`."""
    return gradient.values if isinstance(gradient, RowGrads) else gradient


def with_values(gradient: Any, new: Any) -> Any:
    """See `rowtune.keras.backend`."""
    return _Rows(gradient.slots, new) if isinstance(gradient, RowGrads) else new


class _Rows(RowGrads):
    """Gradients that can be divided, as Keras divides them by the scale of a loss."""

    def __truediv__(self, by: Any) -> _Rows:
        return _Rows(self.slots, self.values / by)


def in_float64() -> Any:
    """See `rowtune.keras.backend`."""
    return jax.enable_x64(True)


def as_array(tensor: Any) -> Any:
    """See `rowtune.keras.backend`."""
    return np.asarray(tensor)


def as_tensor(array: Any) -> Any:
    """See `rowtune.keras.backend`."""
    return array
