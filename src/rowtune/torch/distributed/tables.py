"""The tables of a model, as they are given: trainable rows that exist, or are to be made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rowtune.errors import RuleError
from rowtune.rows import Rows
from rowtune.torch.base import fingerprint, fingerprint_of, is_one_row
from rowtune.torch.distributed.lazy import LazyEmbedding
from rowtune.torch.embedding import Embedding
from rowtune.torch.row_module import RowModule
from rowtune.torch.stored import Stored


@dataclass(frozen=True)
class Given:
    """One table of a model.

    Attributes
    ----------
    name : str
        Of its module; "" where the model is the table.
    total, width : int
        k, and how many columns of a row train.
    rows : Rows or None
        None where all rows train.
    """

    name: str
    module: RowModule | LazyEmbedding
    total: int
    width: int
    dtype: torch.dtype
    rows: Rows | None
    stored: Stored | None
    sparse: bool

    @property
    def shown(self) -> str:
        """Its name in a sentence."""
        return self.name or "the embedding"

    @property
    def padding_idx(self) -> int | None:
        return self.module.padding_idx

    def rows_between(self, first: int, last: int) -> Tensor:
        """What the rows of slots ``first`` to ``last`` - 1 begin with."""
        if isinstance(self.module, LazyEmbedding):
            return self.module.rows_between(first, last)
        return self.module.block.detach()[first:last]

    def unfit(self, ranks: int) -> str:
        """Why TorchRec cannot have this table on so many ranks; empty where it can."""
        module, wrong = self.module, []
        if isinstance(module, RowModule):
            base = module.base
            grown = base is not None and len(base) < module.num_embeddings
            rows_only = module._columns is None
            wrong = [
                (not isinstance(module, Embedding), "it is a bag, and there is no sharded one"),
                (not rows_only, "it trains columns, and TorchRec trains whole rows"),
                (grown, "it has grown; merge it, and make it anew"),
                (module.max_norm is not None, "TorchRec has no max_norm"),
                (module.scale_grad_by_freq, "TorchRec has no scale_grad_by_freq"),
                (not module.block.requires_grad, "its block is frozen, and would move"),
            ]
        wrong += [
            (self.dtype != torch.float32, f"its rows are {self.dtype}, and TorchRec's float32"),
            # Its kernels do not bear a shard without rows.
            (
                -(-self.total // ranks) * (ranks - 1) >= self.total,
                f"ceil({self.total} / {ranks}) rows on each rank leave none for the last",
            ),
        ]
        return next((why for is_so, why in wrong if is_so), "")

    def facts(self, check_base: bool) -> dict[str, str]:
        """What has to be the same on every rank."""
        chosen = b"all" if self.rows is None else self.rows.ids.tobytes()
        table, name = self.module, self.shown
        return {
            f"the class of {name}": type(table).__name__,
            f"the shape of {name}": f"{table.num_embeddings} x {table.embedding_dim}",
            f"the trainable columns of {name}": str(self.width),
            f"the dtype of {name}": str(self.dtype).removeprefix("torch."),
            f"sparse of {name}": str(self.sparse),
            f"the number of trainable rows of {name}": str(self.total),
            f"the hash of the train ids of {name}": hashlib.sha256(chosen).hexdigest(),
            f"the fingerprint of the base of {name}": self.fingerprint() if check_base else "",
        }

    def fingerprint(self) -> str:
        """SHA-256 of the base, or of what all rows begin with; "" where there is none."""
        if self.stored is None or is_one_row(self.stored.values):
            return ""
        if isinstance(self.module, RowModule):
            return fingerprint_of(self.module)
        return fingerprint(self.stored.values, scales=self.stored.scales)


def tables_of(model: nn.Module) -> list[Given]:
    """The tables of a model, each once, by the names of their modules.

    Raises
    ------
    RuleError
        There are none, or one is on "meta".
    """
    found = [_given(name, module) for name, module in model.named_modules()
             if isinstance(module, (RowModule, LazyEmbedding))]  # fmt: skip
    if not found:
        raise RuleError(
            "the model has no rowtune.torch.Embedding, EmbeddingBag or LazyEmbedding to place; "
            "wrap it in torch's DistributedDataParallel"
        )
    for table in found:
        if isinstance(table.module, RowModule) and table.module.block.is_meta:
            raise RuleError(
                f'{table.shown} is on "meta" and has no rows; a LazyEmbedding in its place says '
                "what they begin with, and every rank makes its own"
            )
    return found


def replace(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Put ``new`` wherever a model has ``old``, and give back the model."""
    if model is old:
        return new
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new
    return model


def _given(name: str, module: RowModule | LazyEmbedding) -> Given:
    if isinstance(module, LazyEmbedding):
        return Given(name, module, module.trainable, module.embedding_dim, module.dtype,
                     module.rows, module.stored, module.sparse)  # fmt: skip
    module._settle()
    block = module.block
    rows = None if module.rows.trains_all else module.rows
    stored = None
    if module._base is not None:
        stored = Stored(module._base, module._scales, block.dtype, module._mapped)
    return Given(name, module, len(block), block.shape[1], block.dtype, rows, stored,
                 module.sparse)  # fmt: skip
