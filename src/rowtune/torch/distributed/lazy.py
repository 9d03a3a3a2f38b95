"""A table whose trainable rows are not made yet: each rank makes those that it will hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from rowtune.errors import IdError, RuleError, ShapeError
from rowtune.rows import Choice, Rows
from rowtune.torch.checks import as_choice
from rowtune.torch.embedding import Embedding
from rowtune.torch.stored import Stored, as_stored, guarded, rows_at
from rowtune.torch.views import empty_rows

FirstRows: TypeAlias = str | Callable[[int, int], Tensor] | None

# Rows that share a seed. What a row begins with does not depend on who makes it.
_DRAWN_TOGETHER = 1 << 16
_DRAWN = ("normal", "kaiming", "zeros")


class LazyEmbedding(nn.Module):
    """Stands in a model until `rowtune.torch.distributed.distribute` makes the table.

    All rows train, and no base is kept. For a table of which most rows are frozen see
    `from_pretrained`.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        N and D.
    init : "normal", "kaiming", "zeros", or a function of (first, last)
        What the rows begin with. A function gives those of slots ``first`` to ``last`` - 1, as a
        tensor of (last - first) x D; it is asked for parts of the block, and on every rank for
        others.
    sparse : bool
        A row-sparse gradient, where the table goes to DDP.
    dtype : torch.dtype
        TorchRec has float32 alone.
    seed : int
        Of the rows that are drawn: the same on every rank, and for any number of ranks.

    Raises
    ------
    ShapeError, IdError
        At construction.
    RuleError
        When it is called: `distribute` puts the table into its place.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        init: FirstRows = "normal",
        sparse: bool = True,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_embeddings < 0 or embedding_dim < 1:
            raise ShapeError(f"a table of {num_embeddings} x {embedding_dim}; expected N x D")
        if init is None:
            raise ShapeError("init=None keeps the rows of a table; LazyEmbedding.from_pretrained")
        self._begin(num_embeddings, embedding_dim, None, None, init, sparse, dtype, seed)

    @classmethod
    def from_pretrained(
        cls,
        base: Any,
        *,
        train: Choice = "all",
        init: FirstRows = None,
        padding_idx: int | None = None,
        sparse: bool = True,
        seed: int = 0,
    ) -> LazyEmbedding:
        """Over a table that exists, of which some rows train.

        Parameters
        ----------
        base : N x D tensor, array, read-only memory map or `rowtune.Quantized`
            Never written. Give every rank a map of the same file, and the machine has it once.
        train : "all", boolean mask of N, ids, or slice
        init : None, or as above
            None: the trainable rows begin as they are in ``base``, bit for bit.
        padding_idx : int, optional
            A row that never trains.
        """
        stored = as_stored(base)
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        rows, width = stored.values.shape
        made._begin(rows, width, stored, as_choice(train), init, sparse, stored.dtype, seed)
        made._weights = base
        if padding_idx is not None:
            raise_unless_row(padding_idx, rows)
            ids = Rows(rows, as_choice(train)).ids
            made.rows = Rows(rows, ids[ids != padding_idx % rows])
            made.padding_idx = padding_idx % rows
        return made

    def _begin(self, rows: int, width: int, stored: Stored | None, train: Any, init: FirstRows,
               sparse: bool, dtype: torch.dtype, seed: int) -> None:  # fmt: skip
        if isinstance(init, str) and init not in _DRAWN:
            raise ShapeError(
                f"init={init!r}; expected one of {', '.join(_DRAWN)}, or a function of (first, "
                "last) that gives the rows of these slots"
            )
        self.num_embeddings, self.embedding_dim = rows, width
        self.padding_idx: int | None = None
        self.stored, self.sparse, self.dtype = stored, sparse, dtype
        self._weights: Any = None
        # Where all rows train there are no ids to list: at 50M rows they take 400 MB.
        every = train is None or (isinstance(train, str) and train == "all")
        self.rows: Rows | None = None if every else Rows(rows, train)
        self._init, self._seed = init, seed

    @property
    def trainable(self) -> int:
        """k, the rows of the block."""
        return self.num_embeddings if self.rows is None else len(self.rows)

    @property
    def base(self) -> Tensor | None:
        """The frozen storage (N, D), a view that refuses writes; None where there is none."""
        return None if self.stored is None else guarded(self.stored.values)

    def rows_between(self, first: int, last: int) -> Tensor:
        """What the trainable rows of slots ``first`` to ``last`` - 1 begin with."""
        if self._init is None:
            assert self.stored is not None
            ids = torch.arange(first, last)
            if self.rows is not None:
                ids = torch.from_numpy(self.rows.ids[first:last].copy())
            return rows_at(self.stored.values, self.stored.scales, ids)
        if not isinstance(self._init, str):
            return self._asked(self._init(first, last), last - first)
        made = empty_rows(last - first, self.embedding_dim, self.dtype).zero_()
        if self._init != "zeros":
            for piece in range(first // _DRAWN_TOGETHER, -(-last // _DRAWN_TOGETHER)):
                begin = piece * _DRAWN_TOGETHER
                drawn = self._drawn(piece)
                lo, hi = max(first, begin), min(last, begin + len(drawn))
                made[lo - first : hi - first] = drawn[lo - begin : hi - begin]
        return made

    def _drawn(self, piece: int) -> Tensor:
        count = min(_DRAWN_TOGETHER, self.trainable - piece * _DRAWN_TOGETHER)
        chance = torch.Generator().manual_seed((self._seed << 32) + piece)
        rows = torch.empty(count, self.embedding_dim, dtype=self.dtype)
        if self._init == "normal":
            return rows.normal_(generator=chance)
        bound = math.sqrt(6.0 / self.embedding_dim)
        return rows.uniform_(-bound, bound, generator=chance)

    def _asked(self, rows: Tensor, count: int) -> Tensor:
        if tuple(rows.shape) != (count, self.embedding_dim):
            raise ShapeError(
                f"init gave rows of shape {tuple(rows.shape)}; expected "
                f"({count}, {self.embedding_dim})"
            )
        return rows.detach().to(self.dtype)

    def whole(self) -> Embedding:
        """The table in this process alone, all of its rows made."""
        rows = self.rows_between(0, self.trainable)
        if self.stored is None or self.rows is None:
            return Embedding(self.num_embeddings, self.embedding_dim, sparse=self.sparse,
                             _weight=rows)  # fmt: skip
        return Embedding.from_pretrained(
            self._weights, train=self.rows.ids, init=rows, sparse=self.sparse,
            padding_idx=self.padding_idx,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:  # noqa: ARG002
        """Refused: the rows are not made yet.

        Raises
        ------
        RuleError
        """
        raise RuleError(
            "a LazyEmbedding has no rows yet; call rowtune.torch.distributed.distribute(model, ...)"
        )

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, {self.trainable} rows will train"


def raise_unless_row(padding_idx: int, rows: int) -> None:
    """Raise `IdError` for a padding row that a table has not."""
    if not -rows <= padding_idx < rows:
        raise IdError(f"padding_idx is {padding_idx}; expected a row of {rows}")
