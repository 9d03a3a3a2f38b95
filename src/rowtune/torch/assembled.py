"""The whole matrix on request: differentiable, and refusing writes that would go nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rowtune.errors import FrozenRowError

if TYPE_CHECKING:
    from rowtune.torch.row_module import RowModule


class AssembledWeight(Tensor):
    """A copy of the matrix, N x D, into which nothing can be written.

    ``embedding.weight[3] = x`` would change a copy that is thrown away, and look as if it had
    worked. Every other operation gives plain tensors; views of it refuse writes as well.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _writes(getattr(func, "__name__", ""), args, kwargs):
            raise FrozenRowError(
                "weight is assembled anew at every access, and writing to it changes nothing; "
                "write the trainable rows: embedding.block.data[...]"
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        if not args or not isinstance(args[0], AssembledWeight):
            return result
        memory = _memory_of(args[0])
        if isinstance(result, Iterator):  # a loop over the rows
            return iter([_guarded(part, memory) for part in result])
        return _guarded(result, memory)


# Of functions that end in an underscore, those that write nothing.
_HARMLESS = {"requires_grad_", "retain_grad_", "share_memory_"}
_WRITE = {"__setitem__", "__set__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__"}


def _writes(name: str, args: Any, kwargs: Any) -> bool:
    """Whether a call of a function by that name would write into an assembled weight."""
    out = kwargs.get("out")
    outs = out if isinstance(out, (tuple, list)) else [out]
    if any(isinstance(o, AssembledWeight) for o in outs):
        return True
    in_place = name.endswith("_") and not name.endswith("__") and name not in _HARMLESS
    # Functions such as torch.nn.init's give their tensor by name.
    target = args[0] if args else next(iter(kwargs.values()), None)
    return (in_place or name in _WRITE) and isinstance(target, AssembledWeight)


def _memory_of(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0


def _guarded(result: Any, memory: int) -> Any:
    """A result that shares the matrix's memory refuses writes too."""
    if isinstance(result, (tuple, list)) and not hasattr(result, "_fields"):
        return type(result)(_guarded(part, memory) for part in result)
    if isinstance(result, Tensor) and not isinstance(result, AssembledWeight):
        with torch._C.DisableTorchFunctionSubclass():
            shares = _memory_of(result) == memory
            return result.as_subclass(AssembledWeight) if shares else result
    if type(result).__module__ == "numpy" and hasattr(result, "flags"):
        result.flags.writeable = False
    return result


def matrix(module: RowModule) -> Tensor:
    """The matrix (N, D) in the block's dtype, as a plain tensor; a new copy."""
    module._settle()
    block, base, columns = module.block, module.base, module._columns
    if base is None:
        return block
    ids = torch.from_numpy(module.rows.ids.copy()).to(block.device)
    whole = base.to(block.dtype)
    if len(base) < module.num_embeddings:
        rest = module._added if module._added is not None else whole.new_empty(0, base.shape[1])
        blank = whole.new_zeros(module.num_embeddings - len(base) - len(rest), base.shape[1])
        whole = torch.cat([whole, rest.to(block.dtype), blank])
    if columns is None:
        return whole.index_copy(0, ids, block)
    rows = whole.index_select(0, ids).index_copy(1, columns, block)
    return whole.index_copy(0, ids, rows)


def weight(module: RowModule) -> Tensor:
    """`matrix`, guarded against writes."""
    return guarded(matrix(module))


def guarded(whole: Tensor) -> Tensor:
    """A matrix that was made for this look at it, so that writing to it changed nothing."""
    return whole if torch.compiler.is_compiling() else whole.as_subclass(AssembledWeight)
