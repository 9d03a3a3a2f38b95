"""Any optax transformation, row by row."""

from __future__ import annotations

from typing import Any, Protocol

import jax
from jax import Array

from rowtune.errors import RuleError
from rowtune.jax.checked import check_finite
from rowtune.jax.mixing import check_keeps_rows_apart
from rowtune.jax.optimizer import RowOptimizer, of_one_table
from rowtune.jax.table import RowTable
from rowtune.jax.touched import RowGrads
from rowtune.jax.verbs import put, state_dtype, take

# States of optax that count for a schedule only, by the name of their class, with the fields that
# all rows share (None: every field). Other counts are bias corrections and belong to a row.
_SHARED: dict[str, tuple[str, ...] | None] = {
    "ScaleByScheduleState": None,
    "WeightDecaySchedule": None,
    "WrappedScheduleState": None,
    "InjectHyperparamsState": ("count", "hyperparams"),
    "InjectStatefulHyperparamsState": ("count", "hyperparams", "hyperparams_states"),
}


class Transformation(Protocol):
    """What rowwise needs of `optax.GradientTransformation`."""

    @property
    def init(self) -> Any: ...

    @property
    def update(self) -> Any: ...


def rowwise(tx: Transformation) -> RowOptimizer:
    """An optax transformation as an optimizer of rows: ``rowwise(optax.adamw(1e-3))``.

    Each row has a state of its own, its step count included; an absent row waits. Schedules
    (of learning rates, of weight decay, of injected hyper-parameters) follow the steps of the
    table. It equals ``tx`` itself where every row is touched in every step.

    ``tx`` gets a row as a matrix of 1 x C, so that what it does to matrices it does to rows. Every
    leaf of the state has a leading axis of k, but for what belongs to a schedule.

    Raises
    ------
    RuleError
        The transformation mixes rows: tried on a small matrix, whole and row by row.
    """
    two_functions = callable(getattr(tx, "init", None)) and callable(getattr(tx, "update", None))
    if not two_functions or isinstance(tx, RowOptimizer):
        raise RuleError(
            f"rowwise was given a {type(tx).__name__}; expected an optax transformation, as "
            "optax.adam(1e-3) (what rule(...) makes is an optimizer of rows already)"
        )
    rows = _RowByRow(tx)
    check_keeps_rows_apart(tx, rows.init, rows.update)

    def init(table: RowTable) -> Any:
        return rows.init(table.block.astype(state_dtype(table.block)))

    def update(grads: RowGrads, state: Any, table: RowTable) -> tuple[RowTable, Any]:
        check_finite(grads.values)
        if table.block.shape[0] == 0:
            return table, state
        slots, values = grads
        per_row = rows.per_row(table.block.shape[1], values.dtype)
        before = jax.tree.map(lambda mine, x: take(x, slots) if mine else x, per_row, state)
        weights = take(table.block, slots).astype(values.dtype)
        change, after = rows.update(values, before, weights)
        state = jax.tree.map(
            lambda mine, old, new: put(old, slots, new.astype(old.dtype)) if mine else new,
            per_row,
            state,
            after,
        )
        moved = (weights + change).astype(table.block.dtype)
        return table.replace(block=put(table.block, slots, moved)), state

    return of_one_table(init, update)


class _RowByRow:
    """``tx`` mapped over rows (u, C); of its state, what all rows share is there once."""

    def __init__(self, tx: Transformation) -> None:
        self._tx = tx

    def per_row(self, width: int, dtype: Any) -> Any:
        """A tree of the state's structure: whether a leaf belongs to a row."""
        one = jax.eval_shape(self._tx.init, jax.ShapeDtypeStruct((1, width), dtype))
        return _per_row(one)

    def init(self, rows: Array) -> Any:
        per_row = self.per_row(rows.shape[1], rows.dtype)
        return jax.vmap(self._tx.init, out_axes=_axes(per_row))(rows[:, None, :])

    def update(self, grads: Array, state: Any, rows: Array) -> tuple[Array, Any]:
        axes = _axes(self.per_row(rows.shape[1], rows.dtype))
        mapped = jax.vmap(self._tx.update, in_axes=(0, axes, 0), out_axes=(0, axes))
        change, state = mapped(grads[:, None, :], state, rows[:, None, :])
        return change[:, 0].astype(rows.dtype), state


def _is_shared(node: Any) -> bool:
    return type(node).__name__ in _SHARED and type(node).__module__.startswith("optax.")


def _per_row(node: Any) -> Any:
    """True for leaves of a row, False for those of a schedule."""
    if not _is_shared(node):
        return jax.tree.map(
            lambda leaf: _per_row(leaf) if _is_shared(leaf) else True, node, is_leaf=_is_shared
        )
    shared = _SHARED[type(node).__name__]
    fields = {
        name: jax.tree.map(lambda _: False, value)
        if shared is None or name in shared
        else _per_row(value)
        for name, value in node._asdict().items()
    }
    return type(node)(**fields)


def _axes(per_row: Any) -> Any:
    return jax.tree.map(lambda mine: 0 if mine else None, per_row)
