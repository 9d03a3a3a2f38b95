"""Lookups that nobody uses on this rank, made part of the backward pass all the same.

DDP waits for a gradient of every block, and TorchRec for every rank: a table that a forward pass
has not used is looked up with an empty batch, whose rows are tied to what the model gives back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from rowtune.errors import RuleError


class _Tie(torch.autograd.Function):
    """The first ``count`` tensors as they are; their backward pass is that of the others, too."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Any:
        ctx.loose = [(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors[count:]]
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        nothing = [torch.zeros(s, dtype=t, device=d) for s, t, d in ctx.loose]
        return (None, *grads, *nothing)


def tie(output: Any, loose: list[Tensor]) -> Any:
    """``output``, whose backward pass goes through ``loose`` as well.

    Parameters
    ----------
    output : tensor, or tuples, lists and dictionaries of them

    Raises
    ------
    RuleError
        There is no tensor in it that could have a gradient.
    """
    if not loose:
        return output
    leaves, form = pytree.tree_flatten(output)
    of_floats = [i for i, x in enumerate(leaves) if isinstance(x, Tensor) and x.is_floating_point()]
    places = [i for i in of_floats if leaves[i].requires_grad] or of_floats[:1]
    if not places:
        raise RuleError(
            f"the model gives back a {type(output).__name__} without a tensor of floats; expected "
            "one that a loss is made of, since other ranks wait for a backward pass"
        )
    tied = _Tie.apply(len(places), *(leaves[i] for i in places), *loose)  # type: ignore[no-untyped-call]
    for place, tensor in zip(places, tied, strict=True):
        leaves[place] = tensor
    return pytree.tree_unflatten(leaves, form)
