"""Write rows by hand: set, add, subtract, and refuse what is frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rowtune import checks
from rowtune.errors import IdError, NonFiniteError, RowtuneError, ShapeError
from rowtune.rows import Choice, Rows
from rowtune.tensorflow.embedding import Embedding
from rowtune.tensorflow.ids import in_range
from rowtune.tensorflow.places import slots_of
from rowtune.tensorflow.state import block_of
from rowtune.tensorflow.tracing import as_written, assert_before, on_host, under_xla

_SET = "scatter_update"


@as_written
def scatter_set(
    table: Any, ids: Any, values: Any, rows: Choice | Rows = "all", *, check_finite: bool = True
) -> None:
    """Replace rows, in place: `tf.scatter_update` for rows that may be written.

    Parameters
    ----------
    table : Embedding, or tf.Variable (N, D)
    ids : integers of any shape
        Of the table, also where it is an embedding.
    values : ids.shape + (D,), or + (C,) for an embedding of which C columns train
    rows : "all", ids, boolean mask, slice, or rowtune.Rows
        Which rows of a variable may be written; an embedding knows.
    check_finite : bool
        Refuse NaN and infinity.

    Raises
    ------
    FrozenRowError
        A row that may not be written.
    IdError, ShapeError, NonFiniteError
        A row named twice or not there, a wrong shape, NaN. Nothing is changed then. In a
        `tf.function` what depends on values is `tf.errors.InvalidArgumentError`.
    RowtuneError
        Under XLA, which cannot refuse anything.
    """
    _write(_SET, table, ids, values, rows, check_finite)


@as_written
def scatter_add(
    table: Any, ids: Any, values: Any, rows: Choice | Rows = "all", *, check_finite: bool = True
) -> None:
    """Add to rows, in place; a row that is named twice gets both. See `scatter_set`."""
    _write("scatter_add", table, ids, values, rows, check_finite)


@as_written
def scatter_sub(
    table: Any, ids: Any, values: Any, rows: Choice | Rows = "all", *, check_finite: bool = True
) -> None:
    """Subtract from rows, in place; a row named twice gets both. See `scatter_set`."""
    _write("scatter_sub", table, ids, values, rows, check_finite)


def _write(
    how: str, table: Any, ids: Any, values: Any, choice: Choice | Rows, check_finite: bool
) -> None:
    if under_xla():
        raise RowtuneError(
            "rows cannot be written by hand under jit_compile=True, where nothing can be refused; "
            "call it outside, or in a tf.function without jit_compile"
        )
    block = block_of(table)
    rows = table.rows if isinstance(table, Embedding) else _as_rows(choice, block.shape[0])
    given, _ = in_range(ids, rows.num_rows)
    new = _shaped(tf.convert_to_tensor(values), given, block)
    flat = tf.reshape(given, [-1])
    slots = slots_of(rows)(flat)
    places = slots if isinstance(table, Embedding) else flat
    if tf.executing_eagerly():
        _refuse(rows, flat, new, how, check_finite)
    else:
        places, new = _assert_allowed(slots, flat, places, new, how, check_finite)
    getattr(block, how)(tf.IndexedSlices(new, places))


def _refuse(rows: Rows, ids: Any, values: Any, how: str, check_finite: bool) -> None:
    known = on_host(ids)
    checks.all_trainable(rows, known)
    unique, counts = np.unique(known, return_counts=True)
    if how == _SET and len(unique) < len(known):
        twice = unique[counts > 1][0]
        raise IdError(f"row {twice} is set twice; name it once, or use scatter_add")
    if check_finite and not tf.reduce_all(tf.math.is_finite(values)):
        raise NonFiniteError(
            f"values hold NaN or infinity (as {values.dtype.name}); nothing was changed. "
            "Pass check_finite=False if that is meant"
        )


def _assert_allowed(
    slots: Any, ids: Any, places: Any, values: Any, how: str, check_finite: bool
) -> Any:
    conditions = {"a row is frozen; nothing was changed": tf.reduce_all(slots >= 0)}
    if how == _SET:
        once = tf.size(tf.unique(ids)[0]) == tf.size(ids)
        conditions["a row is set twice; nothing was changed"] = once
    if check_finite:
        finite = tf.reduce_all(tf.math.is_finite(values))
        conditions["values hold NaN or infinity; nothing was changed"] = finite
    for words, condition in conditions.items():
        places, values = assert_before(condition, [words, ids], places, values)
    return places, values


def _as_rows(choice: Any, num_rows: int) -> Rows:
    if tf.is_symbolic_tensor(choice):
        raise ShapeError(
            "rows are a tensor whose values are not known while the function is traced; pass an "
            "array, or rowtune.Rows(num_rows, ...)"
        )
    return choice if isinstance(choice, Rows) else Rows(num_rows, on_host(choice))


def _shaped(values: Any, ids: Any, block: Any) -> Any:
    """``values`` as (n, C) in the block's dtype."""
    expected = ids.shape.concatenate(block.shape[1:])
    if not values.shape.is_compatible_with(expected):
        raise ShapeError(f"values have shape {values.shape}; expected {expected}")
    return tf.cast(tf.reshape(values, [-1, block.shape[1]]), block.dtype)
