"""Values and gradients of losses that look rows up: one gradient for each touched row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rowtune.jax.ids import as_ids, slots_of
from rowtune.jax.lookup import assemble
from rowtune.jax.table import RowTable
from rowtune.jax.touched import RowGrads, touch_slots
from rowtune.jax.tree import ids_of, tables_of


def value_and_grad(
    loss: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """`jax.value_and_grad` of a function of looked-up rows, with respect to the touched rows.

    Parameters
    ----------
    loss : callable
        ``loss(rows, *args)`` gives a scalar (and anything else with ``has_aux``); ``rows`` are
        those of the ids, of shape ids.shape + (D,).
    argnums : int or sequence of int
        Which arguments of ``loss`` to differentiate, as in `jax.value_and_grad`: 0 are the rows,
        1 is the first of ``args``, such as a model's parameters.

    Returns
    -------
    callable
        ``(table, ids, *args) -> (value, grads)``. The gradient of argument 0 is a `RowGrads`.
        ``ids`` may be a pytree, as (centres, contexts) of one table: ``rows`` is the same pytree.
        ``table`` may be a pytree of tables, as {"users": ..., "items": ...}, with ids for each:
        the gradient is the same pytree of `RowGrads`.
    """

    def value_and_row_grads(tables: Any, ids: Any, *args: Any) -> tuple[Any, Any]:
        each, structure = tables_of(tables)
        batches = [
            _Batch(table, part)
            for table, part in zip(each, structure.flatten_up_to(ids), strict=True)
        ]

        def of_touched(touched: list[jax.Array], *args: Any) -> Any:
            looked_up = [batch.rows(rows) for batch, rows in zip(batches, touched, strict=True)]
            return loss(structure.unflatten(looked_up), *args)

        value, grads = jax.value_and_grad(of_touched, argnums, has_aux)(
            [batch.touched.rows for batch in batches], *args
        )

        def named(argument: int, grad: Any) -> Any:
            if argument % (1 + len(args)):
                return grad
            pairs = zip(batches, grad, strict=True)
            return structure.unflatten([RowGrads(b.touched.slots, g) for b, g in pairs])

        if isinstance(argnums, int):
            return value, named(argnums, grads)
        return value, tuple(named(i, grad) for i, grad in zip(argnums, grads, strict=True))

    return value_and_row_grads


class _Batch:
    """All ids of one table in a step: the rows that they touch, and how to build theirs of them."""

    def __init__(self, table: RowTable, ids: Any) -> None:
        self.table = table
        leaves, self.structure = ids_of(ids)
        self.ids = [as_ids(leaf, table.num_rows) for leaf in leaves]
        found = [slots_of(table, leaf) for leaf in self.ids]
        flat = [slots.reshape(-1) for slots, _, _ in found]
        self.touched = touch_slots(table, jnp.concatenate(flat) if flat else jnp.zeros(0, int))
        self.rest = [(safe, valid) for _, safe, valid in found]

    def rows(self, touched: jax.Array) -> Any:
        """The rows of the ids, out of the touched ones."""
        out, start = [], 0
        for (safe, valid), ids in zip(self.rest, self.ids, strict=True):
            positions = self.touched.positions[start : start + ids.size].reshape(ids.shape)
            out.append(assemble(self.table, touched, positions, safe, valid))
            start += ids.size
        return self.structure.unflatten(out)
