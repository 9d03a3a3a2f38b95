"""One compiled training step, in place: block and state are donated, the base is not even passed
back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from rowtune.jax.gradient import is_table, value_and_grad
from rowtune.jax.ids import as_ids
from rowtune.jax.optimizer import RowOptimizer
from rowtune.jax.table import RowTable


def step(
    loss: Callable[..., Any],
    optimizer: RowOptimizer,
    *,
    has_aux: bool = False,
    clip: Callable[[Any], Any] | None = None,
) -> Step:
    """A compiled training step: ``table, state, value = step(table, state, ids, *args)``.

    Parameters
    ----------
    loss : callable
        ``loss(rows, *args)``, as in `value_and_grad`.
    optimizer : RowOptimizer
        From `rule` or `rowwise`; ``state`` is what its ``init(table)`` returned.
    has_aux : bool
        Whether ``loss`` gives (scalar, anything); ``value`` is that pair then.
    clip : callable, optional
        From the gradients to those that the optimizer gets, as
        ``lambda grads: rj.clip_by_global_norm(grads, 1.0)``.

    The arrays of ``table.block`` and ``state`` are donated: they are gone after the call, and the
    new ones are in the same memory. For a model with parameters of its own, write this
    function yourself from `value_and_grad`, ``optimizer.update`` and optax: ten lines.
    """
    return Step(loss, optimizer, has_aux, clip)


class Step:
    """What `step` returns. ``lower`` is that of `jax.jit`, for looking at the program."""

    def __init__(
        self,
        loss: Callable[..., Any],
        optimizer: RowOptimizer,
        has_aux: bool,
        clip: Callable[[Any], Any] | None,
    ) -> None:
        gradient = value_and_grad(loss, has_aux=has_aux)

        def move(blocks: Any, state: Any, rest: Any, ids: Any, args: Any) -> Any:
            tables = _joined(blocks, rest)
            value, grads = gradient(tables, ids, *args)
            tables, state = optimizer.update(clip(grads) if clip else grads, state, tables)
            return _parted(tables)[0], state, value

        self._compiled = jax.jit(move, donate_argnums=(0, 1))

    def __call__(self, table: Any, state: Any, ids: Any, *args: Any) -> tuple[Any, Any, Any]:
        blocks, rest = _parted(table)
        ids = _checked_ids(table, ids)
        blocks, state, value = self._compiled(blocks, state, rest, ids, args)
        return _joined(blocks, rest), state, value

    def lower(self, table: Any, state: Any, ids: Any, *args: Any) -> Any:
        """The program for these arguments, not run."""
        blocks, rest = _parted(table)
        return self._compiled.lower(blocks, state, rest, _checked_ids(table, ids), args)


def _parted(tables: Any) -> tuple[list[Any], Any]:
    """The blocks, and the tables without them: an output of a compiled program is a copy."""
    each, structure = jax.tree.flatten(tables, is_leaf=is_table)
    rest = structure.unflatten([table.replace(block=None) for table in each])
    return [table.block for table in each], rest


def _joined(blocks: list[Any], rest: Any) -> Any:
    each, structure = jax.tree.flatten(rest, is_leaf=is_table)
    pairs = zip(each, blocks, strict=True)
    return structure.unflatten([table.replace(block=block) for table, block in pairs])


def _checked_ids(tables: Any, ids: Any) -> Any:
    each, structure = jax.tree.flatten(tables, is_leaf=is_table)

    def check(table: RowTable, part: Any) -> Any:
        is_list = lambda x: isinstance(x, list)  # noqa: E731
        return jax.tree.map(lambda leaf: as_ids(leaf, table.num_rows), part, is_leaf=is_list)

    parts = zip(each, structure.flatten_up_to(ids), strict=True)
    return structure.unflatten([check(table, part) for table, part in parts])
