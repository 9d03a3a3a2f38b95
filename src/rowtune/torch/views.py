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
_LARGE = 1 << 22  # bytes, from which on NumPy asks for huge pages
# Of elements in NumPy's memory; it has no bfloat16, and bits need none.
_MEMORY = {torch.float16: "f2", torch.bfloat16: "u2", torch.float32: "f4", torch.float64: "f8"}


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


def empty_rows(count: int, width: int, dtype: Any = None, device: Any = None) -> torch.Tensor:
    """Rows (count, width) of anything: `torch.empty`, but large ones on the CPU lie in memory of
    NumPy's, which asks the system for huge pages.

    With torch's small ones every lookup in a block of gigabytes looks for its page first. Measured
    at 60,000,000 x 16: half the time to read and write 8,192 rows far from each other.
    """
    # What torch would make here, by its defaults and by the modes that stand in for it.
    like = torch.empty(0, dtype=dtype, device=device)
    is_plain = type(like) is torch.Tensor and like.device.type == "cpu" and like.dtype in _MEMORY
    if not is_plain or count * width * like.element_size() < _LARGE:
        return torch.empty(count, width, dtype=dtype, device=device)
    try:
        return over(np.empty((count, width), _MEMORY[like.dtype]), like.dtype)
    except MemoryError:  # torch says so in its own way
        return torch.empty(count, width, dtype=dtype, device=device)


def over_memory_of(trained: Trained) -> Trained:
    """What a step changes, as arrays over the memory of its tensors."""
    block, state, steps, lr_scale = trained
    scale = None if lr_scale is None else as_array(lr_scale)
    return Trained(as_array(block), tuple(map(as_array, state)), as_array(steps), scale)
