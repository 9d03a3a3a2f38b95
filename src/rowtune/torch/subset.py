"""A few rows on their own: a compact leaf, for optimizers that know nothing of tables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rowtune.errors import FrozenRowError, IdError, NonFiniteError, ShapeError
from rowtune.torch.row_module import RowModule


class Subset(nn.Module):
    """Rows of an embedding as a leaf of their own, and a lookup that goes through them.

    The lookup is plain torch, so it can be differentiated as often as one likes. On the whole table
    most of a Hessian's rows are zero and it is singular; on the rows that a cost depends on it need
    not be (the remark on Hessian-free optimization in Theano's FAQ).

    Attributes
    ----------
    ids : int64 tensor (n,)
    values : Parameter (n, D), or (n, columns): a copy of the rows; `write` puts it back
    """

    def __init__(self, embedding: RowModule, ids: Tensor) -> None:
        super().__init__()
        embedding._settle()
        self.ids = ids
        self.values = nn.Parameter(embedding.block.detach()[_slots(embedding, ids)].clone())
        self._embedding = [embedding]  # in a list: its block is not a parameter of this module

    def forward(self, input: Tensor) -> Tensor:
        """Rows of ids of any shape (+ (D,)): this subset's own, all others as constants.

        Raises
        ------
        IdError
            An id out of range.
        """
        embedding = self._embedding[0]
        with torch.no_grad():
            rows = embedding._rows_of(input).reshape(-1, embedding.embedding_dim)
        order = torch.argsort(self.ids)
        flat = input.reshape(-1).to(torch.int64)
        place = torch.searchsorted(self.ids[order], flat).clamp(max=max(0, len(self.ids) - 1))
        own = torch.zeros_like(flat, dtype=torch.bool)
        if len(self.ids):
            own = self.ids[order][place] == flat
        positions = own.nonzero().squeeze(1)
        values = self.values.index_select(0, order[place[positions]])
        if embedding._columns is None:
            rows = rows.index_copy(0, positions, values)
        else:
            chosen = rows[positions].index_copy(1, embedding._columns, values)
            rows = rows.index_copy(0, positions, chosen)
        return rows.reshape(*input.shape, embedding.embedding_dim)

    @torch.no_grad()
    def write(self, values: Tensor | Any | None = None) -> None:
        """Put the rows back into the embedding: ``values`` (n x D, or flat), else this one's own.

        Raises
        ------
        ShapeError, NonFiniteError
            Nothing is written then.
        """
        new = self.values if values is None else torch.as_tensor(values)
        if new.shape not in (self.values.shape, (self.values.numel(),)):
            raise ShapeError(
                f"values have shape {tuple(new.shape)}; expected {tuple(self.values.shape)}"
            )
        embedding = self._embedding[0]
        rows = new.detach().reshape(self.values.shape).to(embedding.block)
        if not torch.isfinite(rows).all():
            raise NonFiniteError(
                f"values hold NaN, infinity, or more than {rows.dtype} can; nothing was written"
            )
        self.values.copy_(rows)
        embedding.block[_slots(embedding, self.ids)] = rows


def subset(embedding: RowModule, ids: Tensor | Any) -> Subset:
    """A compact leaf of trainable rows, for LBFGS, Hessian-vector products, or any optimizer.

    Parameters
    ----------
    embedding : Embedding or EmbeddingBag
    ids : integers (n,), each of them trainable and named once

    Raises
    ------
    FrozenRowError
        A frozen id.
    IdError
        One that is out of range, or named twice.
    """
    given = torch.as_tensor(ids, device=embedding.block.device).reshape(-1)
    if given.dtype == torch.bool:
        raise IdError("ids are a bool mask; expected integers: mask.nonzero()")
    if given.is_floating_point() and given.numel():
        raise IdError(f"ids have dtype {given.dtype}; expected integers")
    given = given.to(torch.int64)
    if len(torch.unique(given)) < len(given):
        raise IdError("subset names a row twice; pass ids.unique()")
    return Subset(embedding, given)


def _slots(embedding: RowModule, ids: Tensor) -> Tensor:
    slots = torch.from_numpy(embedding.rows.slots(ids.cpu().numpy())).to(torch.int64)
    if (slots < 0).any():
        frozen = int(ids[int((slots < 0).nonzero()[0])])
        raise FrozenRowError(f"row {frozen} is frozen; a subset is made of trainable rows")
    return slots.to(embedding.block.device)
