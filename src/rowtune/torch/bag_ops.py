"""The custom operators of bags on the CPU: sums and means without the rows in between."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rowtune.errors import ShapeError
from rowtune.kernels import bags, widened_bags
from rowtune.kernels.grouping import group
from rowtune.signals import returned
from rowtune.torch import cpu, memory, ops
from rowtune.torch.eager import nobody_looks_on, refuse_tangents
from rowtune.torch.parameter import leave
from rowtune.torch.views import as_array

_BAGS = (
    "(Tensor block, Tensor? base, Tensor? slot_map, Tensor? trainable, Tensor pending, Tensor ids, "
    "Tensor bounds, Tensor? weights, int num_rows, int padding, bool mean, bool sparse, "
    "Tensor? scales=None) -> (Tensor, Tensor)"
)


def _sum_bags(
    block: Tensor,
    base: Tensor | None,
    slot_map: Tensor | None,
    trainable: Tensor | None,
    pending: Tensor,  # noqa: ARG001 - marked by the backward pass
    ids: Tensor,
    bounds: Tensor,
    weights: Tensor | None,
    num_rows: int,
    padding: int,
    mean: bool,
    sparse: bool,  # noqa: ARG001 - for the backward pass
    scales: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sums (or means) of the rows of ids (n,) between ``bounds`` (bags + 1,), and the slots (n,).

    The other arguments are those of `rowtune.torch.ops.lookup`; ``padding`` is -1 or an id that
    counts nowhere, ``weights`` (n,) multiply the rows.

    Raises
    ------
    IdError
        An id out of range.
    ShapeError
        Bounds that do not begin at 0, do not ascend, or end beyond the ids.
    """
    slots = cpu.slots_of(ids, num_rows, slot_map, trainable)
    check_bounds(bounds, len(ids))
    where = as_array(bounds)
    own = as_array(block)
    given = own[:0, 0] if weights is None else as_array(weights)
    out = memory.empty((len(where) - 1, block.shape[1]), own.dtype)
    if base is not None and cpu.can_widen(block, base, scales):
        widened_bags.sum_widened_bags(
            cpu.codes_of(base), None if scales is None else as_array(scales),
            base.dtype == torch.float16, own, as_array(ids), as_array(slots), where, given,
            padding, mean, out,
        )  # fmt: skip
        return torch.from_numpy(out), slots
    base_rows, base_step = (own, 1) if base is None else cpu.rows_and_step(base, as_array)
    bags.sum_bags(
        base_rows, base_step, own, as_array(ids), as_array(slots), where, given, padding, mean, out,
    )  # fmt: skip
    return torch.from_numpy(out), slots


sum_bags = torch.library.custom_op("rowtune::sum_bags", _sum_bags, mutates_args=(), schema=_BAGS)


def check_bounds(bounds: Tensor, positions: int) -> None:
    """Raise `ShapeError` where bags do not begin at 0, do not ascend, or do not end at the end."""
    if not len(bounds) or not bags.bounds_are_right(as_array(bounds), positions):
        raise ShapeError(
            f"offsets do not fit {positions} ids; expected ascending ones from 0 to at most "
            f"{positions}, the last of them {positions} with include_last_offset"
        )


@sum_bags.register_fake
def _(block: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    ids, bounds = arguments[4:6]
    return (
        block.new_empty(bounds.shape[0] - 1, block.shape[1]),
        ids.new_empty(ids.shape[0], dtype=torch.int32),
    )


def _bag_gradient(
    grads: Tensor, slots: Tensor, ids: Tensor, bounds: Tensor, weights: Tensor | None,
    pending: Tensor, num_rows: int, padding: int, mean: bool, sparse: bool,
) -> Tensor:  # fmt: skip
    """The gradient (num_rows, D) of the block, from those of the bags: row-sparse or dense."""
    groups, rows = group(as_array(slots)), as_array(grads)
    ops.mark(torch.from_numpy(groups.unique), pending, num_rows)
    if weights is None and not mean:
        # A position's gradient is its bag's, and need not be written out.
        groups = groups._replace(
            order=returned(bags.bag_of, as_array(bounds), len(slots))[groups.order]
        )
    else:
        by_position = memory.empty((len(slots), rows.shape[1]), rows.dtype)
        bags.spread_over_positions(
            rows, as_array(ids), as_array(bounds),
            rows.reshape(-1)[:0] if weights is None else as_array(weights), padding, mean,
            by_position,
        )  # fmt: skip
        rows = by_position
    if sparse:
        return ops.sparse_rows(*cpu.by_row(groups, rows), num_rows)
    return cpu.dense(groups, rows, num_rows)


bag_gradient = torch.library.custom_op(
    "rowtune::bag_gradient",
    _bag_gradient,
    mutates_args=("pending",),
    schema="(Tensor grads, Tensor slots, Tensor ids, Tensor bounds, Tensor? weights,"
    " Tensor(a!) pending, int num_rows, int padding, bool mean, bool sparse) -> Tensor",
)


@bag_gradient.register_fake
def _(grads: Tensor, slots: Tensor, *arguments: Any) -> Tensor:
    num_rows, sparse = arguments[4], arguments[7]
    if not sparse:
        return grads.new_empty(num_rows, grads.shape[1])
    values = grads.new_empty(slots.shape[0], grads.shape[1])
    return ops.sparse_rows(slots.new_empty(slots.shape[0], dtype=torch.int64), values, num_rows)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    block, _, _, _, pending, ids, bounds, weights, _, *flags, _ = inputs
    ctx.padding, ctx.mean, ctx.sparse = flags
    ctx.save_for_backward(output[1], ids, bounds, weights)
    ctx.pending = pending  # not saved the usual way: see `rowtune.torch.ops`
    ctx.num_rows = block.shape[0]
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # nor zeros made for the slots, which have no gradient


def _backward(ctx: Any, grads: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grads is None:
        return (None,) * 13
    slots, ids, bounds, weights = ctx.saved_tensors
    with ops.without_grad():
        make: Any = bag_gradient
        pending = ctx.pending
        if nobody_looks_on(grads, slots):
            make = _bag_gradient
            if ctx.sparse:
                leave(slots, pending)
                pending = pending[:0]  # so that none is marked
        grad: Tensor = make(
            grads.contiguous(), slots, ids, bounds, weights, pending, ctx.num_rows,
            ctx.padding, ctx.mean, ctx.sparse,
        )  # fmt: skip
    return ops.once_differentiable(grad, grads), *[None] * 12


sum_bags.register_autograd(_backward, setup_context=_remember)


class _SumBags(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        output = _sum_bags(*inputs)
        _remember(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _backward(ctx, *grads)


def bags_of(block: Tensor, *others: Any, scales: Tensor | None = None) -> Tensor:
    """The sums alone that `sum_bags` gives for the same arguments."""
    *tensors, _, _, _, _ = others
    refuse_tangents(block)
    call: Any = _SumBags.apply if nobody_looks_on(block, *tensors, scales) else sum_bags
    sums: Tensor = call(block, *others, scales)[0]
    return sums
