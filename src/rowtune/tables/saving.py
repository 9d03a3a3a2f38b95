"""`save_table`: a matrix into a file, by pieces, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rowtune.atomic import replacing
from rowtune.errors import FormatError, ShapeError
from rowtune.quantized import Quantized
from rowtune.tables.layout import Layout, npy_layout, safetensors_layout
from rowtune.tables.mapped_pages import forget, in_order

Progress: TypeAlias = Callable[[str, int, int], None]
# Rows from a place on: values or codes, and scales where there are some.
Piece: TypeAlias = "tuple[int, NDArray[Any], NDArray[np.float32] | None]"
_BYTES_AT_A_TIME = 1 << 24


def save_table(
    path: str | os.PathLike[str], table: NDArray[Any] | Quantized, *,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Write a table for `open_table`, 16 MB at a time: a memory map is never in memory whole.

    An array goes into ``.npy``, or into ``.safetensors`` as the tensor ``weight``; a `Quantized`
    into ``.safetensors``, its scales as ``weight.scales``. Values begin at multiples of 64 bytes.
    The file takes its name when it is complete; one that had it stays as it is until then, and
    whoever has mapped that one keeps it.

    Parameters
    ----------
    path : path
    table : N x D array of float16, float32 or float64, or Quantized
    progress : callable of (stage, rows done, rows in all), optional

    Raises
    ------
    FormatError
        A name that ends otherwise, or a .npy file for a `Quantized`.
    ShapeError
        Not a matrix of these dtypes.
    OSError
        The file cannot be written; an older one of this name is kept.
    """
    if isinstance(table, Quantized):
        values, kind = table.codes, table.kind
    else:
        values, kind = np.asarray(table), ""
        if values.ndim != 2 or values.dtype.kind != "f" or values.dtype.itemsize > 8:
            raise ShapeError(
                f"the table has shape {values.shape} and dtype {values.dtype}; expected a matrix "
                "of float16, float32 or float64, or a Quantized"
            )
    file_layout = layout(path, (len(values), values.shape[1]), values.dtype, kind)
    with in_order(values):
        write(path, file_layout, _pieces(table, values), len(values), progress)


def layout(
    path: str | os.PathLike[str], shape: tuple[int, int], dtype: np.dtype[Any], kind: str
) -> Layout:
    """The layout that the name of a file asks for.

    Raises
    ------
    FormatError
    """
    name = os.fspath(path)
    if name.endswith(".safetensors"):
        return safetensors_layout(shape, dtype, kind)
    if name.endswith(".npy") and not kind:
        return npy_layout(shape, dtype)
    what = f"a quantized table ({kind})" if kind else "a table"
    raise FormatError(
        f"{name}: {what} goes into a file whose name ends in .safetensors"
        + ("" if kind else " or .npy; rowtune.save writes words with their rows")
    )


def write(
    path: str | os.PathLike[str], where: Layout, pieces: Iterable[Piece], rows: int,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Put pieces into the places that they have in a new file."""
    with replacing(path) as file:
        file.write(where.head)
        file.truncate(where.size)
        for first, values, scales in pieces:
            little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
            _put(file, where.values + first * values[:1].nbytes, little)
            if scales is not None:
                _put(file, where.scales + 4 * first, np.ascontiguousarray(scales, "<f4"))
            if progress is not None:
                progress("writing", first + len(values), rows)


def _put(file: BinaryIO, place: int, values: NDArray[Any]) -> None:
    file.seek(place)
    file.write(values.reshape(-1).view(np.uint8).data)


def _pieces(table: NDArray[Any] | Quantized, values: NDArray[Any]) -> Iterable[Piece]:
    scales = table.scales if isinstance(table, Quantized) else None
    step = max(1, _BYTES_AT_A_TIME // max(1, values[:1].nbytes))
    for first in range(0, len(values), step):
        piece = slice(first, first + step)
        yield first, values[piece], None if scales is None else scales[piece]
        forget(values)
