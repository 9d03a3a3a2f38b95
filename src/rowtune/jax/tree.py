"""Pytrees whose leaves are tables: one table, or {"users": ..., "items": ...}."""

from __future__ import annotations

from typing import Any

import jax

from rowtune.errors import ShapeError
from rowtune.jax.table import RowTable


def is_table(leaf: Any) -> bool:
    return isinstance(leaf, RowTable)


def tables_of(tree: Any) -> tuple[list[RowTable], Any]:
    """The tables of a pytree, and its structure.

    Raises
    ------
    ShapeError
        Something else is among them.
    """
    tables, structure = jax.tree.flatten(tree, is_leaf=is_table)
    wrong = [type(leaf).__name__ for leaf in tables if not is_table(leaf)]
    if wrong:
        raise ShapeError(f"a table is a {wrong[0]}; expected what rowtune.jax.split returns")
    return tables, structure


def ids_of(tree: Any) -> tuple[list[Any], Any]:
    """The arrays of ids in a pytree, and its structure; a list of numbers is an array of them."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=lambda node: isinstance(node, list))
    return leaves, structure
