"""What an optimizer of rows is: two functions, as in optax, over one table or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from rowtune.jax.sharding import like_rows_of
from rowtune.jax.table import RowTable
from rowtune.jax.touched import RowGrads
from rowtune.jax.tree import is_table, tables_of


class RowOptimizer(NamedTuple):
    """A pair of pure functions that move the touched rows of a table.

    Attributes
    ----------
    init : callable
        ``init(table) -> state``, a pytree of arrays whose leading axis is k.
    update : callable
        ``update(grads, state, table) -> (table, state)``, with `RowGrads`. Not the change of
        the rows, as in optax, but the table itself: rows that are not touched are not in a
        place from which anything could write them.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], tuple[Any, Any]]


def of_one_table(
    init: Callable[[RowTable], Any],
    update: Callable[[RowGrads, Any, RowTable], tuple[RowTable, Any]],
) -> RowOptimizer:
    """An optimizer of any pytree of tables, from one of a single table."""

    def init_one(table: RowTable) -> Any:
        if isinstance(table.block, jax.core.Tracer):
            return init(table)
        shardings = like_rows_of(table.block, jax.eval_shape(init, table))
        return jax.jit(init, out_shardings=shardings)(table)

    def init_each(tables: Any) -> Any:
        return jax.tree.map(init_one, tables, is_leaf=is_table)

    def update_each(grads: Any, state: Any, tables: Any) -> tuple[Any, Any]:
        each, structure = tables_of(tables)
        moved = [
            update(*parts)
            for parts in zip(
                structure.flatten_up_to(grads), structure.flatten_up_to(state), each, strict=True
            )
        ]
        return (
            structure.unflatten([table for table, _ in moved]),
            structure.unflatten([new for _, new in moved]),
        )

    return RowOptimizer(init_each, update_each)
