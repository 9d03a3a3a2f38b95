"""What an optimizer of rows is: two functions, as in optax, over one table or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from rowtune.jax.gradient import is_table
from rowtune.jax.table import RowTable
from rowtune.jax.touched import RowGrads


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

    def init_each(tables: Any) -> Any:
        return jax.tree.map(init, tables, is_leaf=is_table)

    def update_each(grads: Any, state: Any, tables: Any) -> tuple[Any, Any]:
        each, structure = jax.tree.flatten(tables, is_leaf=is_table)
        moved = [
            update(*parts)
            for parts in zip(
                structure.flatten_up_to(grads), structure.flatten_up_to(state), each, strict=True
            )
        ]
        return tuple(structure.unflatten(list(part)) for part in zip(*moved, strict=True))  # type: ignore[return-value]

    return RowOptimizer(init_each, update_each)
