"""The frozen storage as tensors: values of a float dtype, or codes and their scales."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rowtune.errors import ShapeError
from rowtune.quantized import Quantized
from rowtune.tables.mapped_pages import expect_scattered_reads, map_behind
from rowtune.torch.read_only import ReadOnly, plain
from rowtune.torch.views import empty_rows


class Stored(NamedTuple):
    """A table as it came, over its own memory."""

    values: Tensor  # (N, D) floats, or int8 codes
    scales: Tensor | None  # float32 (N,), with codes
    dtype: torch.dtype  # of rows that are looked up
    mapped: Any  # what it came as, if that is a file; else None


class FrozenBase(ReadOnly):
    """The base as its users see it: a write would change frozen rows, and into a read-only map it
    would end the process.
    """

    watched = True
    refusal = (
        "the base is frozen, and nothing was written; train rows with train=, and write those: "
        "embedding.block.data[...]"
    )


def guarded(tensor: Tensor) -> Tensor:
    """A view of the base that refuses writes."""
    return tensor.detach().as_subclass(FrozenBase)


def as_stored(weights: Any, dtype: torch.dtype | None = None) -> Stored:
    """The storage that a tensor, an array, a read-only memory map or a `Quantized` is.

    Raises
    ------
    ShapeError
        Not a matrix of floats, or of a byte order or strides that torch has not; a ``dtype`` that
        is no float.
    """
    scales = None
    if isinstance(weights, Quantized):
        expect_scattered_reads(weights.codes)
        values = _over(weights.codes)
        scales = None if weights.scales is None else _over(weights.scales)
        mapped, native = map_behind(weights.codes) is not None, torch.float32
    elif isinstance(weights, Tensor):
        values = plain(weights.detach())
        mapped, native = _is_file(values), values.dtype
    else:
        array = np.asarray(weights)
        if array.dtype.kind != "f" or not array.dtype.isnative or array.dtype.itemsize > 8:
            raise ShapeError(
                f"weights have dtype {array.dtype}; expected native floats of 2 to 8 bytes"
            )
        expect_scattered_reads(array)
        values = _over(array)
        mapped, native = map_behind(array) is not None, values.dtype
    if values.ndim != 2 or not (values.is_floating_point() or scales is not None):
        raise ShapeError(
            f"weights have shape {tuple(values.shape)} and dtype {values.dtype}; expected a table "
            "of floats, one row for each id"
        )
    if dtype is not None and not dtype.is_floating_point:
        raise ShapeError(f"dtype is {dtype}; expected a float, for rows that are looked up")
    return Stored(values, scales, dtype or native, weights if mapped else None)


def widened(values: Tensor, scales: Tensor | None) -> Tensor:
    """Rows as floats: codes (n, D) times scales (n,); values without scales as they are."""
    return values if scales is None else values.to(torch.float32).mul_(scales[:, None])


def rows_at(values: Tensor, scales: Tensor | None, ids: Tensor) -> Tensor:
    """Rows (n, D) of ids in range (n,), as floats."""
    if scales is None:
        return values.index_select(0, ids)
    return widened(values.index_select(0, ids), scales.index_select(0, ids))


def all_rows(values: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A copy of all rows (N, D), to keep as a block."""
    if scales is not None:
        return widened(values, scales).to(dtype)
    count, width = values.shape
    return empty_rows(count, width, dtype, values.device).copy_(values.detach())


def own_rows(values: Tensor, scales: Tensor | None, ids: Tensor) -> Tensor:
    """Rows (n, D) of ids in range (n,), as floats, to keep as a block."""
    if scales is not None:
        return rows_at(values, scales, ids)
    new = empty_rows(len(ids), values.shape[1], values.dtype, values.device)
    return torch.index_select(values.detach(), 0, ids, out=new)


def on(device: torch.device, stored: Stored) -> Stored:
    """The same storage on a device."""
    scales = None if stored.scales is None else stored.scales.to(device)
    return stored._replace(values=stored.values.to(device), scales=scales)


def _over(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over the memory of an array; uint16 holds the bits of bfloat16."""
    is_bits = array.dtype == np.uint16
    if any(step < 0 or step % array.itemsize for step in array.strides):
        raise ShapeError(
            f"rows lie {array.strides} bytes apart, backwards or between other things, which torch "
            "cannot read; write numpy.ascontiguousarray(weights)"
        )
    with warnings.catch_warnings():
        # Nothing here writes to a base, and whoever asks for it gets a guarded one.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(array.view(np.int16) if is_bits else array)
    return tensor.view(torch.bfloat16) if is_bits else tensor


def _is_file(tensor: Tensor) -> bool:
    return not tensor.is_meta and bool(getattr(tensor.untyped_storage(), "filename", None))
