"""Whether a gradient's memory may be kept as it is, because nobody else holds it.

torch's embedding keeps the gradient that came as the values of a row-sparse one, and costs nothing.
But autograd gives the same tensor to both sides of a sum, and a user may hold it: unscaled or
clipped in place it then changes for all of them. Where the counts of references say that the
gradient is this backward pass's alone, it can be kept; else its rows are summed into new memory.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

_Counts = tuple[int, ...]
_use_count: Any = getattr(torch.Tensor, "_use_count", None)  # older versions have it not


def is_ours_alone(grads: tuple[Any, ...]) -> bool:
    """Whether only this backward pass holds ``grads[0]``, all of its memory, and torch made that.

    ``grads`` is the very tuple that an autograd function's ``backward(ctx, *grads)`` has got. What
    a call adds depends on who runs the frames of Python; to the items of a tuple it adds nothing.
    """
    if not isinstance(grads[0], Tensor):
        return False
    alone = _ALONE.get(grads[0]._is_view())
    if alone is None:
        return False
    return (
        all(count <= least for count, least in zip(_references(grads), alone, strict=True))
        and grads[0].is_contiguous()
        and not grads[0].untyped_storage().is_shared()  # with another process
        and grads[0].untyped_storage().nbytes() == grads[0].numel() * grads[0].element_size()
        and grads[0].untyped_storage().resizable()  # else it belongs to NumPy, or whoever lent it
    )


def _references(grads: tuple[Any, ...]) -> _Counts:
    """Of the tensor, its object in Python and its memory; where it is a view of another tensor,
    as after a reshape, of that one too. No local variable may hold any of them.
    """
    own = (
        _use_count(grads[0]),
        sys.getrefcount(grads[0]),
        torch._C._storage_Use_Count(grads[0].untyped_storage()._cdata),
        sys.getrefcount(grads[0].untyped_storage()),
    )
    if grads[0]._base is None:
        return own
    return (*own, _use_count(grads[0]._base), sys.getrefcount(grads[0]._base))


class _Probe(torch.autograd.Function):
    """Counts the references of a gradient that nobody else holds."""

    seen: _Counts = ()

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ARG004
        return rows.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ARG004
        _Probe.seen = _references(grads)
        return grads[0].clone()


def _references_when_alone(*shape: int) -> _Counts:
    """They differ between versions of Python, not with what runs."""
    with _disable_current_modes(), torch.inference_mode(False), torch.enable_grad():
        rows = torch.ones(2, 3, device="cpu", requires_grad=True)
        probed: Tensor = _Probe.apply(rows)  # type: ignore[no-untyped-call]
        shaped = probed.view(shape) if shape else probed
        (shaped * torch.ones_like(shaped)).sum().backward()  # type: ignore[no-untyped-call]
    return _Probe.seen


# By whether the gradient is a view.
_ALONE: dict[bool, _Counts] = {}
if _use_count is not None:
    _ALONE = {False: _references_when_alone(), True: _references_when_alone(3, 2)}
