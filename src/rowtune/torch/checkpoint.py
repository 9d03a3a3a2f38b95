"""A table as a state dict holds it, in whichever parts, and any of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rowtune.torch import plain
from rowtune.torch.read_only import plain as plain_tensor
from rowtune.torch.stored import rows_at

KEYS = ("weight", "block", "row_ids", "columns", "base", "base_scales", "added",
        "base_fingerprint")  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """The parts of one table: ``weight`` alone, or a block, the ids of its rows, and the rest.

    ``base`` is None where it was left out. One row of it may stand for every frozen one.
    """

    block: Tensor  # (k, D) or (k, columns)
    row_ids: Tensor  # (k,) ascending, on the CPU
    base: Tensor | None
    added: Tensor | None
    columns: Tensor | None
    scales: Tensor | None = None  # (N,) of a base of int8 codes

    @classmethod
    def of(cls, parts: Mapping[str, Tensor]) -> Checkpoint | None:
        """From a state dict's tensors by their last names; None where the rows are missing."""
        parts = {name: plain_tensor(tensor) for name, tensor in parts.items()}
        if "weight" in parts:
            weight = parts["weight"]
            return cls(weight, torch.arange(len(weight)), weight[:0], None, None)
        if "block" not in parts or "row_ids" not in parts:
            return None
        base, ids = parts.get("base"), parts["row_ids"].cpu()
        if base is not None and len(base) == 1:
            base = base.expand(max(1, len(ids) + ("columns" not in parts)), -1)
        scales = parts.get("base_scales")
        return cls(parts["block"], ids, base, parts.get("added"), parts.get("columns"), scales)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D) of the table."""
        rows = 0 if self.base is None else len(self.base)
        if len(self.row_ids):
            rows = max(rows, int(self.row_ids[-1]) + 1)
        one = self.base is not None and self.base.stride(0) == 0 and len(self.base) > 1
        if one and self.columns is None:
            rows = len(self.row_ids) + 1
        width = self.block.shape[1] if self.columns is None else self._frozen().shape[1]
        return rows, int(width)

    @property
    def frozen_dtype(self) -> torch.dtype:
        """The dtype of the rows that were frozen; of the block where none were."""
        if self.scales is not None:
            return torch.float32
        return self.block.dtype if self.base is None or not len(self.base) else self.base.dtype

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows (n, D) of ids (n,), as they were when this was saved."""
        slots = plain.slots_of(ids, self.shape[0], None, self.row_ids)
        base = self._frozen()
        return plain.take_rows(
            self.block.detach().to("cpu", dtype), base, self.added, self.columns, ids, slots,
            self._scales()
        )  # fmt: skip

    def original(self, ids: Tensor) -> Tensor:
        """The base's rows (n, D) of ids (n,), even where others were trained in their place."""
        base = self._frozen()
        known = (ids < len(base)).nonzero().squeeze(1)
        rows = self.rows(ids, self.frozen_dtype)
        rows[known] = rows_at(base, self._scales(), ids[known])
        return rows

    def trains(self, ids: Tensor) -> Tensor:
        """Whether each of ids (n,) was trainable; bool (n,)."""
        return plain.slots_of(ids, self.shape[0], None, self.row_ids) >= 0

    def _scales(self) -> Tensor | None:
        return None if self.scales is None else self.scales.detach().cpu()

    def _frozen(self) -> Tensor:
        if self.base is None:
            return self.block.detach().cpu()[:0]
        return self.base.detach().cpu()
