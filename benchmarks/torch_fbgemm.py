"""FBGEMM's pooled embedding with row-wise Adagrad fused into its backward, on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fbgemm(nn.Module):
    """A table in FBGEMM's own memory; `forward` sums bags, the backward updates the rows.

    Its check of the ids' bounds is off (a millisecond at times): this is its fastest setting.
    """

    def __init__(self, rows: int, width: int, lr: float, eps: float) -> None:
        super().__init__()
        ops, common, configs = _parts()
        location = (common.EmbeddingLocation.HOST, ops.ComputeDevice.CPU)
        self.bags = ops.SplitTableBatchedEmbeddingBagsCodegen(
            [(rows, width, *location)],
            optimizer=configs.EmbOptimType.EXACT_ROWWISE_ADAGRAD,
            learning_rate=lr,
            eps=eps,
            weights_precision=configs.SparseType.FP32,
            output_dtype=configs.SparseType.FP32,
            pooling_mode=common.PoolingMode.SUM,
            bounds_check_mode=common.BoundsCheckMode.NONE,
        )

    @property
    def weight(self) -> Tensor:
        (weight,) = self.bags.split_embedding_weights()
        return weight.detach()

    def forward(self, ids: Tensor, ends: Tensor) -> Tensor:
        """`ends`: where each bag begins, and where the last one ends."""
        return self.bags(ids, ends)


def _parts():
    try:
        from fbgemm_gpu import split_embedding_configs as configs
        from fbgemm_gpu import split_table_batched_embeddings_ops_common as common
        from fbgemm_gpu import split_table_batched_embeddings_ops_training as ops
    except ImportError as error:
        raise SystemExit(
            f"FBGEMM cannot be imported ({error}). Install it: "
            "pip install --no-deps -r requirements/torchrec.txt"
        ) from error
    return ops, common, configs


def with_table(table: Tensor, lr: float, eps: float) -> Fbgemm:
    """One that begins with these weights (copied)."""
    torch.manual_seed(0)
    module = Fbgemm(*table.shape, lr, eps)
    module.weight.copy_(table)
    return module
