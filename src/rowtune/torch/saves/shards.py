"""A table that TorchRec shards, as a part of a save: what of it lies on this rank."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from rowtune.checkpoints import Part
from rowtune.checkpoints.part import UNCHECKED
from rowtune.table_checkpoint import trainable
from rowtune.torch.base import fingerprint, is_one_row
from rowtune.torch.distributed import ShardedEmbedding
from rowtune.torch.optim import RowOptimizer
from rowtune.torch.saves.copies import Copies


class ShardPart:
    """One table, with the face of a `BlockPart`. What its rule remembers is TorchRec's own, and
    goes with the rows even where no optimizer is given.
    """

    def __init__(self, table: ShardedEmbedding, unchecked_base: str | None) -> None:
        self._table = table
        self._base = UNCHECKED + unchecked_base if unchecked_base else _base_of(table)
        self._copies = Copies()

    def part(self, share: tuple[int, int] = (0, 1)) -> Part:  # noqa: ARG002
        """What is here: TorchRec has divided the rows already."""
        table, block = self._table, self._table.sharded_block
        tensors = {"rows": block.rows}
        tensors |= {f"state.{name}": state for name, state in block.state.items()}
        facts = {
            "base": self._base,
            "rule": block.rule,
            "catch_up": "False",
            "dtype": str(block.rows.dtype).removeprefix("torch."),
            "trainable": "all" if table.rows is None else _trainable(table),
        }
        arrays = {name: self._copies.array(tensor) for name, tensor in tensors.items()}
        return Part(block.total, block.begin, arrays, facts, {}, self._loaded)

    def _loaded(self, whole: dict[str, NDArray[Any]]) -> None:  # noqa: ARG002
        self._copies.put_back()

    def state(self) -> dict[str, Tensor]:
        """Nothing that an optimizer of ours remembers."""
        return {}

    def hand_to(self, optimizer: RowOptimizer, state: dict[str, Tensor]) -> None:
        """Nothing to hand over; the learning rate is asked for in each lookup."""


def _trainable(table: ShardedEmbedding) -> str:
    assert table.rows is not None
    return trainable(table.rows, table.num_embeddings, None)


def _base_of(table: ShardedEmbedding) -> str:
    """Hashed once, if `distribute` has not."""
    stored = table._stored
    if stored is None:
        return "none"
    if is_one_row(stored.values):
        return fingerprint(stored.values[:1])
    if not table.base_fingerprint:
        table.base_fingerprint = fingerprint(stored.values, scales=stored.scales)
    return table.base_fingerprint
