"""Tensors in a `RowMemory`: rows that are added cost what they hold.

On the CPU a tensor here is one over the first rows of a larger array of NumPy's. To torch its
storage is these rows and no more, so whatever saves, copies or sends a storage leaves the spare
room behind.
"""

from __future__ import annotations

import torch
from numpy.typing import DTypeLike
from torch import Tensor

from rowtune.row_memory import RowMemory
from rowtune.torch.views import as_array


def zeros(memory: RowMemory, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Tensor:
    """A new tensor on the CPU, in place of the one called ``name``."""
    return torch.from_numpy(memory.zeros(name, shape, dtype))


def grown(
    memory: RowMemory, name: str, tensor: Tensor, length: int, value: Tensor | float
) -> Tensor:
    """``tensor`` and rows behind it, ``length`` in all, with ``value`` in those that are new.

    On the CPU it shares the memory of ``tensor`` while there is room; on other devices it is new.

    Raises
    ------
    MemoryError, OSError
        No room can be had; everything is as it was.
    """
    known = len(tensor)
    if tensor.device.type == "cpu":
        # NumPy has no bfloat16, and bits need none.
        bits = tensor.detach().view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        larger = torch.from_numpy(memory.grown(name, as_array(bits), length - known))
        larger = larger.view(tensor.dtype)
    else:
        larger = tensor.new_empty(length, *tensor.shape[1:])
        larger[:known] = tensor
    larger[known:] = value
    return larger


def keeps_all(memory: RowMemory, tensors: dict[str, Tensor]) -> bool:
    """Whether all of ``tensors`` may stay where they are."""
    return all(
        tensor.device.type != "cpu" or memory.keeps(name, as_array(tensor))
        for name, tensor in tensors.items()
    )


def kept(memory: RowMemory, name: str, tensor: Tensor) -> Tensor:
    """``tensor`` itself, or where ``memory`` wants it in a place of its own, a copy there."""
    if keeps_all(memory, {name: tensor}):
        return tensor
    array = as_array(tensor)
    return zeros(memory, name, array.shape, array.dtype).copy_(tensor)
