"""What a row module accepts from its user, checked before anything is made of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rowtune.errors import IdError, ShapeError


def as_ids(ids: Any) -> Tensor:
    """Ids as a tensor of int32 or int64.

    Raises
    ------
    IdError
        Not a tensor, or not of integers.
    """
    if not isinstance(ids, Tensor):
        raise IdError(f"ids are a {type(ids).__name__}; expected a tensor of integers")
    if ids.dtype in (torch.int64, torch.int32):
        return ids
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise IdError(f"ids have dtype {ids.dtype}; expected integers (ids.long())")
    return ids.long()


def check_shape(weight: Tensor, num_rows: int, width: int) -> None:
    """Raise `ShapeError` where a weight has not the shape that was said beside it."""
    if weight.shape != (num_rows, width):
        raise ShapeError(
            f"_weight has shape {tuple(weight.shape)}; expected ({num_rows}, {width}), "
            "num_embeddings x embedding_dim"
        )


def padding_row(padding_idx: int | None, num_rows: int) -> int | None:
    """The padding id, counted from the front.

    Raises
    ------
    IdError
        Not a row of the table.
    """
    if padding_idx is None:
        return None
    if not -num_rows <= padding_idx < num_rows:
        raise IdError(f"padding_idx is {padding_idx}; expected a row of {num_rows}")
    return padding_idx % num_rows


def as_choice(choice: Any) -> Any:
    """Rows or columns that were chosen with a tensor, as an array."""
    if isinstance(choice, Tensor):
        return choice.detach().cpu().numpy()
    return choice
