"""The whole matrix on request: differentiable, and refusing writes that would go nowhere."""

from __future__ import annotations

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
        name = getattr(func, "__name__", "")
        if _writes(name) and args and isinstance(args[0], AssembledWeight):
            raise FrozenRowError(
                "weight is assembled anew at every access, and writing to it changes nothing; "
                "write the trainable rows: embedding.block.data[...]"
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        return _guarded(result, args)


def _writes(name: str) -> bool:
    in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
    return in_place or name in {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__"}


def _guarded(result: Any, args: Any) -> Any:
    """A result that shares the matrix's memory refuses writes too."""
    if not args or not isinstance(args[0], AssembledWeight):
        return result
    if isinstance(result, Tensor) and not isinstance(result, AssembledWeight):
        with torch._C.DisableTorchFunctionSubclass():
            mine = args[0].untyped_storage().data_ptr()
            shares = result.layout == torch.strided and result.untyped_storage().data_ptr() == mine
            return result.as_subclass(AssembledWeight) if shares else result
    if type(result).__module__ == "numpy" and hasattr(result, "flags"):
        result.flags.writeable = False
    return result


def matrix(module: RowModule) -> Tensor:
    """The matrix (N, D) in the block's dtype, as a plain tensor; a new copy."""
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
    whole = matrix(module)
    return whole if torch.compiler.is_compiling() else whole.as_subclass(AssembledWeight)
