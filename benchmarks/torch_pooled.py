"""Table 4: sums of bags with row-wise Adagrad, 1M x 64, 4,096 ids, against FBGEMM on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from measured import machine, median, publish
from torch import Tensor, nn

import rowtune.torch as rt
from torch_fbgemm import with_table
from torch_rounds import STEP_COLUMNS, Parts, row_of, say, take_turns, timed_step, times, whole
from torch_ways import Trained

ROWS, WIDTH, IDS, LR, EPS = 1_000_000, 64, 4_096, 0.05, 1e-8
BAGS = {"256 bags of 16": 16, "1,024 bags of 4": 4}
BATCHES, ROUNDS, BURST = 16, 10, 32
OURS, THEIRS = "rowtune, sparse=True", "FBGEMM"
TORCH = "nn.EmbeddingBag, torch's Adagrad"


class Batch(NamedTuple):
    ids: Tensor
    ends: Tensor  # where each bag begins, and the end of the last
    upstream: Tensor


def ours(table: Tensor) -> Trained:
    bag = rt.EmbeddingBag(
        *table.shape, mode="sum", sparse=True, include_last_offset=True, _weight=table
    )
    return Trained(bag, rt.optim.RowwiseAdagrad(list(bag.parameters()), lr=LR, eps=EPS))


def torch_adagrad(table: Tensor) -> Trained:
    """The nearest that torch has; another rule, with D numbers of state a row in place of one."""
    bag = nn.EmbeddingBag(
        *table.shape, mode="sum", sparse=True, include_last_offset=True, _weight=table
    )
    return Trained(bag, torch.optim.Adagrad(bag.parameters(), lr=LR, eps=EPS))


BUILD: dict[str, Callable[[Tensor], Trained]] = {
    OURS: ours,
    THEIRS: lambda table: Trained(with_table(table, LR, EPS), None),
    TORCH: torch_adagrad,
}


def batches(bag: int, zipf: bool) -> list[Batch]:
    ends = torch.arange(0, IDS + 1, bag)
    places = torch.randperm(ROWS)
    made = []
    for _ in range(BATCHES):
        ids = zipf_ids(IDS, places) if zipf else torch.randint(ROWS, (IDS,))
        made.append(Batch(ids, ends, torch.randn(IDS // bag, WIDTH)))
    return made


def zipf_ids(count: int, places: Tensor) -> Tensor:
    """`places` drawn by rank, which the inverse of Zipf's distribution with exponent 1 gives."""
    ranks = torch.rand(count, dtype=torch.float64).mul(math.log(len(places))).exp().long() - 1
    return places[ranks]


def one_step(each: Trained, batch: Batch) -> Parts:
    return timed_step(each.module, batch[:2], batch.upstream, each.optimizer)


def check(each: dict[str, Trained], table: Tensor, some: list[Batch]) -> None:
    """Several steps of ours and of FBGEMM give the same table; each row has its own sum there."""
    for batch in some:
        for trained in each.values():
            one_step(trained, batch)
    weights = [each[name].module.weight.detach() for name in (OURS, THEIRS)]
    torch.testing.assert_close(*weights, rtol=1e-5, atol=2e-6)
    assert not torch.equal(weights[0], table)


def main() -> None:
    torch.manual_seed(0)
    table = torch.randn(ROWS, WIDTH)
    say("table 4: first steps")
    each = {name: build(table.clone()) for name, build in BUILD.items()}
    check(each, table, batches(16, zipf=True)[:3])
    del table
    lines, notes = [], []
    for shape, bag in BAGS.items():
        for kind in ("uniform", "Zipf"):
            turns = turns_over(each, batches(bag, kind == "Zipf"))
            steps = take_turns(f"table 4, {shape}, {kind} ids", turns, ROUNDS, BURST)
            mine, theirs = whole(steps[OURS]), whole(steps[THEIRS])
            notes.append(f"{shape}, {kind} ids, {times(mine, theirs, 2)}")
            lines += [
                [f"{shape}, {kind}", *row_of(name, steps[name], median(mine), 2)] for name in each
            ]
    publish(
        "torch_pooled",
        f"Pooled row-wise Adagrad: {ROWS:,} x {WIDTH}, {IDS:,} ids, sums of bags, float32",
        ["bags, ids", *STEP_COLUMNS, "over ours"],
        lines,
        f"Ours takes, of FBGEMM's time: {'; '.join(notes)}. Level is wanted. FBGEMM updates "
        "inside its backward, with its check of the ids' bounds off (ours is always on). The "
        f"backward starts from a given gradient. In each round {BURST} steps of each in a row, "
        f"over {BATCHES} batches. Three steps of ours and of FBGEMM compared before; torch's "
        "Adagrad has a number for each element. "
        + machine("rowtune", "torch", "fbgemm-gpu-cpu", "numba", "numpy"),
    )


def turns_over(each: dict[str, Trained], some: list[Batch]):
    return {
        name: lambda turn, trained=trained: one_step(trained, some[turn % BATCHES])
        for name, trained in each.items()
    }


if __name__ == "__main__":
    main()
