"""Lookup and its gradient on the CPU: the compiled kernels, over the tensors' own memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from rowtune.kernels import gather, scatter, widening
from rowtune.kernels.grouping import Groups, group
from rowtune.torch import memory, plain
from rowtune.torch.views import as_array, as_bits, empty_bits

_SUMMED = (torch.float32, torch.float64)
# What a kernel widens to float32, and the integers that its bits are.
_NARROW = {torch.int8: torch.int8, torch.float16: torch.int16, torch.bfloat16: torch.int16}


def slots_of(
    ids: Tensor, num_rows: int, slot_map: Tensor | None, trainable: Tensor | None
) -> Tensor:
    """Slots (n,) int32 of ids (n,), -1 where frozen."""
    arrays = [None if t is None else as_array(t) for t in (slot_map, trainable)]
    return torch.from_numpy(gather.slots_of(as_array(ids), num_rows, *arrays))


def take_rows(
    block: Tensor,
    base: Tensor | None,
    added: Tensor | None,
    columns: Tensor | None,
    ids: Tensor,
    slots: Tensor,
    scales: Tensor | None = None,
) -> Tensor:
    """Rows (n, D) in the block's dtype: one pass, from base and block into the output."""
    if base is not None and columns is None and can_widen(block, base, scales):
        return _widened(block, base, ids, slots, scales)
    if scales is not None or not _same_bits(block, base, added):
        return plain.take_rows(block, base, added, columns, ids, slots, scales)
    width = block.shape[1] if base is None else base.shape[1]
    out, bits = empty_bits((len(ids), width), block.dtype)
    base_rows, base_step = rows_and_step(block if base is None else base, as_bits)
    own, where, which = as_bits(block), as_array(ids), as_array(slots)
    if columns is None:
        gather.take_rows(base_rows, base_step, own, where, which, bits)
    else:
        new = base_rows[:0] if added is None else as_bits(added)
        gather.take_columns(
            base_rows,
            base_step,
            0 if base is None else len(base),
            new,
            own,
            as_array(columns),
            where,
            which,
            bits,
        )
    return out


def can_widen(block: Tensor, base: Tensor, scales: Tensor | None) -> bool:
    """Whether a kernel can widen the base's rows to the block's on their way."""
    return (
        block.dtype == torch.float32
        and base.dtype in _NARROW
        and (scales is not None) == (base.dtype == torch.int8)
        and block.is_contiguous()
        and base.is_contiguous()
    )


def codes_of(base: Tensor) -> NDArray[Any]:
    """int8 codes, or the bits of half precision as uint16."""
    codes: NDArray[Any] = base.detach().view(_NARROW[base.dtype]).numpy()
    return codes if base.dtype == torch.int8 else codes.view("u2")


def _widened(
    block: Tensor, base: Tensor, ids: Tensor, slots: Tensor, scales: Tensor | None
) -> Tensor:
    codes = codes_of(base)
    own, where, which = as_array(block), as_array(ids), as_array(slots)
    out = memory.empty((len(ids), base.shape[1]), own.dtype)
    if scales is not None:
        widening.take_scaled(codes, as_array(scales), own, where, which, out)
    else:
        bits = own.view("u4"), out.view("u4")
        widening.take_bits(codes, base.dtype == torch.float16, bits[0], where, which,
                           bits[1])  # fmt: skip
    return torch.from_numpy(out)


def can_sum(block: Tensor, base: Tensor | None, scales: Tensor | None = None) -> bool:
    """Whether a kernel can add up rows of both."""
    if block.device.type == "cpu" and base is not None and can_widen(block, base, scales):
        return True
    return (
        scales is None
        and block.device.type == "cpu"
        and block.dtype in _SUMMED
        and _same_bits(block, base, None)
    )


def _same_bits(block: Tensor, base: Tensor | None, added: Tensor | None) -> bool:
    """Whether rows can be copied as they are; another dtype or layout must be converted."""
    if not block.is_contiguous():
        return False
    if added is not None and not (added.dtype == block.dtype and added.is_contiguous()):
        return False
    return base is None or (
        base.dtype == block.dtype and (base.is_contiguous() or _is_one_row(base))
    )


def _is_one_row(base: Tensor) -> bool:
    return base.stride(0) == 0 and base.stride(1) == 1


def rows_and_step(base: Tensor, view: Callable[[Tensor], NDArray[Any]]) -> tuple[NDArray[Any], int]:
    """The rows in memory, and how many of them to go on from one id to the next."""
    if len(base) > 1 and _is_one_row(base):
        return view(base[:1]), 0
    return view(base), 1


def sum_into_rows(
    grads: Tensor, slots: Tensor, num_rows: int, by_frequency: bool = False
) -> Tensor:
    """Gradient (num_rows, D) of the block: positions (n, D) summed by slot."""
    if grads.dtype not in _SUMMED or by_frequency:
        return plain.sum_into_rows(grads, slots, num_rows, by_frequency)
    return dense(group(as_array(slots)), as_array(grads), num_rows)


def sum_by_row(grads: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Touched slots (u,) int64, ascending, and the sums (u, D) of their gradients (n, D)."""
    if grads.dtype not in _SUMMED:
        return plain.sum_by_row(grads, slots)
    return by_row(group(as_array(slots)), as_array(grads))


def dense(groups: Groups, grads: NDArray[Any], num_rows: int) -> Tensor:
    """The sums of the groups in a gradient of all rows."""
    out = memory.empty((num_rows, grads.shape[1]), grads.dtype)
    scatter.sum_into_rows(groups, grads, out)
    return torch.from_numpy(out)


def by_row(groups: Groups, grads: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Touched slots and the sums of their groups."""
    # torch resizes what it adds to a gradient of no rows: its own memory, not NumPy's.
    unique = torch.from_numpy(groups.unique).to(torch.int64)
    if not len(unique):
        kind = torch.from_numpy(grads[:0]).dtype
        return unique, torch.empty((0, grads.shape[1]), dtype=kind, device="cpu")
    out = memory.empty((len(unique), grads.shape[1]), grads.dtype)
    scatter.sum_groups(groups, grads, out)
    return unique, torch.from_numpy(out)


def mark(slots: Tensor, stamp: int, pending: Tensor) -> None:
    """Set ``pending`` (k,) to ``stamp`` at the slots (n,) that are not -1."""
    scatter.mark(as_array(slots), stamp, as_array(pending))
