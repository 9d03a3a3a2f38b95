"""Options and numbers of an optimizer as JSON has them, and tensors as arrays beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rowtune.errors import CheckpointError
from rowtune.torch.views import array_of, over

Arrays = dict[str, NDArray[Any]]
_TENSOR, _TUPLE = "tensor", "tuple"


def put(arrays: Arrays, key: str, tensor: Tensor) -> list[Any]:
    """Keep a tensor; how to get it back. What NumPy has not is kept as bytes."""
    plain = tensor.detach().cpu()
    shape = list(plain.shape)
    try:
        arrays[key] = array_of(plain)
        if arrays[key].dtype.kind not in "fiub":
            raise TypeError
    except TypeError:
        arrays[key] = plain.contiguous().reshape(-1).view(torch.uint8).numpy()
    return [_TENSOR, key, name_of(tensor.dtype), shape]


def get(arrays: Arrays, how: list[Any]) -> Tensor:
    """The tensor that `put` kept."""
    _, key, dtype_name, shape = how
    array, dtype = arrays[key], getattr(torch, dtype_name)
    if array.dtype == np.uint8 and dtype != torch.uint8:
        return torch.from_numpy(array).view(dtype).reshape(shape)
    return over(array, dtype)


def value_of(arrays: Arrays, key: str, value: Any) -> Any:
    """An option or a number as JSON has it; tensors beside it."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        return put(arrays, key, value)
    if isinstance(value, tuple):
        parts = [value_of(arrays, f"{key}.{i}", each) for i, each in enumerate(value)]
        return [_TUPLE, *parts]
    if isinstance(value, list) and all(isinstance(x, float | int) for x in value):
        return put(arrays, key, torch.tensor(value, dtype=torch.float64))
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list) and all(isinstance(x, str) for x in value):
        return ["list", *value]
    raise CheckpointError(
        f"{key} is a {type(value).__name__}; expected numbers, text, tensors and tuples of them"
    )


def back(arrays: Arrays, value: Any) -> Any:
    """What `value_of` was given."""
    if not isinstance(value, list):
        return value
    if value[0] == _TENSOR:
        return get(arrays, value)
    parts = [back(arrays, each) for each in value[1:]]
    return tuple(parts) if value[0] == _TUPLE else parts


def name_of(dtype: torch.dtype) -> str:
    """``float32`` of ``torch.float32``."""
    return str(dtype).removeprefix("torch.")
