"""Rows per second on one and two processes: DDP and TorchRec through us, and TorchRec alone.

`lines` gives the lines of a table; the processes are this very file, started anew for each number
of ranks. All ways train the same table by row-wise Adagrad on the same ids, in turns, and end with
the same rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import machine, median, publish, spread
from torch import Tensor, distributed

from rowtune.torch.distributed import LazyEmbedding, distribute

COLUMNS = [
    "processes",
    "way",
    "ms a step: median (lowest - highest)",
    "rows / s",
    "of TorchRec alone",
]
ROWS, WIDTH, BATCH, LR, EPS = 2_000_000, 32, 16_384, 0.1, 1e-8
ROUNDS, WARM, SECONDS = 12, 3, 240
DDP, SHARDED, ALONE = "rowtune, DDP", "rowtune, TorchRec row-wise", "TorchRec alone, row-wise"
Step = Callable[[Tensor, Tensor], None]
Look = Callable[[Tensor], Tensor]


def lines(worlds: tuple[int, ...] = (1, 2), rows: int = ROWS) -> tuple[list[list[str]], str]:
    """Lines under `COLUMNS`, and a note on what was measured."""
    table = []
    for world in worlds:
        seconds = measure(world, rows)
        alone = median(seconds[ALONE])
        for way, steps in seconds.items():
            rate = world * BATCH / median(steps)
            table.append([
                str(world), way, spread(steps), f"{rate:,.0f}", f"{alone / median(steps):.2f} x",
            ])  # fmt: skip
    note = (
        f"{rows:,} x {WIDTH} rows of float32, all of which train by row-wise Adagrad; {BATCH:,} "
        "ids a rank and step, half of them from a thousand rows. A step is lookup, "
        "backward pass and update. One thread a process, gloo on one machine. All ways took turns, "
        "on the same ids, and ended with the same rows (asserted). TorchRec alone is its "
        "EmbeddingCollection, sharded and fused in the same way, fed with one bag of all ids."
    )
    return table, note


def measure(world: int, rows: int) -> dict[str, list[float]]:
    """Seconds of the steps of each way on so many processes; the slowest rank counts."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        arguments = [folder, str(world), str(rows)]
        ranks = [
            subprocess.Popen([sys.executable, __file__, str(rank), *arguments], env=environment)
            for rank in range(world)
        ]
        try:
            until = time.monotonic() + SECONDS
            codes = [rank.wait(max(0.0, until - time.monotonic())) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        assert not any(codes), f"a rank of {world} failed"
        found = [json.loads(Path(folder, f"rank{rank}").read_text()) for rank in range(world)]
    return {way: [max(each) for each in zip(*(f[way] for f in found), strict=True)]
            for way in found[0]}  # fmt: skip


# --- one rank -------------------------------------------------------------------------------------


def first_rows(first: int, last: int) -> Tensor:
    """Of every way: a table that need not be sent."""
    slots = torch.arange(first, last, dtype=torch.float64)[:, None]
    return torch.sin(slots * torch.arange(1.0, WIDTH + 1)).float()


def ours(how: str, rows: int) -> tuple[Step, Look]:
    placed = distribute(
        LazyEmbedding(rows, WIDTH, init=first_rows), "rowwise_adagrad", LR, eps=EPS, how=how,
        check_base=False,
    )  # fmt: skip

    def step(ids: Tensor, upstream: Tensor) -> None:
        placed(ids).backward(upstream)
        placed.optimizer.step()
        placed.optimizer.zero_grad()

    return step, placed


def alone(rows: int) -> tuple[Step, Look]:
    """As TorchRec's own documents have it, with a plan that says row-wise and fused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from fbgemm_gpu.split_embedding_configs import EmbOptimType
        from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode
        from torchrec import EmbeddingCollection, EmbeddingConfig, KeyedJaggedTensor
        from torchrec.distributed.embedding import EmbeddingCollectionSharder
        from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise
        from torchrec.distributed.types import ShardingEnv
    world, cpu = distributed.get_world_size(), torch.device("cpu")
    config = EmbeddingConfig(
        name="t", feature_names=["t"], num_embeddings=rows, embedding_dim=WIDTH
    )
    whole = EmbeddingCollection(tables=[config], device=torch.device("meta"))
    fused = {"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD, "learning_rate": LR, "eps": EPS,
             "bounds_check_mode": BoundsCheckMode.FATAL}  # fmt: skip
    sharder: Any = EmbeddingCollectionSharder(fused_params=fused)
    plan = construct_module_sharding_plan(
        whole, {"t": row_wise(compute_kernel="fused")}, sharder=sharder, world_size=world,
        local_size=world, device_type="cpu",
    )  # fmt: skip
    env = ShardingEnv.from_process_group(distributed.group.WORLD)
    sharded = sharder.shard(whole, dict(plan), env, device=cpu)
    begin = distributed.get_rank() * -(-rows // world)
    with torch.no_grad():
        own = sharded.embeddings["t"].weight
        own.copy_(first_rows(begin, begin + len(own)))

    def look(ids: Tensor) -> Tensor:
        lengths = torch.tensor([len(ids)])
        return sharded(KeyedJaggedTensor(keys=["t"], values=ids, lengths=lengths))["t"].values()

    def step(ids: Tensor, upstream: Tensor) -> None:
        look(ids).backward(upstream)

    return step, look


def batches(rank: int, rows: int) -> list[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(rank)
    made = []
    for _ in range(WARM + ROUNDS):
        halves = [rng.integers(0, min(size, rows), BATCH // 2) for size in (1000, rows)]
        ids = torch.from_numpy(rng.permutation(np.concatenate(halves)))
        upstream = torch.from_numpy(rng.standard_normal((BATCH, WIDTH)).astype(np.float32))
        made.append((ids, upstream))
    return made


def one_rank(rank: int, folder: str, world: int, rows: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world
    )
    ways = {DDP: ours("ddp", rows), SHARDED: ours("torchrec", rows), ALONE: alone(rows)}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    steps = batches(rank, rows)
    for number, (ids, upstream) in enumerate(steps):
        for way, (step, _) in ways.items():
            distributed.barrier()
            begun = time.perf_counter()
            step(ids, upstream)
            if number >= WARM:
                seconds[way].append(time.perf_counter() - begun)
    with torch.no_grad():
        ends = {way: look(steps[0][0]) for way, (_, look) in ways.items()}
    for way, rows_now in ends.items():
        torch.testing.assert_close(rows_now, ends[ALONE], rtol=1e-4, atol=1e-5, msg=way)
        assert not torch.equal(rows_now, torch.cat([first_rows(i, i + 1) for i in
                                                    steps[0][0].tolist()]))  # fmt: skip
    Path(folder, f"rank{rank}").write_text(json.dumps(seconds))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_rank(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        found, said = lines()
        title = "Several processes: DDP over the block, and TorchRec's row-wise sharding"
        publish("scale_distributed", title, COLUMNS, found, f"{said} {machine('torch')}.")
