"""`Embedding`: `torch.nn.Embedding`, of which the chosen rows train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rowtune.rows import Choice
from rowtune.torch.assembled import matrix
from rowtune.torch.checks import check_shape, padding_row
from rowtune.torch.init import Init
from rowtune.torch.row_module import RowModule
from rowtune.torch.stored import as_stored
from rowtune.torch.views import empty_rows


# A subclass of torch's own, because DDP looks for sparse gradients nowhere else.
class Embedding(RowModule, nn.Embedding):  # type: ignore[override]
    """A table of N rows, some of which train; the others keep their bits.

    Arguments, their order and their meaning are those of `torch.nn.Embedding`, and two more.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        N and D.
    padding_idx : int, optional
        A row that never trains, whatever ``train`` says.
    max_norm, norm_type
        As in torch, which rewrites rows as they are looked up; refused where rows are frozen.
    scale_grad_by_freq : bool
        Divide a row's gradient by how often the batch has it; with ``sparse=False``.
    sparse : bool
        Give the block a row-sparse gradient, whose cost follows the batch. For large blocks.
    train : "all", boolean mask of N, ids, or slice
        The rows that train.
    columns : None, boolean mask of D, ids, or slice
        The columns that train in those rows; None means all.

    Attributes
    ----------
    block : RowParameter, k x D: all that ``parameters()`` yields; slot s is row ``rows.ids[s]``
    base : the frozen table (N, D), read-only, None where all rows train
    weight : the whole matrix, assembled at every access

    Raises
    ------
    IdError, ShapeError, FrozenRowError, RuleError
        At construction: ids or a padding row out of range, a wrong shape, ``max_norm`` with frozen
        rows, ``scale_grad_by_freq`` with ``sparse``.

    Notes
    -----
    A plain ``torch.optim`` optimizer works on the block, but is not lazy: it moves every trainable
    row in every step, looked up or not. `rowtune.torch.optim` moves those that were looked up.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
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
        self._begin(weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        self._set_up(as_stored(weight), train, columns, None, _freeze, own=True)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        weights: Any,
        *,
        train: Choice = "all",
        init: Init | None = None,
        columns: Choice | None = None,
        freeze: bool = False,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        dtype: torch.dtype | None = None,
    ) -> Embedding:
        """An embedding over a table that exists.

        Parameters
        ----------
        weights : N x D tensor, array, read-only memory map, or Quantized
            Never written and never copied, but for its trainable rows: keep it as it is. See
            `rowtune.open_table` and `rowtune.quantize`. Of a mapped file of more than 1 GiB,
            ``state_dict()`` holds the fingerprint alone (``save_base = False``).
        init : None, "normal", "kaiming", "mean", "zeros", or array of k x D
            What the trainable rows begin with, in the order of their ids; None leaves them as they
            are in ``weights``.
        freeze : bool
            Train nothing for now: ``block.requires_grad_()`` undoes it.
        dtype : torch.dtype, optional
            Of the block, and of rows that are looked up; None means that of ``weights``, and
            float32 over a `Quantized`.
        """
        stored = as_stored(weights, dtype)
        made = cls.__new__(cls)
        made._begin(stored.values, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        made._set_up(stored, train, columns, init, freeze, own=False)
        return made

    def _begin(self, weight: Tensor, padding_idx: int | None, max_norm: float | None,
               norm_type: float, scale_grad_by_freq: bool, sparse: bool) -> None:  # fmt: skip
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = weight.shape
        self.padding_idx = padding_row(padding_idx, len(weight))
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse

    def forward(self, input: Tensor) -> Tensor:
        """Rows of ids of any shape (+ (D,)).

        Raises
        ------
        IdError
            An id that is negative, not below N, or not an integer.
        """
        return self._rows_of(input)

    def merge(self) -> nn.Embedding:
        """A plain `torch.nn.Embedding` with a copy of the whole table: same rows, all trainable."""
        whole = matrix(self).detach().clone()
        return nn.Embedding(
            self.num_embeddings, self.embedding_dim, self.padding_idx, self.max_norm,
            self.norm_type, self.scale_grad_by_freq, self.sparse, _weight=whole,
        )  # fmt: skip
