"""The ways to train chosen rows of a pretrained table in torch: what people use, and ours.

Each is a module over the same N x D float32 table with the same k scattered trainable ids. A way
may store the table in another order of its own: `prepared` turns ids into its ids, before any clock
runs. None of them copies the table that it is given where it can avoid it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rowtune.torch as rt


class Way(nn.Module):
    def prepared(self, ids: Tensor) -> Tensor:
        return ids

    def whole(self) -> Tensor:
        """The N x D table as it is now, in the user's order."""
        raise NotImplementedError


class AllTrained(Way):
    """A plain embedding: every row trains, also those that should not."""

    def __init__(self, table: Tensor, _trainable: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(table, freeze=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embedding(ids)

    def whole(self) -> Tensor:
        return self.embedding.weight.detach()


class GradientMask(AllTrained):
    """A hook blanks the gradient of the frozen rows.

    In place and by row number: that was faster than a product with a mask of N numbers, on the
    gradient of the table or on that of the output.
    """

    def __init__(self, table: Tensor, trainable: Tensor) -> None:
        super().__init__(table, trainable)
        is_frozen = torch.ones(len(table), dtype=torch.bool)
        is_frozen[trainable] = False
        self.frozen = is_frozen.nonzero().squeeze(1)
        self.embedding.weight.register_hook(lambda grad: grad.index_fill_(0, self.frozen, 0.0))


class CopyInForward(Way):
    """The k trainable rows are a parameter that each forward writes into the table."""

    def __init__(self, table: Tensor, trainable: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)
        self.trainable = trainable
        self.rows = nn.Parameter(table[trainable])

    def forward(self, ids: Tensor) -> Tensor:
        # In place; to sort the table so that a slice can be written made the backward slower.
        table = self.table.detach_().index_copy_(0, self.trainable, self.rows)
        return F.embedding(ids, table)

    def whole(self) -> Tensor:
        return self.table.detach().index_copy(0, self.trainable, self.rows.detach())


class TwoTables(Way):
    """Frozen and trainable rows apart, each looked up with clamped ids, and a `where` over both.

    The vocabulary is numbered anew, trainable ids last; that happens before the clock runs.
    """

    def __init__(self, table: Tensor, trainable: Tensor) -> None:
        super().__init__()
        is_frozen = torch.ones(len(table), dtype=torch.bool)
        is_frozen[trainable] = False
        frozen = is_frozen.nonzero().squeeze(1)
        self.num_frozen = len(frozen)
        self.new_id = torch.empty(len(table), dtype=torch.long)
        self.new_id[torch.cat((frozen, trainable))] = torch.arange(len(table))
        self.frozen = nn.Embedding.from_pretrained(table[frozen])
        self.trained = nn.Embedding.from_pretrained(table[trainable], freeze=False)

    def prepared(self, ids: Tensor) -> Tensor:
        return self.new_id[ids]

    def forward(self, ids: Tensor) -> Tensor:
        from_frozen = self.frozen(ids.clamp(max=self.num_frozen - 1))
        from_trained = self.trained((ids - self.num_frozen).clamp(min=0))
        return torch.where((ids < self.num_frozen).unsqueeze(-1), from_frozen, from_trained)

    def whole(self) -> Tensor:
        return torch.cat((self.frozen.weight, self.trained.weight)).detach()[self.new_id]


class Peft(Way):
    """TrainableTokens of the PEFT library, through its public interface."""

    def __init__(self, table: Tensor, trainable: Tensor) -> None:
        super().__init__()
        import peft  # takes seconds, and most processes that count memory do without

        bare = nn.Sequential(nn.Embedding.from_pretrained(table))
        config = peft.TrainableTokensConfig(token_indices=trainable.tolist(), target_modules=["0"])
        self.model = peft.get_peft_model(bare, config)

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids)

    def whole(self) -> Tensor:
        layer = self.model.base_model.model[0]
        return layer.get_merged_weights(layer.active_adapters).detach()


class Ours(Way):
    def __init__(self, table: Tensor, trainable: Tensor, sparse: bool) -> None:
        super().__init__()
        self.embedding = rt.Embedding.from_pretrained(table, train=trainable, sparse=sparse)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embedding(ids)

    def whole(self) -> Tensor:
        return self.embedding.weight.detach()


class OursDense(Ours):
    def __init__(self, table: Tensor, trainable: Tensor) -> None:
        super().__init__(table, trainable, sparse=False)


class OursSparse(Ours):
    def __init__(self, table: Tensor, trainable: Tensor) -> None:
        super().__init__(table, trainable, sparse=True)


WAYS: dict[str, Callable[[Tensor, Tensor], Way]] = {
    "nn.Embedding, all rows trained": AllTrained,
    "copy in forward": CopyInForward,
    "gradient mask": GradientMask,
    "two tables, clamp and where": TwoTables,
    "PEFT TrainableTokens": Peft,
    "rowtune, sparse=False": OursDense,
    "rowtune, sparse=True": OursSparse,
}
OURS = ("rowtune, sparse=False", "rowtune, sparse=True")


class Trained(NamedTuple):
    module: nn.Module
    optimizer: torch.optim.Optimizer


def with_optimizer(module: nn.Module, is_ours: bool, name: str, lr: float) -> Trained:
    """`name` is Adam or AdamW. Fused was the fastest of torch's three implementations for every
    rival (a third to a half of the whole step less than `foreach` on the CPU)."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if is_ours:
        return Trained(module, getattr(rt.optim, name)(parameters, lr=lr))
    return Trained(module, getattr(torch.optim, name)(parameters, lr=lr, fused=True))


def check_first_step(
    name: str, way: Way, before: Tensor, trainable: Tensor, ids: Tensor, wanted: Tensor
) -> None:
    """After one step the touched trainable rows are `wanted`, the frozen ones as they were."""
    after = way.whole()
    is_trainable = torch.zeros(len(before), dtype=torch.bool)
    is_trainable[trainable] = True
    touched = ids.unique()
    touched = touched[is_trainable[touched]]
    torch.testing.assert_close(after[touched], wanted[touched], rtol=0, atol=2e-6, msg=name)
    assert not torch.equal(after[touched], before[touched]), name
    if not isinstance(way, AllTrained) or isinstance(way, GradientMask):
        assert torch.equal(after[~is_trainable], before[~is_trainable]), name
