"""When an operator may be called past torch's dispatcher.

A registered operator costs about 0.1 ms a call before it does anything, forward and backward, as
much as the rows of a small batch. It is needed where somebody looks on: a compiler or tracer, a
transform such as vmap, a mode such as fake tensors, a tensor of another kind. Elsewhere nobody can
tell its function, called directly, from the operator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rowtune.torch.parameter import RowParameter

_PLAIN = (Tensor, RowParameter, torch.nn.Parameter, type(None))


def nobody_looks_on(*tensors: Any) -> bool:
    """Whether ``tensors`` are plain ones, and no compiler, tracer, transform or mode is at work."""
    return (
        not torch.compiler.is_compiling()
        and all(map(_is_plain, tensors))
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._get_tracing_state() is None
    )


def _is_plain(tensor: Any) -> bool:
    """Nor one without bytes, or one whose sign torch has not turned yet."""
    return type(tensor) in _PLAIN and (
        tensor is None or not (tensor.is_meta or tensor.is_neg() or tensor._is_zerotensor())
    )


def refuse_tangents(block: Tensor) -> None:
    """Raise where a forward derivative is asked for: an operator would say that it is 0.

    Raises
    ------
    NotImplementedError
        The block has a tangent.
    """
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return
    unpack: Any = forward_ad.unpack_dual
    if unpack(block).tangent is not None:
        raise NotImplementedError(
            "a lookup has no forward derivative here; take the rows out: "
            "rowtune.torch.subset(embedding, ids)"
        )
