"""From the gradient of a block to slots and rows of gradients, whichever form it has."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, distributed

from rowtune.errors import ShapeError
from rowtune.kernels.scatter import ascend, rows_to_move
from rowtune.torch.parameter import RowParameter
from rowtune.torch.views import as_array


class RowGradient(NamedTuple):
    """Gradients by slot."""

    slots: Tensor  # (n,), -1 where a row stays
    grads: Tensor  # (n, D)
    unique: bool  # whether slots ascend and none but -1 comes twice


def row_gradient(parameter: Tensor, grad: Tensor | None = None) -> RowGradient:
    """The gradient of a block, whichever form it has; its own where no other ``grad`` is given.

    Touched means looked up. A row-sparse gradient says which rows those are. A dense one has the
    record of its lookups, and rows that are not zero: they have a gradient from elsewhere.
    """
    own = grad is None
    grad = parameter.grad if grad is None else grad
    assert grad is not None
    if grad.is_sparse:
        if grad.sparse_dim() != 1:
            raise ShapeError(
                f"a sparse gradient has {grad.sparse_dim()} sparse dimensions; expected one: rows"
            )
        slots = grad._indices()[0]
        # torch forgets that a gradient is coalesced when it accumulates it.
        on_cpu = slots.device.type == "cpu" and len(slots)
        unique = ascend(as_array(slots)) if on_cpu else grad.is_coalesced()
        return RowGradient(slots, grad._values(), unique)
    record = _record(parameter) if own else None
    if grad.device.type == "cpu" and grad.dtype in (torch.float32, torch.float64):
        marks = None if record is None else as_array(record)
        grad = grad.contiguous()
        return RowGradient(torch.from_numpy(rows_to_move(as_array(grad), marks)), grad, True)
    moves = (grad != 0).any(dim=1)
    if record is not None:
        moves |= record
    slots = torch.arange(len(grad), device=grad.device, dtype=torch.int32)
    return RowGradient(slots.masked_fill(~moves, -1), grad, True)


def _record(parameter: Tensor) -> Tensor | None:
    """Which rows were looked up; None where only the gradient's own rows may count.

    Replicas of several processes share a dense gradient, but not their records of it. They have to
    move the same rows, so there the gradient alone decides.
    """
    if not isinstance(parameter, RowParameter):
        return None
    in_group = distributed.is_available() and distributed.is_initialized()
    if in_group and distributed.get_world_size() > 1:
        return None
    return parameter.touched()
