"""A block that TorchRec shards by rows: the only file that opens TorchRec.

TorchRec alone sends slots to the ranks that hold their rows, rows back, gradients there, and moves
the rows inside the backward pass. The gradient that it moves them by is the mean over the ranks, as
DDP's is, and it sums duplicates, within and across ranks, before a rule sees them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

with warnings.catch_warnings():
    # FBGEMM warns on import of kernels for SSDs that its CPU build has not, and TorchRec imports
    # one of its modules by an older name: neither is about anything that is done here.
    for _message in (r"\s*\S*\s*Failed to import: fbgemm_gpu\.", r"\s*\S*\s*The Python module fbg"):
        warnings.filterwarnings("ignore", _message, DeprecationWarning)
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode
    from torchrec import EmbeddingCollection, EmbeddingConfig, KeyedJaggedTensor
    from torchrec.distributed.embedding import (
        EmbeddingCollectionSharder,
        ShardedEmbeddingCollection,
    )
    from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise
    from torchrec.distributed.types import ShardingEnv

_NAME = "block"
_FUSED = {
    "sgd": EmbOptimType.EXACT_SGD,
    "adagrad": EmbOptimType.EXACT_ADAGRAD,
    "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
}


class ShardedBlock:
    """A block of ``total`` x ``width`` float32 rows, of which this rank holds a part.

    Parameters
    ----------
    total, width : int
        k and D.
    rule : "sgd", "adagrad" or "rowwise_adagrad"
    hyper : mapping
        All hyper-parameters of the rule.
    group : process group
    device : torch.device

    Attributes
    ----------
    total, rule
        As they were given.
    begin : int
        The first slot that is here.
    rows : tensor (n, D)
        The very memory that TorchRec trains; n is ceil(k / ranks), on the last ranks less.
    state : dict of str to tensor, (n, D) or (n, 1)
    """

    def __init__(
        self, total: int, width: int, rule: str, hyper: Mapping[str, Any], group: Any,
        device: torch.device,
    ) -> None:  # fmt: skip
        rank, ranks = torch.distributed.get_rank(group), torch.distributed.get_world_size(group)
        self.total, self.rule = total, rule
        table = EmbeddingConfig(
            name=_NAME, feature_names=[_NAME], num_embeddings=total, embedding_dim=width,
            init_fn=lambda rows: rows,  # made by the caller, from the base or by pieces
        )  # fmt: skip
        self._sharded = _sharded(table, rule, hyper, group, device)
        self._fused = self._sharded._lookups[0]._emb_modules[0].emb_module
        (self.rows,) = self._fused.split_embedding_weights()
        self.begin = min(total, rank * -(-total // ranks))
        self.state: dict[str, Tensor] = {}
        states = self._fused.split_optimizer_states()
        if rule != "sgd":
            self.state["total"] = states[0][0].view(len(self.rows), -1)
            self.state["total"].fill_(float(hyper["initial_accumulator_value"]))
        self._lr = float(hyper["lr"])

    def set_lr(self, lr: float) -> None:
        """The learning rate of the next backward pass."""
        if lr != self._lr:
            self._fused.set_learning_rate(lr)
            self._lr = lr

    def rows_of(self, slots: Tensor) -> Tensor:
        """Rows (n, D) of slots (n,), differentiable: a backward pass through them moves them.

        Every rank of the group has to call it, with an empty batch if need be.
        """
        # One bag of n slots and not n bags of one: their lengths travel, too.
        lengths = torch.tensor([len(slots)], dtype=torch.int64, device=slots.device)
        batch = KeyedJaggedTensor(keys=[_NAME], values=slots.to(torch.int64), lengths=lengths)
        rows: Tensor = self._sharded(batch)[_NAME].values()
        return rows


def _sharded(
    table: EmbeddingConfig, rule: str, hyper: Mapping[str, Any], group: Any, device: torch.device
) -> ShardedEmbeddingCollection:
    """TorchRec's collection of one table, row-wise; no rank ever has the whole of it."""
    whole = EmbeddingCollection(tables=[table], device=torch.device("meta"))
    fused: dict[str, Any] = {
        "optimizer": _FUSED[rule],
        "learning_rate": float(hyper["lr"]),
        # Whatever comes out of range would else train another row. We look first, this looks again.
        "bounds_check_mode": BoundsCheckMode.FATAL,
    }
    if "eps" in hyper:
        fused["eps"] = float(hyper["eps"])
    ranks = torch.distributed.get_world_size(group)
    sharder = EmbeddingCollectionSharder(fused_params=fused)
    plan = construct_module_sharding_plan(
        whole, {_NAME: row_wise(compute_kernel="fused")}, sharder=sharder,
        world_size=ranks, local_size=ranks, device_type=device.type,
    )  # fmt: skip
    env = ShardingEnv.from_process_group(group)
    with torch.random.fork_rng(devices=[]):  # rows are drawn, and overwritten
        return ShardedEmbeddingCollection(whole, dict(plan), env, fused_params=fused, device=device)
