"""The verbs of the torch engine, on any device. See `rowtune.step.Verbs`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rowtune.step import Trained


def _where(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(condition, Tensor):
        return torch.where(condition, yes, no)
    return yes if condition else no  # a switch among the hyper-parameters


OPERATIONS: dict[str, Any] = {
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sign": torch.sign,
    "maximum": lambda x, y: torch.maximum(x, torch.as_tensor(y, dtype=x.dtype, device=x.device)),
    "where": _where,
    "row_mean": lambda x: x.sum(dim=-1, keepdim=True) / max(x.shape[-1], 1),
    "row_norm": lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True),
}


def sum_duplicates(slots: Tensor, grads: Tensor) -> tuple[Tensor, Tensor]:
    positions = (slots >= 0).nonzero().squeeze(1)
    unique, group = torch.unique(slots[positions], return_inverse=True)
    sums = grads.new_zeros(len(unique), grads.shape[1])
    return unique.to(torch.int64), sums.index_add_(0, group, grads.index_select(0, positions))


def take(array: Tensor, slots: Tensor) -> Tensor:
    return array.index_select(0, slots)


def put(array: Tensor, slots: Tensor, values: Tensor) -> Tensor:
    return array.index_copy_(0, slots, values)


def cast_like(array: Tensor, like: Tensor) -> Tensor:
    return array.to(like.dtype)


def norms_of(rows: Tensor, norm_type: float = 2.0) -> Tensor:
    """Norms (u,) of rows (u, D) in float64; those whose squares no float64 holds, too."""
    rows = rows.to(torch.float64)
    if rows.numel() == 0:
        return rows.new_zeros(len(rows))
    largest = rows.abs().amax(dim=1)
    unit = torch.where(largest > 0, largest, 1.0)
    norms: Tensor = unit * torch.linalg.vector_norm(rows / unit[:, None], norm_type, dim=1)
    return norms


def shorten(trained: Trained, touched: Tensor, max_norm: float, dtype: torch.dtype) -> None:
    """Scale the rows ``touched`` to ``max_norm`` where they are longer, in place; a row whose
    ``lr_scale`` is 0 stays.
    """
    rows = take(trained.block, touched).to(dtype)
    norms = norms_of(rows)
    longer = norms > max_norm
    if trained.lr_scale is not None:
        longer &= take(trained.lr_scale, touched) > 0
    shorter = rows[longer] * (max_norm / norms[longer]).to(dtype)[:, None]
    put(trained.block, touched[longer], cast_like(shorter, trained.block))
