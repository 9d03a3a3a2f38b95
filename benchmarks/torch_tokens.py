"""Table 2: a language model's table, 128,256 x 1,024, of which 64 rows train; 2,048 ids, AdamW."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from measured import machine, median, publish, spread
from torch import Tensor

from torch_rounds import STEP_COLUMNS, fastest, row_of, say, take_turns, timed_step, times, whole
from torch_ways import OURS, WAYS, check_first_step, with_optimizer

ROWS, WIDTH, TRAINABLE, IDS, LR = 128_256, 1_024, 64, 2_048, 1e-3
NEW_IDS = 128  # of the batch are trainable: a prompt with a few new tokens
BATCHES, ROUNDS, BURST = 4, 16, 12
PEFT, LOOKUP = "PEFT TrainableTokens", "F.embedding, forward alone"


def case() -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    torch.manual_seed(0)
    table = torch.randn(ROWS, WIDTH)
    trainable = torch.randperm(ROWS)[:TRAINABLE].sort().values
    batches = [torch.randint(ROWS, (1, IDS)) for _ in range(BATCHES)]
    for ids in batches:
        places = torch.randperm(IDS)[:NEW_IDS]
        ids[0, places] = trainable[torch.randint(TRAINABLE, (NEW_IDS,))]
    # Multiples of 1/256: sums over duplicates are exact in whatever order a method adds them.
    upstream = torch.randn(1, IDS, WIDTH).mul_(256).round_().div_(256)
    return table, trainable, batches, upstream


def lookup(table: Tensor, ids: Tensor) -> float:
    start = time.perf_counter()
    F.embedding(ids, table)
    return time.perf_counter() - start


def main() -> None:
    table, trainable, batches, upstream = case()
    ways, turns = {}, {}
    for name in (PEFT, *OURS):
        say(f"table 2: first step of {name}")
        trained = with_optimizer(WAYS[name](table, trainable), name in OURS, "AdamW", LR)
        timed_step(trained.module, (batches[0],), upstream, trained.optimizer)
        ways[name] = trained.module
        turns[name] = lambda turn, trained=trained: timed_step(
            trained.module, (batches[turn % BATCHES],), upstream, trained.optimizer
        )
    for name, way in ways.items():
        check_first_step(name, way, table, trainable, batches[0], ways[PEFT].whole())
    turns[LOOKUP] = lambda turn: lookup(table, batches[turn % BATCHES])
    steps = take_turns("table 2", turns, ROUNDS, {n: BURST for n in turns if n != PEFT})
    report(steps)


def report(steps: dict[str, list]) -> None:
    plain, theirs, ours = steps[LOOKUP], whole(steps[PEFT]), fastest(OURS, steps)
    mine = median(ours)
    rows = [row_of(name, parts, mine, digits=2) for name, parts in steps.items() if name != LOOKUP]
    once = median(plain)
    rows.append([LOOKUP, spread(plain), f"{once * 1e3:.2f}", "", "", f"{once / mine:.2f} x"])
    publish(
        "torch_tokens",
        f"New tokens of a language model: {ROWS:,} x {WIDTH:,}, {TRAINABLE} trainable rows, "
        f"{IDS:,} ids, AdamW",
        [*STEP_COLUMNS, "over ours"],
        rows,
        f"Ours is {times(theirs, ours, 0)} faster than PEFT (at least 200 wanted); its whole step "
        f"takes {times(ours, plain)} a plain lookup's time (at most 5 wanted). "
        f"{NEW_IDS} of the ids are trainable. The backward starts from a given gradient; "
        "`zero_grad(set_to_none=True)` is part of the step; PEFT's rows with torch's fused AdamW. "
        f"In each round {BURST} steps of ours and {BURST} lookups for one of PEFT. The first step "
        "compared before. " + machine("rowtune", "torch", "peft", "numba", "numpy"),
    )


if __name__ == "__main__":
    main()
