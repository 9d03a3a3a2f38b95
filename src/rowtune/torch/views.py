"""CPU tensors as NumPy arrays over the same memory, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rowtune.step import Trained
from rowtune.torch import memory

COMPILED = (torch.float32, torch.float64)  # numba has no arithmetic for the others on the CPU
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def as_bits(tensor: torch.Tensor) -> NDArray[Any]:
    """A float tensor as integers of the same size: NumPy has no bfloat16, and bits need none."""
    bits: NDArray[Any] = tensor.detach().view(_INTEGERS[tensor.element_size()]).numpy()
    return bits


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """A tensor of a dtype that NumPy has."""
    array: NDArray[Any] = tensor.detach().numpy()
    return array


def array_of(tensor: torch.Tensor) -> NDArray[Any]:
    """A tensor of any dtype and device, on the CPU: over its own memory if it is there, bfloat16 as
    its bits (uint16).
    """
    here = tensor.detach().cpu()
    if here.dtype == torch.bfloat16:
        bits: NDArray[Any] = here.view(torch.int16).numpy().view(np.uint16)
        return bits
    array: NDArray[Any] = here.numpy()
    return array


def over(array: NDArray[Any], dtype: torch.dtype) -> torch.Tensor:
    """The tensor that `array_of` was given, over the memory of the array."""
    if dtype == torch.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(dtype)
    return torch.from_numpy(array)


def empty_bits(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, NDArray[Any]]:
    """A new tensor and its bits."""
    bits = memory.empty(shape, f"i{dtype.itemsize}")
    return torch.from_numpy(bits).view(dtype), bits


def over_memory_of(trained: Trained) -> Trained:
    """What a step changes, as arrays over the memory of its tensors."""
    block, state, steps, lr_scale = trained
    scale = None if lr_scale is None else as_array(lr_scale)
    return Trained(as_array(block), tuple(map(as_array, state)), as_array(steps), scale)
