"""The custom operators: lookup, and the two forms of its gradient.

Each is opaque to torch.compile and has a fake for it. On the CPU they run the kernels, elsewhere
plain torch operations; what is in between (autograd, autocast, DDP, checkpointing) is torch's own.
Where nobody can tell the difference, their functions are called directly: `rowtune.torch.eager`.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from rowtune.kernels.scatter import none_frozen
from rowtune.torch import cpu, plain
from rowtune.torch.eager import nobody_looks_on, refuse_tangents
from rowtune.torch.ownership import is_ours_alone
from rowtune.torch.parameter import leave, stamp
from rowtune.torch.views import as_array


def on(device: torch.device) -> Any:
    """The room whose functions work there: `cpu` or `plain`."""
    return cpu if device.type == "cpu" else plain


_LOOKUP = (
    "(Tensor block, Tensor? base, Tensor? added, Tensor? columns, Tensor? slot_map, "
    "Tensor? trainable, Tensor pending, Tensor ids, int num_rows, bool sparse, bool by_frequency, "
    "Tensor? scales=None) -> (Tensor, Tensor)"
)


def _lookup(
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
    scales: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rows of ids, ids.shape + (D,) in the block's dtype, and the slots (n,) that they came from.

    Parameters
    ----------
    block : (k, D), or (k, C) with ``columns`` (C,) int64
    base : (b, D) of any float dtype, or int8 codes; None where no row is frozen
    added : (g, D), rows b to b + g, for their frozen columns
    slot_map : int32 (num_rows,), or None: then ``trainable`` int64 (k,) is searched, or all train
    pending : int32 (k,), in which the backward pass marks its slots; empty where nobody asks
    sparse : whether the gradient is a sparse tensor of the touched rows
    by_frequency : whether a dense gradient is divided by how often a row was looked up
    scales : float32 (b,), what a row of int8 codes is multiplied with

    Raises
    ------
    IdError
        An id that is negative or not below ``num_rows``.
    """
    flat = ids.reshape(-1)
    slots = on(block.device).slots_of(flat, num_rows, slot_map, trainable)
    rows = on(block.device).take_rows(block, base, added, columns, flat, slots, scales)
    # Not a view, which torch would not let its user change in place.
    return rows.new_empty(0).set_(rows.view(*ids.shape, rows.shape[1])), slots


lookup = torch.library.custom_op("rowtune::lookup", _lookup, mutates_args=(), schema=_LOOKUP)


@lookup.register_fake
def _(block: Tensor, base: Tensor | None, *arguments: Any) -> tuple[Tensor, Tensor]:
    ids = arguments[5]
    width = block.shape[1] if base is None else base.shape[1]
    return block.new_empty(*ids.shape, width), ids.new_empty(ids.numel(), dtype=torch.int32)


# Both mark the slots in ``pending``, and torch takes no derivative of an operator that changes one
# of its arguments; `once_differentiable` says so to those who ask for it.
def _dense_gradient(
    grads: Tensor, slots: Tensor, pending: Tensor, num_rows: int, by_frequency: bool
) -> Tensor:
    """The gradient (num_rows, C) of the block, from those of the positions (n, C)."""
    mark(slots, pending, num_rows)
    made: Tensor = on(grads.device).sum_into_rows(grads, slots, num_rows, by_frequency)
    return made


dense_gradient = torch.library.custom_op(
    "rowtune::dense_gradient",
    _dense_gradient,
    mutates_args=("pending",),
    schema="(Tensor grads, Tensor slots, Tensor(a!) pending, int num_rows, bool by_frequency)"
    " -> Tensor",
)


@dense_gradient.register_fake
def _(grads: Tensor, slots: Tensor, pending: Tensor, num_rows: int, by_frequency: bool) -> Tensor:  # noqa: ARG001
    return grads.new_empty(num_rows, grads.shape[1])


def _row_gradient(grads: Tensor, slots: Tensor, pending: Tensor, num_rows: int) -> Tensor:
    """The same as a sparse tensor of the touched rows, coalesced.

    torch's own embedding leaves the positions as they are, in the very memory of the gradient that
    came. Two of them that are added share it, and unscaling or clipping in place then counts twice.
    """
    unique, sums = on(grads.device).sum_by_row(grads, slots)
    mark(unique, pending, num_rows)
    return sparse_rows(unique, sums, num_rows)


row_gradient = torch.library.custom_op(
    "rowtune::row_gradient",
    _row_gradient,
    mutates_args=("pending",),
    schema="(Tensor grads, Tensor slots, Tensor(a!) pending, int num_rows) -> Tensor",
)


