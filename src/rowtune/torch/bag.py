"""`EmbeddingBag`: `torch.nn.EmbeddingBag`, of which the chosen rows train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rowtune.errors import ShapeError
from rowtune.rows import Choice
from rowtune.torch import bag_ops, cpu
from rowtune.torch.assembled import matrix
from rowtune.torch.checks import as_ids, check_shape, padding_row
from rowtune.torch.init import Init
from rowtune.torch.row_module import RowModule
from rowtune.torch.stored import as_stored
from rowtune.torch.views import empty_rows


class EmbeddingBag(RowModule, nn.EmbeddingBag):  # type: ignore[override]
    """Sums, means or maxima over bags of rows of a table, some of which train.

    Arguments, their order and their meaning are those of `torch.nn.EmbeddingBag`; ``train``,
    ``columns`` and the attributes are those of `rowtune.torch.Embedding`. A padding row neither
    trains nor counts in its bag. Unlike torch's, ``mode="max"`` may have a sparse gradient.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
        *,
        train: Choice = "all",
        columns: Choice | None = None,
    ) -> None:
        weight = _weight
        if weight is not None:
            check_shape(weight, num_embeddings, embedding_dim)
        else:
            weight = empty_rows(num_embeddings, embedding_dim, dtype, device).normal_()
            if padding_idx is not None:
                weight[padding_row(padding_idx, num_embeddings)] = 0
        self._begin(weight, max_norm, norm_type, scale_grad_by_freq, mode, sparse,
                    include_last_offset, padding_idx)  # fmt: skip
        self._set_up(as_stored(weight), train, columns, None, freeze=False, own=True)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        weights: Any,
        *,
        train: Choice = "all",
        init: Init | None = None,
        columns: Choice | None = None,
        freeze: bool = False,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> EmbeddingBag:
        """An embedding bag over a table that exists: see `Embedding.from_pretrained`."""
        stored = as_stored(weights, dtype)
        made = cls.__new__(cls)
        made._begin(stored.values, max_norm, norm_type, scale_grad_by_freq, mode, sparse,
                    include_last_offset, padding_idx)  # fmt: skip
        made._set_up(stored, train, columns, init, freeze, own=False)
        return made

    def _begin(self, weight: Tensor, max_norm: float | None, norm_type: float,
               scale_grad_by_freq: bool, mode: str, sparse: bool, include_last_offset: bool,
               padding_idx: int | None) -> None:  # fmt: skip
        if mode not in ("sum", "mean", "max"):
            raise ShapeError(f"mode={mode!r}; expected sum, mean or max")
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = weight.shape
        self.padding_idx = padding_row(padding_idx, len(weight))
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        """Bags x D, from ids of shape (bags, n), or (n,) with the ``offsets`` at which bags begin.

        Raises
        ------
        IdError
            An id that is negative, not below N, or not an integer.
        ShapeError
            Offsets with two-dimensional ids, or none with one-dimensional ones.
        """
        input = as_ids(input)
        bounds, ids = self._bounds(input, offsets), input.reshape(-1)
        weights = self._weights_of(per_sample_weights, input)
        fused = (
            self.mode != "max"
            and self._columns is None
            and not (self.scale_grad_by_freq or self.max_norm is not None)
            and (weights is None or not weights.requires_grad)
            and cpu.can_sum(self.block, self._base, self._scales)
        )
        if not fused:
            # Elsewhere than on the CPU the host would have to wait for the answer.
            if bounds.device.type == "cpu" and not torch.compiler.is_compiling():
                bag_ops.check_bounds(bounds, ids.shape[0])
            return self._by_rows(ids, bounds, weights)
        self._settle(ids)
        return bag_ops.bags_of(
            self.block, self._base, self._slot_map, self._trainable, self._pending(), ids, bounds,
            weights, self.num_embeddings, -1 if self.padding_idx is None else self.padding_idx,
            self.mode == "mean", self.sparse, scales=self._scales,
        )  # fmt: skip

    def _bounds(self, input: Tensor, offsets: Tensor | None) -> Tensor:
        """Where bags begin, and where the last one ends: int64 (bags + 1,)."""
        if input.dim() == 2 and offsets is None:
            bags, size = input.shape
            return torch.arange(bags + 1, device=input.device) * size
        if input.dim() == 1 and offsets is not None:
            offsets = self._checked(offsets)
            if self.include_last_offset:
                return offsets
            return torch.cat([offsets, offsets.new_full((1,), input.shape[0])])
        raise ShapeError(
            f"ids have shape {tuple(input.shape)} and offsets are "
            f"{'missing' if offsets is None else 'given'}; expected ids (bags, n) alone, or "
            "ids (n,) with offsets"
        )

    def _checked(self, offsets: Tensor) -> Tensor:
        if offsets.dim() != 1 or offsets.dtype not in (torch.int64, torch.int32):
            raise ShapeError(
                f"offsets have shape {tuple(offsets.shape)} and dtype {offsets.dtype}; expected "
                "integers, where each bag begins"
            )
        return offsets.to(torch.int64)

    def _weights_of(self, per_sample_weights: Tensor | None, input: Tensor) -> Tensor | None:
        if per_sample_weights is None:
            return None
        if self.mode != "sum" or per_sample_weights.shape != input.shape:
            raise ShapeError(
                f"per_sample_weights have shape {tuple(per_sample_weights.shape)}; expected "
                f'{tuple(input.shape)}, as the ids have, and mode="sum" (it is {self.mode!r})'
            )
        if per_sample_weights.dtype != self.block.dtype:
            raise ShapeError(
                f"per_sample_weights have dtype {per_sample_weights.dtype}; expected "
                f"{self.block.dtype}, as the rows have"
            )
        return per_sample_weights.reshape(-1).contiguous()

    def _by_rows(self, ids: Tensor, bounds: Tensor, weights: Tensor | None) -> Tensor:
        """The same from a lookup and torch's own bags: any mode, dtype and device."""
        rows = self._rows_of(ids)
        # The rows of this batch are a small table of their own, in which the n-th id is row n.
        places = torch.arange(ids.shape[0], device=ids.device)
        padding = None
        if self.padding_idx is not None:
            # Padded positions share one more row, which torch then leaves out of every bag.
            padding = ids.shape[0]
            places = places.masked_fill(ids == self.padding_idx, padding)
            rows = functional.pad(rows, (0, 0, 0, 1))  # not cat, which autocast refuses halves
        return functional.embedding_bag(
            places, rows, bounds, mode=self.mode, per_sample_weights=weights,
            include_last_offset=True, padding_idx=padding,
        )  # fmt: skip

    def merge(self) -> nn.EmbeddingBag:
        """A plain `torch.nn.EmbeddingBag` with a copy of the whole table."""
        whole = matrix(self).detach().clone()
        return nn.EmbeddingBag(
            self.num_embeddings, self.embedding_dim, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.mode, self.sparse, whole, self.include_last_offset,
            self.padding_idx,
        )  # fmt: skip
