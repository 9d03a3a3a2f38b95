"""What is not in the processor's memory, as a save reads it and a load writes it."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from rowtune.torch.views import array_of, over


class Copies:
    """Tensors as arrays over their own memory; of those on other devices, copies."""

    def __init__(self) -> None:
        self._made: list[tuple[Tensor, NDArray[Any]]] = []

    def array(self, tensor: Tensor) -> NDArray[Any]:
        """The tensor's own memory, or a copy that `put_back` writes into it."""
        array = array_of(tensor)
        if tensor.device.type != "cpu":
            self._made.append((tensor, array))
        return array

    @torch.no_grad()
    def put_back(self) -> None:
        """The copies have been loaded: write them where they are of."""
        for tensor, array in self._made:
            tensor.copy_(over(array, tensor.dtype))
