"""Matrices of users, as arrays that keep their bits on their way into variables."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from rowtune.errors import ShapeError
from rowtune.keras.backend import backend

_KEPT = ("float16", "bfloat16", "float32")


def as_matrix(
    weights: Any, shape: tuple[int, int], variable_dtype: str, has_base: bool
) -> NDArray[Any]:
    """The table that a layer is given, in the dtype that its frozen rows will have.

    Raises
    ------
    ShapeError
        Of another shape than ``shape``, or not floats.
    """
    if isinstance(weights, list | tuple) and len(weights) == 1:
        weights = weights[0]  # as Keras's layers take them
    try:
        matrix = on_host(weights)
    except ValueError as error:  # rows of different lengths
        raise ShapeError(f"weights are not one matrix: {error}") from None
    if matrix.shape != shape:
        raise ShapeError(f"weights have shape {matrix.shape}; expected {shape}")
    name = dtype_of(matrix)
    if not name.startswith(("float", "bfloat")):
        raise ShapeError(f"weights are {name}; expected floats: weights.astype('float32')")
    if name == variable_dtype or (has_base and name in _KEPT):
        return matrix
    return _cast(matrix, variable_dtype)


def as_it_is(array: NDArray[Any]) -> Any:
    """An initializer that gives this array."""

    def initializer(shape: Any, dtype: Any = None) -> Any:  # noqa: ARG001 - Keras's names
        return ops.convert_to_tensor(backend().as_tensor(_cast(array, dtype)), dtype=dtype)

    return initializer


def full_of(number: float) -> Any:
    """An initializer of one number. Keras's own goes through float32 on TensorFlow."""
    if not number:
        return "zeros"
    return lambda shape, dtype=None: ops.full(shape, np.asarray(number, dtype), dtype=dtype)


def on_host(given: Any) -> NDArray[Any]:
    """An array, tensor or variable as a NumPy array, with the same bits."""
    if isinstance(given, keras.Variable):
        given = given.value
    if not ops.is_tensor(given):
        return np.asarray(given)
    return backend().as_array(given)


def assign(variable: Any, stored: Any) -> None:
    """Give a variable what a file holds."""
    variable.assign(backend().as_tensor(np.asarray(stored)))


def dtype_of(array: Any) -> str:
    """The name that Keras has for a dtype."""
    return str(keras.backend.standardize_dtype(array.dtype))


def _cast(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    if dtype is None or dtype_of(array) == dtype:
        return array
    return on_host(ops.cast(ops.convert_to_tensor(array), dtype))
