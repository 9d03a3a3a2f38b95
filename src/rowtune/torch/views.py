"""CPU tensors as NumPy arrays over the same memory, and back."""

from __future__ import annotations

from typing import Any

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


def empty_bits(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, NDArray[Any]]:
    """A new tensor and its bits."""
    bits = memory.empty(shape, f"i{dtype.itemsize}")
    return torch.from_numpy(bits).view(dtype), bits


def over_memory_of(trained: Trained) -> Trained:
    """What a step changes, as arrays over the memory of its tensors."""
    block, state, steps, lr_scale = trained
    scale = None if lr_scale is None else as_array(lr_scale)
    return Trained(as_array(block), tuple(map(as_array, state)), as_array(steps), scale)
