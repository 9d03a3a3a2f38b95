"""The base as a tensor: its fingerprint, and whether two hold the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rowtune.base import fingerprint as array_fingerprint
from rowtune.torch.views import as_bits

_PIECE = 1 << 16  # rows


def fingerprint(base: Tensor, without: np.ndarray[Any, Any] | None = None) -> str:
    """SHA-256 of shape, dtype and bytes, the one that `rowtune.base` gives the same array; rows
    ``without`` (ascending ids) count as zeros.
    """
    on_host = base.detach().cpu()
    if on_host.dtype == torch.bfloat16:
        return array_fingerprint(as_bits(on_host), "bfloat16", without)
    return array_fingerprint(on_host.numpy(), without=without)


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
