"""The base: the frozen storage of a table, read-only, never copied, and its fingerprint.

An array or a memory map, or a `Quantized`, of which only rows that are asked for are widened.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rowtune.errors import ShapeError
from rowtune.quantized import Quantized
from rowtune.tables.mapped_pages import expect_scattered_reads, forget, in_order

Base: TypeAlias = "NDArray[Any] | Quantized"
_BYTES_AT_A_TIME = 1 << 24


def as_base(weights: ArrayLike | Quantized) -> Base:
    """A read-only view of ``weights`` (N x D floats); a memory map stays one, and so does a
    `Quantized`.

    Raises
    ------
    ShapeError
        Not two-dimensional, or not of a float dtype that NumPy has.
    """
    if isinstance(weights, Quantized):
        expect_scattered_reads(weights.codes)
        return weights
    base = np.asarray(weights)
    if base.ndim != 2:
        raise ShapeError(
            f"weights have shape {base.shape}; expected a table of two dimensions, "
            "one row for each id"
        )
    if base.dtype.kind != "f" or base.dtype.itemsize > 8:
        raise ShapeError(
            f"weights have dtype {base.dtype}; expected float16, float32 or float64 "
            "(write weights.astype(numpy.float32))"
        )
    expect_scattered_reads(base)
    base = base.view()
    base.flags.writeable = False
    return base


def rows_of(base: Base, ids: Any) -> NDArray[Any]:
    """Rows of ids in range (n,) or of a slice: of a `Quantized` as new float32 values (n, D)."""
    return base.rows(ids) if isinstance(base, Quantized) else base[ids]


def copy_into(matrix: NDArray[Any], base: Base) -> None:
    """Put all rows of the base at the beginning of a new ``matrix``, by pieces."""
    rows = max(1, _BYTES_AT_A_TIME // max(1, matrix[:1].nbytes))
    for start in range(0, len(base), rows):
        piece = slice(start, min(start + rows, len(base)))
        matrix[piece] = rows_of(base, piece)


def fingerprint(
    base: Base, dtype_name: str | None = None, without: NDArray[np.int64] | None = None
) -> str:
    """SHA-256, in hex, of a table's shape, dtype and bytes (rows in order, little-endian).

    Two tables have the same fingerprint exactly where every row has the same bits. ``dtype_name``
    is for a dtype that NumPy has not, whose bits come as integers. Rows ``without`` (ascending ids)
    count as zeros: what stands in them does not matter. A `Quantized` has that of its codes, which
    with int8 are followed by the scales.
    """
    scales = None
    if isinstance(base, Quantized):
        dtype_name, scales = None if base.kind == "float16" else base.kind, base.scales
        base = base.codes
    little = base.dtype.newbyteorder("<")
    name = dtype_name or little.str
    digest = hashlib.sha256(f"{base.shape[0]}x{base.shape[1]} {name}\n".encode())
    start = 0
    with in_order(base):
        for piece in _pieces(base):
            start, first = start + len(piece), start
            if without is not None:
                lo, hi = np.searchsorted(without, [first, start])
                if lo < hi:
                    piece = piece.copy()  # noqa: PLW2901
                    piece[without[lo:hi] - first] = 0
            digest.update(np.ascontiguousarray(piece, dtype=little).data.cast("B"))
            forget(base)
    if scales is not None:
        for piece in _pieces(scales):
            digest.update(np.ascontiguousarray(piece, dtype="<f4").data.cast("B"))
    return digest.hexdigest()


def _pieces(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Views of consecutive rows, small enough that a memory map is never in memory whole."""
    if array.size == 0:
        return []
    rows = max(1, _BYTES_AT_A_TIME // array[:1].nbytes)
    return [array[start : start + rows] for start in range(0, len(array), rows)]
