"""Tables on several processes; nothing but torchrun is needed.

    torchrun --nproc-per-node 2 examples/movielens_distributed.py
    torchrun --nproc-per-node 2 examples/movielens_distributed.py --synthetic 50000000

The first learns 1,700 films and 900 users from MovieLens 100k: tables that fit every worker, so
they go to DDP. The second has a table of 50M x 8, of which a worker may have no more than a GB:
TorchRec shards it by rows. Model, loss and loop are the same for both; one call chooses.
"""

from __future__ import annotations

import copy
import resource
import time
from typing import Annotated

import numpy as np
import torch
import typer
from film_ratings import guess_by_means, ratings
from torch import Tensor, distributed, nn

import rowtune.torch as rt
from rowtune.torch.distributed import LazyEmbedding, Placed, distribute

WIDTH, BATCH, EPOCHS, LR, DECAY = 32, 512, 10, 0.004, 0.4
SYNTHETIC_WIDTH, SYNTHETIC_BATCH, STEPS, A_GIGABYTE = 8, 16_384, 60, 1_000_000_000


class Films(nn.Module):
    """Matrix factorisation with biases (Koren, Bell and Volinsky, IEEE Computer 42(8), 2009).

    The first column of a row is its bias.
    """

    def __init__(self, users: int, films: int, mean: float) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(0)  # the same model on every rank
        first = [0.1 * torch.randn(rows, WIDTH, generator=chance) for rows in (users, films)]
        for rows in first:
            rows[:, 0] = 0
        self.users, self.films = (rt.Embedding(*rows.shape, _weight=rows) for rows in first)
        self.mean = nn.Parameter(torch.tensor(mean))

    def forward(self, pairs: Tensor) -> Tensor:
        user, film = self.users(pairs[:, 0]), self.films(pairs[:, 1])
        return self.mean + user[:, 0] + film[:, 0] + (user[:, 1:] * film[:, 1:]).sum(1)


class Line(nn.Module):
    """One large table, and a number for each of its rows."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table = LazyEmbedding(rows, SYNTHETIC_WIDTH, init="normal")
        chance = torch.Generator().manual_seed(0)
        self.head = nn.Linear(SYNTHETIC_WIDTH, 1)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(1, SYNTHETIC_WIDTH, generator=chance))
            self.head.bias.zero_()

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids)).squeeze(1)


def step(placed: Placed, inputs: Tensor, targets: Tensor) -> float:
    """The loop of DDP and of TorchRec."""
    loss = (placed(inputs) - targets).square().mean()
    loss.backward()
    placed.optimizer.step()
    placed.optimizer.zero_grad()
    return loss.item()


def say(line: str) -> None:
    """Rank 0 speaks for all."""
    if distributed.get_rank() == 0:
        print(line, flush=True)


def films() -> None:
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    if rank == 0:
        ratings()  # fetched once
    distributed.barrier()
    data = ratings()
    rows = [int(data.pairs[:, i].max()) + 1 for i in (0, 1)]
    mean = float(data.stars[data.training].mean())
    placed = distribute(Films(*rows, mean), "adamw", LR, weight_decay=DECAY)
    for name, how in placed.how.items():
        say(f"{name}: {how}, because {placed.why[name]}")

    def error(model: nn.Module, part: Tensor) -> float:
        with torch.no_grad():
            return float((model(data.pairs[part]) - data.stars[part]).square().mean().sqrt())

    best, kept = float("inf"), placed.module
    for epoch in range(EPOCHS):
        order = data.training[
            torch.randperm(80_000, generator=torch.Generator().manual_seed(epoch))
        ]
        begun = time.perf_counter()
        for batch in order.split(BATCH):
            mine = batch[rank::ranks]
            step(placed, data.pairs[mine], data.stars[mine])
        seconds = time.perf_counter() - begun
        # Under DDP every rank has every row, so `module` can be asked without the others.
        held_out = error(placed.module, data.validation)
        say(
            f"epoch {epoch + 1:2d}: {held_out:.4f} on validation, {80_000 / seconds:,.0f} ratings/s"
        )
        if held_out < best:
            best, kept = held_out, copy.deepcopy(placed.module)
    simple = (guess_by_means(data)[data.test] - data.stars[data.test]).square().mean().sqrt()
    say(f"error (RMSE) on 10,000 ratings that were held out: {error(kept, data.test):.4f}")
    say(f"baseline, means of films and users:                {float(simple):.4f}")


def synthetic(rows: int, worker_memory: int) -> None:
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    placed = distribute(Line(rows), "rowwise_adagrad", 0.5, worker_memory=worker_memory)
    for name, how in placed.how.items():
        say(f"{name}: {how}, because {placed.why[name]}")
    rng, losses, seconds = np.random.default_rng(rank), [], []
    for number in range(STEPS):
        # Half of a batch is drawn from a thousand rows that come often, half from all.
        ids = np.concatenate([rng.integers(0, min(rows, 1000), SYNTHETIC_BATCH // 2),
                              rng.integers(0, rows, SYNTHETIC_BATCH // 2)])  # fmt: skip
        inputs = torch.from_numpy(ids)
        distributed.barrier()
        begun = time.perf_counter()
        losses.append(step(placed, inputs, torch.sin(inputs.float())))
        seconds.append(time.perf_counter() - begun)
        if number % 20 == 19:
            say(f"step {number + 1}: loss {np.mean(losses[-5:]):.3f}")
    rate = ranks * SYNTHETIC_BATCH / float(np.median(seconds[5:]))
    say(f"{rate:,.0f} rows looked up and trained a second, on {ranks} ranks together")
    (shard,) = placed.shards().values()
    held = sum(array.numel() * array.element_size() for array in shard.arrays.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    lines = [None] * ranks
    distributed.all_gather_object(
        lines, f"rank {rank}: {len(shard.arrays['rows']):,} of {shard.total:,} rows, "
        f"{held / 1e9:.2f} GB of rows and state; {peak / 1e9:.2f} GB at most in the whole process",
    )  # fmt: skip
    for line in lines:
        say(str(line))


def main(
    synthetic_rows: Annotated[
        int, typer.Option("--synthetic", help="Rows of a synthetic table; 0 for MovieLens.")
    ] = 0,
    worker_memory: Annotated[
        int, typer.Option(help="Bytes that a worker may use for the synthetic table.")
    ] = A_GIGABYTE,
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    try:
        if synthetic_rows:
            synthetic(synthetic_rows, worker_memory)
        else:
            films()
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    typer.run(main)
