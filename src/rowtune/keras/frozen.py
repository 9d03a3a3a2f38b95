"""What a layer's base may be beside a variable of floats: a memory map, or codes of fewer bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import PatchError, RowtuneError, ShapeError
from rowtune.keras.weights import on_host as as_array
from rowtune.on_host import OnHost, is_mapped
from rowtune.quantized import Quantized

MAPPED = "mapped"
_FLOATS = ("float16", "bfloat16", "float32")


def kept(weights: Any, shape: tuple[int, int], variable_dtype: str) -> OnHost | Quantized | None:
    """What stays as it was given: a map or a quantized table. None of anything else.

    Raises
    ------
    ShapeError
        Of another shape than ``shape``, or not floats.
    """
    if isinstance(weights, list | tuple) and len(weights) == 1:
        weights = weights[0]
    if not isinstance(weights, Quantized | np.ndarray):
        return None
    mapped = is_mapped(weights)
    if not mapped and not isinstance(weights, Quantized):
        return None
    if weights.shape != shape:
        raise ShapeError(f"weights have shape {weights.shape}; expected {shape}")
    if mapped:
        return on_host(weights, variable_dtype)
    assert isinstance(weights, Quantized)
    return weights


def on_host(weights: Quantized | NDArray[Any], variable_dtype: str) -> OnHost:
    """A base that no backend has; its rows in a dtype that each of them has."""
    name = weights.dtype.name
    if not isinstance(weights, Quantized) and not name.startswith(("float", "bfloat")):
        raise ShapeError(f"weights are {name}; expected floats: weights.astype('float32')")
    return OnHost(weights, None if name in _FLOATS else np.dtype(variable_dtype))


def rows_of(matrix: Any, ids: NDArray[np.int64] | None) -> NDArray[Any]:
    """Rows of ids, or all of them, of a matrix in any of these clothes."""
    if isinstance(matrix, OnHost):
        return matrix.whole() if ids is None else matrix.rows(ids)
    if isinstance(matrix, Quantized):
        return matrix.rows(slice(None) if ids is None else ids)
    whole: NDArray[Any] = matrix if ids is None else matrix[ids]
    return whole


def codes_of(table: Quantized) -> NDArray[Any]:
    """Its codes in a dtype that Keras has a name for."""
    return table.codes.view("bfloat16") if table.kind == "bfloat16" else table.codes


def whole(layer: Any) -> NDArray[Any]:
    """The numbers (N, D) of a layer's base, new: float32 of a quantized one."""
    if isinstance(layer.base, OnHost):
        return layer.base.whole()
    base = as_array(layer.base)
    if not layer.is_quantized:
        return np.array(base)
    bits = base.view(np.uint16) if base.dtype.name == "bfloat16" else base
    scales = None if layer.scales is None else as_array(layer.scales)
    return Quantized(bits, scales).rows(slice(None))


def check(base: OnHost, expected: str, name: str) -> None:
    """That a map is the one of a file.

    Raises
    ------
    PatchError
        It is another table.
    """
    if base.fingerprint() != expected:
        raise PatchError(
            f"{name}: the file's block belongs to another base than this memory map; give the "
            "table with which it was trained"
        )


def refuse_without(name: str) -> None:
    """Raise for a lookup in a layer whose base is not there yet."""
    raise RowtuneError(
        f"{name}: the base was in a memory map, which is not in the file of a model; "
        f"write model.get_layer({name!r}).attach(weights), with that table"
    )


def refuse_export(name: str) -> None:
    """Raise for a program that would ask this process for rows when it runs in another."""
    raise RowtuneError(
        f"{name}: the base is in a memory map of this process, which an exported model cannot "
        f"hold; export a model whose layer has weights=model.get_layer({name!r}).merge(), or, with "
        "the same train=, rowtune.quantize(...) of that: a quarter of the room, rounded"
    )
