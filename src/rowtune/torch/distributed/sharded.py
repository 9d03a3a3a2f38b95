"""An embedding whose block is on several ranks, and whose base is this rank's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rowtune.errors import IdError, RuleError
from rowtune.rows import Rows
from rowtune.torch import ops
from rowtune.torch.checks import as_ids
from rowtune.torch.stored import guarded, rows_at

if TYPE_CHECKING:
    from rowtune.torch.distributed.agreement import RollCall
    from rowtune.torch.distributed.torchrec_block import ShardedBlock
    from rowtune.torch.optim.row_optimizer import RowOptimizer
    from rowtune.torch.stored import Stored


class ShardedEmbedding(nn.Module):
    """What `distribute` puts in the place of an embedding whose block fits no worker.

    Frozen rows come from the base on this rank; slots of trainable ones travel, each once a batch.
    The rows move inside ``backward()``. It has no parameters, and nothing in ``state_dict()``: see
    `Placed.shards` and `Placed.save_patch`.

    Attributes
    ----------
    rows : Rows or None
        Which rows train; None where all do.
    base : tensor (N, D) or None
        The frozen storage, a view that refuses writes.
    base_fingerprint : str
        "" where nobody has hashed it.
    """

    def __init__(
        self, num_embeddings: int, rows: Rows | None, stored: Stored | None,
        padding_idx: int | None, block: ShardedBlock, base_fingerprint: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, block.rows.shape[1]
        self.rows, self._stored, self.padding_idx = rows, stored, padding_idx
        self.base_fingerprint = base_fingerprint
        self.base = None if stored is None else guarded(stored.values)
        device = block.rows.device
        self._slot_map = self._trainable = None
        if rows is not None and rows.slot_map is not None:
            self._slot_map = torch.from_numpy(rows.slot_map).to(device)
        if rows is not None and rows.search_ids is not None:
            self._trainable = torch.from_numpy(rows.search_ids).to(device)
        # Not attributes that nn.Module knows: DDP is not to see what TorchRec trains.
        self._own: dict[str, Any] = {"block": block}

    def joins(self, roll: RollCall, number: int, optimizer: RowOptimizer, once: bool) -> None:
        """Take part in the roll call of a model, as its table ``number``, and go by the learning
        rate of its optimizer. ``once``: refuse to move twice before a step.
        """
        self._own.update(roll=roll, number=number, optimizer=optimizer, moved=False, once=once)
        optimizer.register_step_post_hook(lambda *_: self._own.update(moved=False))

    @property
    def sharded_block(self) -> ShardedBlock:
        """This rank's part of the trainable rows."""
        block: ShardedBlock = self._own["block"]
        return block

    @property
    def weight(self) -> Tensor:
        """Refused: no rank has the whole matrix.

        Raises
        ------
        RuleError
        """
        raise RuleError(
            "the rows of this table are on several ranks, and none has the whole matrix; "
            "placed.save_patch(path) collects them into a file"
        )

    def forward(self, input: Tensor) -> Tensor:
        """Rows of ids of any shape (+ (D,)), in float32. Every rank of the group has to call the
        model; the batches may differ, and be empty.

        Raises
        ------
        IdError
            On every rank, where an id is out of range on one of them.
        """
        error, ids, slots = None, input, input
        try:
            ids = as_ids(input)
            slots = self._slots_of(ids.reshape(-1))
        except Exception as own:
            error = own
        self._own["roll"].at(self._own["number"], error)
        return self._rows_of(ids.reshape(-1), slots).reshape(*ids.shape, self.embedding_dim)

    def look_up_nothing(self) -> Tensor:
        """The rows (0, D) of an empty batch, which other ranks wait for."""
        return self._travel(torch.empty(0, dtype=torch.int64, device=self._device))

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.sharded_block.rows.device
        return device

    def _slots_of(self, ids: Tensor) -> Tensor:
        # Also where torch would only look later, on the device: the others have to hear of it.
        if len(ids) and not bool(((ids >= 0) & (ids < self.num_embeddings)).all()):
            raise IdError(f"an id is out of range: expected 0 to {self.num_embeddings - 1}")
        if self.rows is None:
            return ids
        return ops.on(ids.device).slots_of(  # type: ignore[no-any-return]
            ids, self.num_embeddings, self._slot_map, self._trainable
        )

    def _rows_of(self, ids: Tensor, slots: Tensor) -> Tensor:
        if self.rows is None:
            return self._each_once(slots)
        trainable = (slots >= 0).nonzero().squeeze(1)
        rows = self._each_once(slots[trainable])
        if len(trainable) == len(ids):
            return rows
        assert self._stored is not None
        out = rows.new_empty(len(ids), self.embedding_dim)
        frozen = (slots < 0).nonzero().squeeze(1)
        values = rows_at(self._stored.values, self._stored.scales, ids[frozen])
        out[frozen] = values.to(out.dtype)
        return out.index_copy_(0, trainable, rows)

    def _each_once(self, slots: Tensor) -> Tensor:
        """A slot that comes often travels once, and so does the sum of its gradients."""
        unique, places = torch.unique(slots, return_inverse=True)
        return self._travel(unique).index_select(0, places)

    def _travel(self, slots: Tensor) -> Tensor:
        self.sharded_block.set_lr(float(self._own["optimizer"].param_groups[0]["lr"]))
        rows = self.sharded_block.rows_of(slots)
        if rows.requires_grad:
            rows.register_hook(self._about_to_move)  # type: ignore[no-untyped-call]
        return rows

    def _about_to_move(self, grad: Tensor) -> None:  # noqa: ARG002
        if self._own["moved"] and self._own["once"]:
            raise RuleError(
                "a second backward pass has come to rows of TorchRec before optimizer.step(); they "
                "have moved in the first by its part of the gradient, so gradients cannot be "
                "accumulated. Make one loss of all, and call optimizer.step() after each backward()"
            )
        self._own["moved"] = True

    def extra_repr(self) -> str:
        count = self.num_embeddings if self.rows is None else len(self.rows)
        return (
            f"{self.num_embeddings}, {self.embedding_dim}, {count} rows train, "
            f"{len(self.sharded_block.rows)} of them here"
        )
