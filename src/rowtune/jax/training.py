"""One compiled training step, in place: block and state are donated, the base is not even passed
back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from rowtune.jax.gradient import value_and_grad
from rowtune.jax.ids import as_ids
from rowtune.jax.optimizer import RowOptimizer
from rowtune.jax.rowwise import Transformation
from rowtune.jax.table import RowTable
from rowtune.jax.tree import ids_of, tables_of


def step(
    loss: Callable[..., Any],
    optimizer: RowOptimizer,
    *,
    dense: Transformation | None = None,
    has_aux: bool = False,
    clip: Callable[[Any], Any] | None = None,
) -> Step:
    """A compiled training step: ``table, state, value = step(table, state, ids, *args)``.

    With ``dense`` a model trains beside the table: ``both, states, value = step((table, params),
    (state, dense_state), ids, *args)``, with ``loss(rows, params, *args)``.

    Parameters
    ----------
    loss : callable
        ``loss(rows, *args)``, as in `value_and_grad`.
    optimizer : RowOptimizer
        From `rule` or `rowwise`; ``state`` is what its ``init(table)`` returned.
    dense : optax transformation, optional
        For the model's parameters; ``dense_state`` is what its ``init(params)`` returned.
    has_aux : bool
        Whether ``loss`` gives (scalar, anything); ``value`` is that pair then.
    clip : callable, optional
        From the gradients to those that the optimizer gets, as
        ``lambda grads: rj.clip_by_global_norm(grads, 1.0)``. With ``dense`` it gets the pair of
        both.

    The arrays of ``table.block``, of the parameters and of the states are donated: they are gone
    after the call, and the new ones are in the same memory. The base is not.
    """
    return Step(loss, optimizer, dense, has_aux, clip)


class Step:
    """What `step` returns. ``lower`` is that of `jax.jit`, for looking at the program."""

    def __init__(
        self,
        loss: Callable[..., Any],
        optimizer: RowOptimizer,
        dense: Transformation | None,
        has_aux: bool,
        clip: Callable[[Any], Any] | None,
    ) -> None:
        gradient = value_and_grad(loss, 0 if dense is None else (0, 1), has_aux)

        def move(blocks: Any, params: Any, states: Any, rest: Any, ids: Any, args: Any) -> Any:
            tables = _joined(blocks, rest)
            value, grads = gradient(tables, ids, *([] if dense is None else [params]), *args)
            grads = clip(grads) if clip else grads
            if dense is None:
                tables, states = optimizer.update(grads, states, tables)
            else:
                tables, state = optimizer.update(grads[0], states[0], tables)
                change, dense_state = dense.update(grads[1], states[1], params)
                params, states = _changed(params, change), (state, dense_state)
            return _parted(tables)[0], params, states, value

        self._dense = dense
        self._compiled = jax.jit(move, donate_argnums=(0, 1, 2))

    def __call__(self, table: Any, state: Any, ids: Any, *args: Any) -> tuple[Any, Any, Any]:
        given = self._arguments(table, state, ids, args)
        blocks, params, state, value = self._compiled(*given)
        table = _joined(blocks, given[3])
        return (table if self._dense is None else (table, params)), state, value

    def lower(self, table: Any, state: Any, ids: Any, *args: Any) -> Any:
        """The program for these arguments, not run."""
        return self._compiled.lower(*self._arguments(table, state, ids, args))

    def _arguments(self, table: Any, state: Any, ids: Any, args: Any) -> tuple[Any, ...]:
        table, params = (table, None) if self._dense is None else table
        blocks, rest = _parted(table)
        return blocks, params, state, rest, _checked_ids(table, ids), args


def _changed(params: Any, change: Any) -> Any:
    """``params`` with optax's ``change`` added, None where there is none."""
    return jax.tree.map(
        lambda by, old: old if by is None else (old + by).astype(old.dtype),
        change,
        params,
        is_leaf=lambda leaf: leaf is None,
    )


def _parted(tables: Any) -> tuple[list[Any], Any]:
    """The blocks, and the tables without them: an output of a compiled program is a copy."""
    each, structure = tables_of(tables)
    rest = structure.unflatten([table.replace(block=None) for table in each])
    return [table.block for table in each], rest


def _joined(blocks: list[Any], rest: Any) -> Any:
    each, structure = tables_of(rest)
    pairs = zip(each, blocks, strict=True)
    return structure.unflatten([table.replace(block=block) for table, block in pairs])


def _checked_ids(tables: Any, ids: Any) -> Any:
    each, structure = tables_of(tables)

    def check(table: RowTable, part: Any) -> Any:
        leaves, shape = ids_of(part)
        return shape.unflatten([as_ids(leaf, table.num_rows) for leaf in leaves])

    parts = zip(each, structure.flatten_up_to(ids), strict=True)
    return structure.unflatten([check(table, part) for table, part in parts])
