"""A table as a pytree: the frozen base, the block of rows that train, and the slot of each row."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, DTypeLike

from rowtune.errors import ShapeError
from rowtune.jax.bases import Base, as_base, rows_of, whole
from rowtune.quantized import Quantized
from rowtune.rows import Choice, Rows

_MOST_ROWS = (1 << 31) - 1


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["base", "block", "slots", "columns", "ids"],
    meta_fields=["num_rows"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class RowTable:
    """A table of N rows of which k train, made by `split`: plain arrays, and a pytree of them.

    Attributes
    ----------
    base : array (N, D), Codes, Mapped, or None
        The frozen storage, never written and never differentiated: an array; codes that are widened
        as they are looked up; a memory map, which stays on the host. None where all of it trains.
    block : array (k, C)
        The rows that train, in the order of their ids; C is D unless columns were chosen. All
        that an optimizer ever sees.
    slots : int32 array (N,) or None
        The row of the block for each id, -1 where frozen; None where all rows train, and where few
        of so many do that they are searched among ``ids``.
    columns : int32 array (C,) or None
        The columns that train, ascending; None where all do.
    num_rows : int
        N, a constant of compiled programs.
    ids : int32 array (k,) or None
        The trainable ids, ascending, where there is no ``slots`` and not all rows train.
    """

    base: Base | None
    block: Array
    slots: Array | None
    columns: Array | None
    num_rows: int
    ids: Array | None = None

    @property
    def trains_all(self) -> bool:
        """Whether every row trains."""
        return self.slots is None and self.ids is None

    @property
    def width(self) -> int:
        """D, the columns of a looked-up row."""
        return int((self.block if self.base is None else self.base).shape[1])

    def replace(self, **changes: Any) -> RowTable:
        """The same table with other arrays: ``table.replace(block=block)``."""
        return dataclasses.replace(self, **changes)

    def __repr__(self) -> str:
        shape, dtype = getattr(self.block, "shape", None), getattr(self.block, "dtype", None)
        return f"RowTable(num_rows={self.num_rows}, block={shape} {dtype})"


def split(
    matrix: ArrayLike | Quantized,
    train: Choice = "all",
    columns: Choice | None = None,
    *,
    dtype: DTypeLike | None = None,
) -> RowTable:
    """Split a matrix into the rows that train and a frozen base.

    Parameters
    ----------
    matrix : array (N, D) of floats
        A NumPy or JAX array of any float dtype, bfloat16 and float16 among them. A JAX array
        becomes the base itself, without a copy. A memory map stays on the host, where rows are read
        as they are looked up. A `rowtune.quantized.Quantized` keeps its few bits and gives float32.
    train : "all", boolean mask of N, ids, or slice
    columns : None, "all", boolean mask of D, indices, or slice
    dtype : dtype, optional
        Of the block, and so of looked-up rows; that of the matrix where left out. Frozen rows are
        converted as they are looked up, and stay as they are in the base.

    Raises
    ------
    IdError
        An id that is negative, out of range or named twice.
    ShapeError
        Not two-dimensional, not floats, or float64 while JAX works without them.
    """
    base = _checked_base(matrix)
    rows = Rows(base.shape[0], _on_host(train), _on_host(columns))
    chosen = rows.chosen_columns(base.shape[1])
    block = whole(base) if rows.trains_all else rows_of(base, jnp.asarray(rows.ids, jnp.int32))
    block = block if chosen is None else block[:, jnp.asarray(chosen, jnp.int32)]
    # A block of its own memory: it will be donated, and the user may go on with the matrix.
    block = jnp.array(block, dtype=_float_dtype(dtype or base.dtype), copy=True)
    slots, ids = places(rows)
    return RowTable(
        base=None if rows.trains_all and chosen is None else base,
        block=block,
        slots=slots,
        columns=None if chosen is None else jnp.asarray(chosen, jnp.int32),
        num_rows=rows.num_rows,
        ids=ids,
    )


def merge(table: RowTable) -> Array:
    """The whole matrix (N, D), in the base's dtype: the trained rows in their places.

    Frozen rows are copied as the bits that they are, NaN payloads and -0.0 included. Of a quantized
    base they are those that it gives, in float32. All of it is in memory then, which of a table of
    20 GB in int8 takes 80 GB: a patch of the block travels more lightly.

    Raises
    ------
    ShapeError
        A base in a memory map, inside of a compiled function.
    """
    if table.base is None:
        return jnp.array(table.block[: table.num_rows], copy=True)
    base = whole(table.base)
    block = table.block.astype(base.dtype)
    bits = jnp.dtype(f"uint{8 * base.dtype.itemsize}")
    merged = _merged(
        jax.lax.bitcast_convert_type(base, bits),
        jax.lax.bitcast_convert_type(block, bits),
        table.slots,
        table.columns,
        table.ids,
    )
    return jax.lax.bitcast_convert_type(merged, base.dtype)[: table.num_rows]


@jax.jit
def _merged(
    base: Array, block: Array, slots: Array | None, columns: Array | None, ids: Array | None
) -> Array:
    if block.shape[0] == 0:
        return base
    if ids is not None:
        rows = widened(block[: ids.shape[0]], base[ids], columns)
        return base.at[ids].set(rows, unique_indices=True, indices_are_sorted=True)
    if slots is None:
        slots = jnp.arange(base.shape[0], dtype=jnp.int32)
    rows = widened(block[jnp.maximum(slots, 0)], base, columns)
    return jnp.where((slots >= 0)[:, None], rows, base)


def widened(rows: Array, base_rows: Array, columns: Array | None) -> Array:
    """``rows`` (..., C) with the columns that do not train from ``base_rows`` (..., D)."""
    if columns is None:
        return rows
    width, chosen = base_rows.shape[-1], columns.shape[0]
    if chosen == 0:
        return base_rows
    # A gather by the place of each column: JAX writes columns far more slowly than it reads them.
    place = jnp.full(width, -1, jnp.int32).at[columns].set(jnp.arange(chosen, dtype=jnp.int32))
    return jnp.where(place >= 0, rows[..., jnp.maximum(place, 0)], base_rows)


def _on_host(choice: Any) -> Any:
    return np.asarray(choice) if isinstance(choice, Array) else choice


def places(rows: Rows) -> tuple[Array | None, Array | None]:
    """``slots`` and ``ids`` of a `RowTable`: at most one of them is an array."""
    if rows.trains_all:
        return None, None
    if rows.slot_map is not None:
        return jnp.asarray(rows.slot_map), None
    return None, jnp.asarray(rows.ids, jnp.int32)


def _checked_base(matrix: Any) -> Base:
    given = matrix if isinstance(matrix, Array | Quantized | np.ndarray) else np.asarray(matrix)
    if given.ndim != 2:
        raise ShapeError(
            f"the matrix has shape {given.shape}; expected a table of two dimensions, "
            "one row for each id"
        )
    _float_dtype(given.dtype)
    if given.shape[0] > _MOST_ROWS:
        raise ShapeError(
            f"the matrix has {given.shape[0]:,} rows; ids are int32 here, up to {_MOST_ROWS:,}"
        )
    return as_base(given)


def _float_dtype(dtype: Any) -> Any:
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ShapeError(f"dtype {jnp.dtype(dtype)} is not a float; write .astype(numpy.float32)")
    if jnp.dtype(dtype) == jnp.float64 and not jax.config.read("jax_enable_x64"):
        raise ShapeError(
            "the matrix is float64, which JAX would round to float32 here; write "
            '.astype(numpy.float32), or jax.config.update("jax_enable_x64", True) at the start'
        )
    return jnp.dtype(dtype)