@row_gradient.register_fake
def _(grads: Tensor, slots: Tensor, pending: Tensor, num_rows: int) -> Tensor:  # noqa: ARG001
    # As if no slot came twice; nothing that torch traces depends on how many do.
    unique = slots.new_empty(slots.shape[0], dtype=torch.int64)
    return sparse_rows(unique, torch.empty_like(grads), num_rows)


def mark(slots: Tensor, pending: Tensor, num_rows: int) -> None:
    """Mark the slots that this backward pass meets; not where nobody keeps a record."""
    # Not of no slots either: what NumPy has seen can no longer be resized, and torch resizes those.
    if len(pending) == num_rows and len(slots):
        on(slots.device).mark(slots, stamp(), pending)


def sparse_rows(slots: Tensor, values: Tensor, num_rows: int, summed: bool = True) -> Tensor:
    """A row-sparse matrix (num_rows, C) of the rows ``slots`` (u,): where it is ``summed``,
    ascending and each once.
    """
    # Says that the indices need no checking: torch warns where it is left open.
    return torch.sparse_coo_tensor(
        slots[None], values, (num_rows, values.shape[1]), device=values.device, is_coalesced=summed,
        check_invariants=False,
    )  # fmt: skip


class _Once(torch.autograd.Function):
    """The gradient as it is, and an error for its derivative."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, grads: Tensor) -> Tensor:  # noqa: ARG004
        return grad.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(
            "the gradient of a lookup has no derivative of its own here; for second derivatives "
            "take the rows out: rowtune.torch.subset(embedding, ids)"
        )


def without_grad() -> Any:
    """`torch.no_grad` only where there is a mode to leave: Ctrl-C on its way out would keep it."""
    return torch.no_grad() if torch.is_grad_enabled() else nullcontext()


def once_differentiable(grad: Tensor, grads: Tensor) -> Tensor:
    """``grad``, made from ``grads``; to differentiate it once more is an error that says so."""
    if torch.is_grad_enabled() and grads.requires_grad:
        made: Tensor = _Once.apply(grad, grads)  # type: ignore[no-untyped-call]
        return made
    return grad


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    block, _, _, columns, _, _, pending, _, _, ctx.sparse, ctx.by_frequency, _ = inputs
    ctx.save_for_backward(output[1], columns)
    # Not saved the usual way: a second lookup's backward pass may mark it before this one's does.
    ctx.pending = pending
    ctx.num_rows = block.shape[0]
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # nor zeros made for the slots, which have no gradient


def _lookup_backward(
    ctx: Any, grads: Tensor | None, _: Tensor | None, alone: bool = False
) -> tuple[Tensor | None, ...]:
    if grads is None:
        return (None,) * 12
    slots, columns = ctx.saved_tensors
    keep = alone and ctx.sparse and columns is None and not torch.is_grad_enabled()
    with without_grad():
        flat = grads.reshape(slots.shape[0], grads.shape[-1])
        if columns is not None:
            flat = flat.index_select(1, columns)
        directly = nobody_looks_on(flat, slots)
        grad: Tensor
        if ctx.sparse and directly:
            leave(slots, ctx.pending)
            if keep and _may_keep(flat, slots):
                grad = sparse_rows(slots.to(torch.int64), flat, ctx.num_rows, summed=False)
            else:
                nothing = ctx.pending[:0]  # so that none is marked
                grad = _row_gradient(flat, slots, nothing, ctx.num_rows)
        elif ctx.sparse:
            grad = row_gradient(flat, slots, ctx.pending, ctx.num_rows)
        else:
            fill = _dense_gradient if directly else dense_gradient
            grad = fill(flat, slots, ctx.pending, ctx.num_rows, ctx.by_frequency)
    return once_differentiable(grad, grads), *[None] * 11


def _may_keep(grads: Tensor, slots: Tensor) -> bool:
    """Whether ``grads`` can be the values of a row-sparse gradient as they are, unsummed: then the
    optimizer sums them in the pass that moves the rows, and no byte is written for it before.
    """
    # Half precision is summed in float32, which torch would not do.
    summed_alike = grads.dtype in (torch.float32, torch.float64)
    return summed_alike and grads.device.type == "cpu" and none_frozen(as_array(slots))


lookup.register_autograd(_lookup_backward, setup_context=_remember)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        output = _lookup(*inputs)
        _remember(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        alone = is_ours_alone(grads)  # before the call below refers to them once more
        return _lookup_backward(ctx, grads[0], None, alone)


def rows_of(block: Tensor, *others: Any, scales: Tensor | None = None) -> Tensor:
    """The rows alone that `lookup` gives for the same arguments."""
    *tensors, _, _, _ = others
    refuse_tangents(block)
    call: Any = _Lookup.apply if nobody_looks_on(block, *tensors, scales) else lookup
    rows: Tensor = call(block, *others, scales)[0]
    return rows
