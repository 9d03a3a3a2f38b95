"""The names that a rule may use beside operators, and what they mean: on NumPy arrays.

Every engine binds the same names to operations on its own arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray


def row_mean(x: NDArray[Any]) -> NDArray[Any]:
    """Mean of each row: from (u, D) to (u, 1), in the dtype of ``x``; 0 where D is 0."""
    mean: NDArray[Any] = x.sum(axis=-1, keepdims=True) / max(x.shape[-1], 1)
    return mean


def row_norm(x: NDArray[Any]) -> NDArray[Any]:
    """Euclidean norm of each row, the root of the sum of squares: from (u, D) to (u, 1)."""
    norm: NDArray[Any] = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    return norm


OPERATIONS: dict[str, Any] = {
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "maximum": np.maximum,
    "where": np.where,
    "row_mean": row_mean,
    "row_norm": row_norm,
}
REDUCTIONS = frozenset({"row_mean", "row_norm"})


def bind(function: Any, operations: Mapping[str, Any]) -> FunctionType:
    """``function`` with its module's names replaced by an engine's ``operations``."""
    assert isinstance(function, FunctionType)
    own = FunctionType(function.__code__, dict(operations), function.__name__)
    own.__module__ = function.__module__
    own.__doc__ = function.__doc__
    return own
