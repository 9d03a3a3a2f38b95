"""The base as a tensor: its fingerprint, and whether two hold the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rowtune.base import fingerprint as array_fingerprint
from rowtune.quantized import Quantized
from rowtune.torch.read_only import plain
from rowtune.torch.views import as_bits

if TYPE_CHECKING:
    from rowtune.torch.row_module import RowModule

_PIECE = 1 << 16  # rows


def fingerprint(
    base: Tensor, without: np.ndarray[Any, Any] | None = None, scales: Tensor | None = None
) -> str:
    """SHA-256 of shape, dtype and bytes, the one that `rowtune.base` gives the same array, or the
    same `Quantized`; rows ``without`` (ascending ids) count as zeros.
    """
    on_host = plain(base.detach()).cpu()
    if scales is not None:
        return array_fingerprint(Quantized(on_host.numpy(), scales.cpu().numpy()))
    if on_host.dtype == torch.bfloat16:
        return array_fingerprint(as_bits(on_host), "bfloat16", without)
    return array_fingerprint(on_host.numpy(), without=without)


def fingerprint_of(module: RowModule) -> str:
    """That of a module's base. A file that is mapped is read for it once; what is in memory, its
    owner may have changed since.
    """
    assert module._base is not None
    file = module._mapped
    if module._fingerprint is not None:
        return module._fingerprint
    if file is None or isinstance(file, Tensor):
        return fingerprint(module._base, scales=module._scales)
    module._fingerprint = array_fingerprint(file)
    return module._fingerprint


def is_one_row(base: Tensor) -> bool:
    """Whether one row in memory stands for every frozen one: a padding row that is alone."""
    return len(base) > 1 and base.stride(0) == 0


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two matrices have the same shape, dtype and bits, NaN payloads included."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
        return True
    return all(
        (as_bits(one[at : at + _PIECE].cpu()) == as_bits(other[at : at + _PIECE].cpu())).all()
        for at in range(0, len(one), _PIECE)
    )
