"""Several processes, on engines that exist: DDP over the block, or TorchRec's row-wise sharding.

from rowtune.torch.distributed import distribute

placed = distribute(model, rule="rowwise_adagrad", lr=0.1)  # one call chooses for each table
print(placed)  # ... and says why
loss = cost(placed(ids))
loss.backward(); placed.optimizer.step(); placed.optimizer.zero_grad()
"""

from __future__ import annotations

from rowtune.torch.distributed.distribute import distribute
from rowtune.torch.distributed.lazy import LazyEmbedding
from rowtune.torch.distributed.placed import Placed
from rowtune.torch.distributed.sharded import ShardedEmbedding
from rowtune.torch.distributed.shards import Shard

__all__ = ["LazyEmbedding", "Placed", "Shard", "ShardedEmbedding", "distribute"]
