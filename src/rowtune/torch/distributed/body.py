"""What DDP wraps: the model, the roll call of its lookups, and tables that a pass has not used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from rowtune.errors import IdError
from rowtune.torch.distributed.agreement import RollCall
from rowtune.torch.distributed.tie import tie
from rowtune.torch.row_module import RowModule


class Body(nn.Module):
    """A model whose forward pass ends on all ranks, or on none.

    Parameters
    ----------
    whole : tables under DDP, which are part of ``module``
    """

    def __init__(self, module: nn.Module, whole: Sequence[RowModule], roll: RollCall) -> None:
        super().__init__()
        self.module = module
        self._whole = tuple(whole)  # a tuple, so that they are not modules of this one twice
        self._roll = roll
        self._used: set[int] = set()
        for table in self._whole:
            # Not a method: a copy of the model is not to be one of this, and of its process group.
            table.register_forward_pre_hook(partial(_note, self._used))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._used.clear()
        self._roll.begin()
        output, error = None, None
        try:
            output = self.module(*args, **kwargs)
        except Exception as own:
            if self._roll.failed:  # every rank knows
                raise
            error = own
        self._roll.end(error)
        return tie(output, [*self._roll.loose, *self._unused()])

    def _unused(self) -> list[torch.Tensor]:
        if not torch.is_grad_enabled():
            return []
        return [
            table._rows_of(torch.empty(0, dtype=torch.int64, device=table.block.device))
            for table in self._whole
            if id(table) not in self._used and table.block.requires_grad
        ]


def _note(used: set[int], table: nn.Module, args: tuple[Any, ...]) -> None:
    """A table is looked up. Wrong ids raise here where torch would look only later, on the device:
    this rank alone would fail then.
    """
    assert isinstance(table, RowModule)
    used.add(id(table))
    ids = args[0] if args else None
    if not isinstance(ids, torch.Tensor) or ids.device.type == "cpu" or not ids.numel():
        return
    if not bool(((ids >= 0) & (ids < table.num_embeddings)).all()):
        raise IdError(f"an id is out of range: expected 0 to {table.num_embeddings - 1}")
