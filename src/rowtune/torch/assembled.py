"""The whole matrix on request: differentiable, and refusing writes that would go nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rowtune.torch.read_only import ReadOnly
from rowtune.torch.stored import widened

if TYPE_CHECKING:
    from rowtune.torch.row_module import RowModule


class AssembledWeight(ReadOnly):
    """A copy of the matrix, N x D, into which nothing can be written.

    ``embedding.weight[3] = x`` would change a copy that is thrown away, and look as if it had
    worked.
    """

    refusal = (
        "weight is assembled anew at every access, and writing to it changes nothing; "
        "write the trainable rows: embedding.block.data[...]"
    )


def matrix(module: RowModule) -> Tensor:
    """The matrix (N, D) in the block's dtype, as a plain tensor; a new copy."""
    module._settle()
    block, base, columns = module.block, module._base, module._columns
    if base is None:
        return block
    chosen = module.rows
    # A graph that is traced knows arrays that exist, and cannot make one.
    ids = torch.arange(len(chosen)) if chosen.trains_all else torch.from_numpy(chosen.ids.copy())
    ids = ids.to(block.device)
    whole = widened(base, module._scales).to(block.dtype)
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
