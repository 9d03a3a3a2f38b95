"""The custom operators: lookup, and the two forms of its gradient.

Each is opaque to torch.compile and has a fake for it. On the CPU they run the kernels, elsewhere
plain torch operations; what is in between (autograd, autocast, DDP, checkpointing) is torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rowtune.torch import cpu, plain

_LOOKUP = (
    "(Tensor block, Tensor? base, Tensor? added, Tensor? columns, Tensor? slot_map, "
    "Tensor? trainable, Tensor pending, Tensor ids, int num_rows, bool sparse, bool by_frequency)"
    " -> (Tensor, Tensor)"
)


@torch.library.custom_op("rowtune::lookup", mutates_args=(), schema=_LOOKUP)
def lookup(
    block: Tensor,
    base: Tensor | None,
    added: Tensor | None,
    columns: Tensor | None,
    slot_map: Tensor | None,
    trainable: Tensor | None,
    pending: Tensor,  # noqa: ARG001 - marked by the backward pass
    ids: Tensor,
    num_rows: int,
    sparse: bool,  # noqa: ARG001 - and these two say which
    by_frequency: bool,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    """Rows of ids, ids.shape + (D,) in the block's dtype, and the slots (n,) that they came from.

    Parameters
    ----------
    block : (k, D), or (k, C) with ``columns`` (C,) int64
    base : (b, D) of any float dtype; None where no row is frozen
    added : (g, D), rows b to b + g, for their frozen columns
    slot_map : int32 (num_rows,), or None: then ``trainable`` int64 (k,) is searched, or all train
    pending : uint8 (k,), in which the backward pass marks the slots of a dense gradient; empty
        where nobody asks
    sparse : whether the gradient is a COO tensor, duplicates as they are
    by_frequency : whether a dense gradient is divided by how often a row was looked up

    Raises
    ------
    IdError
        An id that is negative or not below ``num_rows``.
    """
    on = cpu if block.device.type == "cpu" else plain
    flat = ids.reshape(-1)
    slots = on.slots_of(flat, num_rows, slot_map, trainable)
    rows = on.take_rows(block, base, added, columns, flat, slots)
    return rows.view(*ids.shape, rows.shape[1]), slots


@lookup.register_fake
def _(block: Tensor, base: Tensor | None, *arguments: Any) -> tuple[Tensor, Tensor]:
    ids = arguments[5]
    width = block.shape[1] if base is None else base.shape[1]
    return block.new_empty(*ids.shape, width), ids.new_empty(ids.numel(), dtype=torch.int32)


@torch.library.custom_op(
    "rowtune::sum_into_rows",
    mutates_args=(),
    schema="(Tensor grads, Tensor slots, int num_rows, bool by_frequency) -> Tensor",
)
def sum_into_rows(grads: Tensor, slots: Tensor, num_rows: int, by_frequency: bool) -> Tensor:
    """The dense gradient (num_rows, C) of the block, from those of the positions (n, C)."""
    on = cpu if grads.device.type == "cpu" else plain
    summed: Tensor = on.sum_into_rows(grads, slots, num_rows, by_frequency)
    return summed


@sum_into_rows.register_fake
def _(grads: Tensor, slots: Tensor, num_rows: int, by_frequency: bool) -> Tensor:  # noqa: ARG001
    return grads.new_empty(num_rows, grads.shape[1])


@torch.library.custom_op(
    "rowtune::mark", mutates_args=("pending",), schema="(Tensor slots, Tensor(a!) pending) -> ()"
)
def mark(slots: Tensor, pending: Tensor) -> None:
    """Set ``pending`` (k,) to 1 at the slots (n,) that are not -1."""
    on = cpu if slots.device.type == "cpu" else plain
    on.mark(slots, pending)


@mark.register_fake
def _(slots: Tensor, pending: Tensor) -> None:  # noqa: ARG001
    return None


@torch.library.custom_op(
    "rowtune::gradient_by_position",
    mutates_args=(),
    schema="(Tensor grads, Tensor slots, int num_rows) -> Tensor",
)
def gradient_by_position(grads: Tensor, slots: Tensor, num_rows: int) -> Tensor:
    """The row-sparse gradient (num_rows, C) of the block, uncoalesced: one entry a position."""
    on = cpu if grads.device.type == "cpu" else plain
    touched, values = on.by_position(grads, slots)
    return by_row(touched, values, num_rows)


@gradient_by_position.register_fake
def _(grads: Tensor, slots: Tensor, num_rows: int) -> Tensor:
    # As if every position were trainable; nothing that torch traces depends on how many are.
    return by_row(slots.new_empty(len(slots), dtype=torch.int64), torch.empty_like(grads), num_rows)


def by_row(slots: Tensor, values: Tensor, num_rows: int) -> Tensor:
    """A row-sparse matrix (num_rows, C) of the rows ``slots`` (n,), which may repeat."""
    # Says that the indices need no checking: torch warns where it is left open.
    return torch.sparse_coo_tensor(
        slots[None], values, (num_rows, values.shape[1]), check_invariants=False
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    block, _, _, columns, _, _, pending, _, _, ctx.sparse, ctx.by_frequency = inputs
    ctx.save_for_backward(output[1], columns)
    # Not saved the usual way: a second lookup's backward pass may mark it before this one's does.
    ctx.pending = pending
    ctx.num_rows = block.shape[0]
    ctx.mark_non_differentiable(output[1])


def _lookup_backward(ctx: Any, grads: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    slots, columns = ctx.saved_tensors
    flat = grads.reshape(-1, grads.shape[-1])
    if columns is not None:
        flat = flat.index_select(1, columns)
    if ctx.sparse:
        grad = gradient_by_position(flat, slots, ctx.num_rows)
    else:
        grad = sum_into_rows(flat, slots, ctx.num_rows, ctx.by_frequency)
        if len(ctx.pending) == ctx.num_rows:
            mark(slots, ctx.pending)
    return grad, *[None] * 10


lookup.register_autograd(_lookup_backward, setup_context=_remember)


def no_second_derivative(ctx: Any, *grads: Any) -> Any:
    raise NotImplementedError(
        "the gradient of a lookup has no derivative of its own here; for second derivatives take "
        "the rows out: rowtune.torch.subset(embedding, ids)"
    )


sum_into_rows.register_autograd(no_second_derivative)
gradient_by_position.register_autograd(no_second_derivative)
