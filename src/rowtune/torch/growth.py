"""New trainable rows at the end of a table, under an optimizer that goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from rowtune.errors import ShapeError
from rowtune.torch import rooms
from rowtune.torch.init import Init, rows_like
from rowtune.torch.parameter import RowParameter

if TYPE_CHECKING:
    from rowtune.torch.row_module import RowModule


def grow(module: RowModule, rows_or_count: Any, init: Init) -> Tensor:
    """See `RowModule.grow`."""
    count, init = _how_many(rows_or_count, init, module.embedding_dim)
    block, first = module.block, module.num_embeddings
    table = block.detach() if module._base is None else module._base
    new = rows_like(init, count, table, None, module._scales, block.dtype)
    own = new if module._columns is None else new.index_select(1, module._columns)
    rows, added = module.rows.grown(count), _with_added(module, new)
    enlarge([(block, own)])
    module._added, module.rows = added, rows
    module.num_embeddings += count
    module._place(block.device)
    return torch.arange(first, first + count)


def _with_added(module: RowModule, new: Tensor) -> Tensor | None:
    """Rows as they were when they were added, for their frozen columns."""
    if module._columns is None:
        return module._added
    old = new[:0] if module._added is None else module._added
    return rooms.grown(module.block.memory, "added", old, len(old) + len(new), new)


def _how_many(rows_or_count: Any, init: Init, width: int) -> tuple[int, Init]:
    if isinstance(rows_or_count, int) and not isinstance(rows_or_count, bool):
        if rows_or_count < 0:
            raise ShapeError(f"cannot grow by {rows_or_count} rows; expected 0 or more")
        return rows_or_count, init
    shape = tuple(rows_or_count.shape) if hasattr(rows_or_count, "shape") else None
    if shape is None:
        rows_or_count = torch.tensor(rows_or_count)
        shape = tuple(rows_or_count.shape)
    if len(shape) != 2 or shape[1] != width:
        raise ShapeError(f"new rows have shape {shape}; expected (how many, {width}), or a number")
    return shape[0], rows_or_count


def enlarge(blocks: Iterable[tuple[RowParameter, Tensor]]) -> None:
    """Add rows (g, D) at the end of each block (k, D), to all of them or to none.

    Raises
    ------
    RuntimeError
        Something still expects a gradient in the old shape.
    """
    done: list[_Before] = []
    try:
        for block, new in blocks:
            before = _Before.of(block)
            _enlarge(before, new)
            done.append(before)
    except BaseException:
        for before in done:
            before.restore()
        raise


class _Before(NamedTuple):
    """A block, and what it was when it was to grow."""

    block: RowParameter
    rows: Tensor
    grad: Tensor | None
    marks: Tensor | None  # as `RowParameter.keep` takes them

    @classmethod
    def of(cls, block: RowParameter) -> _Before:
        grad = block.grad
        sparse = grad is not None and grad.is_sparse  # then it is its own record
        marks = grad._indices()[0] if grad is not None and sparse else block.touched()
        return cls(block, block.data, grad, marks)

    def restore(self) -> None:
        self.block.grad, self.block.data = None, self.rows
        self.block.start_record()
        self.block.grad = self.grad
        self.block.keep(self.marks)


def _enlarge(before: _Before, new: Tensor) -> None:
    """The same parameter with more rows: an optimizer, and whoever else holds it, keeps it."""
    block, rows, grad, marks = before
    larger = rooms.grown(block.memory, "block", rows, len(rows) + len(new), new)
    block.grad = None
    block.data = larger
    node = torch.autograd.graph.get_gradient_edge(block).node if block.requires_grad else None
    shapes = [tuple(m.shape) for m in node._input_metadata] if node is not None else []
    if shapes and shapes[0] != tuple(block.shape):
        block.data, block.grad = rows, grad
        raise RuntimeError(
            "the embedding cannot grow now: something still expects its gradient in the old shape. "
            "Run backward on every loss that was computed and drop it (`del loss`) first; grow "
            "before wrapping the model in DistributedDataParallel, and wrap it anew after"
        )
    block.extend_record()
    if grad is not None:
        block.grad = _taller(grad, len(new))
        if marks is not None and not grad.is_sparse:
            marks = torch.cat([marks, marks.new_zeros(len(new))])
        block.keep(marks)


def _taller(grad: Tensor, count: int) -> Tensor:
    """A gradient that waits for its step, with zeros for rows that are new."""
    if not grad.is_sparse:
        return torch.cat([grad, grad.new_zeros(count, grad.shape[1])])
    shape = (len(grad) + count, *grad.shape[1:])
    return torch.sparse_coo_tensor(
        grad._indices(), grad._values(), shape, device=grad.device,
        is_coalesced=grad.is_coalesced(), check_invariants=False,
    )  # fmt: skip
