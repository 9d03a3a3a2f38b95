"""What a base may be beside a plain array: codes that are widened as they are looked up, or a table
that stays in its memory map on the host.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rowtune.errors import ShapeError
from rowtune.on_host import OnHost, is_mapped
from rowtune.quantized import Quantized


@partial(
    jax.tree_util.register_dataclass, data_fields=["codes", "scales"], meta_fields=["num_rows"]
)
@dataclasses.dataclass(frozen=True, eq=False)
class Codes:
    """A quantized base on the device; its rows are float32.

    Attributes
    ----------
    codes : array (N, D) of int8, float16 or bfloat16
    scales : float32 array (N,) or None
        With int8: row i is ``codes[i] * scales[i]``.
    num_rows : int
        N. A base that is spread over devices may have rows behind it.
    """

    codes: Array
    scales: Array | None
    num_rows: int

    dtype = jnp.dtype(jnp.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.num_rows, int(self.codes.shape[1])


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["source"])
@dataclasses.dataclass(frozen=True, eq=False)
class Mapped:
    """A base in a memory map, which no device has and no program takes as an argument.

    Nothing that is done to a table, such as donating it, copying it, or returning it from a
    compiled function, reads or copies more of it than the rows that are looked up.
    """

    source: OnHost

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.source.shape[0], self.source.shape[1]

    @property
    def dtype(self) -> Any:
        """Of its rows."""
        return self.source.dtype


Base: TypeAlias = Array | Codes | Mapped


def as_base(given: Any) -> Base:
    """A base of an array, a memory map or a `Quantized`; of the first two in their own dtype."""
    if isinstance(given, np.ndarray | Quantized) and is_mapped(given):
        return Mapped(OnHost(given))
    if not isinstance(given, Quantized):
        return jnp.asarray(given)
    scales = None if given.scales is None else jnp.asarray(given.scales)
    return Codes(jnp.asarray(codes_of(given)), scales, len(given))


def codes_of(table: Quantized) -> Any:
    """Its codes in a dtype of JAX's, not copied."""
    return table.codes.view(jnp.bfloat16) if table.kind == "bfloat16" else table.codes


def rows_of(base: Base, ids: Array) -> Array:
    """Rows of ids of any shape that are in range, ids.shape + (D,), without a gradient."""
    if isinstance(base, Mapped):
        rows = jax.ShapeDtypeStruct((*ids.shape, base.shape[1]), base.dtype)
        # Under vmap ids have one axis more, and a lookup does not mind.
        read: Array = jax.pure_callback(base.source.rows, rows, ids, vmap_method="expand_dims")
        return read
    if isinstance(base, Codes):
        wide: Array = widened(*(_taken(x, ids) for x in (base.codes, base.scales)))
        return wide
    rows_here: Array = _taken(base, ids)
    return rows_here


def whole(base: Base) -> Array:
    """All rows (N, D); what is mapped or quantized is in memory as a whole then.

    Raises
    ------
    ShapeError
        A map inside of a compiled function, of which the matrix would be a constant.
    """
    if isinstance(base, Codes):
        wide: Array = widened(base.codes, base.scales)
        return wide
    if not isinstance(base, Mapped):
        return base
    if isinstance(jnp.zeros(()), jax.core.Tracer):
        raise ShapeError(
            f"the base of {base.shape[0]} x {base.shape[1]} is in a memory map, and is not read "
            "whole by a compiled function; call merge outside of jit"
        )
    return jnp.asarray(base.source.whole())


@jax.jit
def widened(codes: Array, scales: Array | None) -> Array:
    """float32 rows (..., D) of codes (..., D) and scales (...)."""
    if scales is not None:
        return codes.astype(jnp.float32) * scales[..., None]
    if codes.dtype == jnp.bfloat16:  # by its bits: the payload of a NaN is kept
        bits = jax.lax.bitcast_convert_type(codes, jnp.uint16).astype(jnp.uint32)
        return jax.lax.bitcast_convert_type(bits << 16, jnp.float32)
    return codes.astype(jnp.float32)


def _taken(array: Any, ids: Array) -> Any:
    if array is None:
        return None
    return jax.lax.stop_gradient(array).at[ids].get(mode="clip")
