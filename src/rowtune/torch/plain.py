"""Lookup and its gradient in plain torch operations: any device, any mixture of dtypes.

The CPU's kernels in `rowtune.torch.cpu` give the same results, and are compared with these.
Slot -1 is never used as an index: the trainable positions are selected first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rowtune.errors import IdError
from rowtune.torch.stored import rows_at
from rowtune.torch.verbs import sum_duplicates


def slots_of(
    ids: Tensor, num_rows: int, slot_map: Tensor | None, trainable: Tensor | None
) -> Tensor:
    """Slots (n,) int32 of ids (n,), -1 where frozen."""
    good = ((ids >= 0) & (ids < num_rows)).all()
    if ids.device.type == "cpu":
        if not good:
            raise IdError(f"an id is out of range: expected 0 to {num_rows - 1}")
    else:
        # Asking for the answer would make the host wait for the device in every lookup.
        torch._assert_async(good, f"an id is out of range: expected 0 to {num_rows - 1}")
    if slot_map is not None:
        return slot_map.index_select(0, ids)
    if trainable is None:
        return ids.to(torch.int32, copy=True)  # an operator may not give back its own input
    if len(trainable) == 0:
        return torch.full_like(ids, -1, dtype=torch.int32)
    place = torch.searchsorted(trainable, ids.contiguous()).clamp_(max=len(trainable) - 1)
    return torch.where(trainable[place] == ids, place, -1).to(torch.int32)


def take_rows(
    block: Tensor,
    base: Tensor | None,
    added: Tensor | None,
    columns: Tensor | None,
    ids: Tensor,
    slots: Tensor,
    scales: Tensor | None = None,
) -> Tensor:
    """Rows (n, D) in the block's dtype."""
    positions = (slots >= 0).nonzero().squeeze(1)
    width = block.shape[1] if base is None else base.shape[1]
    out = block.new_empty(len(ids), width)
    if base is not None:
        old = ids < len(base)
        if columns is None:
            old = old & (slots < 0)
        frozen = old.nonzero().squeeze(1)
        out[frozen] = rows_at(base, scales, ids[frozen]).to(block.dtype)
    if columns is None:
        out[positions] = block.index_select(0, slots[positions])
        return out
    if base is not None and added is not None:
        new = (ids >= len(base)).nonzero().squeeze(1)
        out[new] = added.index_select(0, ids[new] - len(base)).to(block.dtype)
    out[positions[:, None], columns] = block.index_select(0, slots[positions])
    return out


def sum_into_rows(
    grads: Tensor, slots: Tensor, num_rows: int, by_frequency: bool = False
) -> Tensor:
    """Gradient (num_rows, D) of the block: positions (n, D) summed by slot.

    Half precision is summed in float32 and rounded once.
    """
    positions = (slots >= 0).nonzero().squeeze(1)
    touched = slots[positions].to(torch.int64)
    wide = torch.float32 if grads.element_size() < 4 else grads.dtype
    sums = grads.new_zeros(num_rows, grads.shape[1], dtype=wide)
    sums.index_add_(0, touched, grads.index_select(0, positions).to(wide))
    if by_frequency:
        counts = torch.bincount(touched, minlength=num_rows).clamp_(min=1)
        sums /= counts[:, None]
    return sums.to(grads.dtype)


def sum_by_row(grads: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Touched slots (u,) int64, ascending, and the sums (u, D) of their gradients (n, D).

    Half precision is summed in float32 and rounded once.
    """
    wide = torch.float32 if grads.element_size() < 4 else grads.dtype
    unique, sums = sum_duplicates(slots, grads.to(wide))
    return unique, sums.to(grads.dtype)


def mark(slots: Tensor, stamp: int, pending: Tensor) -> None:
    """Set ``pending`` (k,) to ``stamp`` at the slots (n,) that are not -1."""
    pending.index_fill_(0, slots[slots >= 0].to(torch.int64), stamp)
