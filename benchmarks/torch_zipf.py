"""Table 3: all rows train, few are touched: Adam on 1M and 4M rows, 32,768 Zipf ids a batch.

The ids, their gradients and the memory floor are those of bench_update.py.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from measured import machine, median, publish, spread
from torch import Tensor, nn

import rowtune.torch as rt
from bench_update import BATCH, EPS, SMALL, WIDTH, floor, zipf_batches
from rowtune.kernels.grouping import group
from rowtune.kernels.threads import get_num_threads
from torch_rounds import STEP_COLUMNS, row_of, say, take_turns, timed_step, times, whole
from torch_ways import Trained

SIZES, LR, ROUNDS, BURST = (1_000_000, 4_000_000), 1e-3, 8, 8
OURS, THEIRS = "rowtune, sparse=True", "torch SparseAdam"
HELD = "rowtune, gradient held elsewhere"
FLOOR = "floor of the update"


def trained(name: str, table: Tensor) -> Trained:
    """A module over this very table, sparse gradients, and its optimizer."""
    kind = rt.Embedding if name == OURS else nn.Embedding
    module = kind(*table.shape, sparse=True, _weight=table)
    adam = rt.optim.Adam if name == OURS else torch.optim.SparseAdam
    return Trained(module, adam(list(module.parameters()), lr=LR, eps=EPS))


def matrices(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Adam's two moments."""
    (state,) = optimizer.state.values()
    return [v for v in state.values() if isinstance(v, Tensor) and v.ndim == 2]


def touch_every_page(optimizer: torch.optim.Optimizer) -> None:
    """State that began as zeros has no pages yet; in a long run it has them all."""
    for moment in matrices(optimizer):
        moment.mul_(1)


def least(ours: Trained, slots: np.ndarray, grads: np.ndarray) -> float:
    """Seconds to read the gradients and read and write what they touch of ours."""
    block = ours.module.weight.detach().numpy()
    m, v = (moment.numpy() for moment in matrices(ours.optimizer))
    groups = group(slots.astype(np.int32))
    return floor(SimpleNamespace(block=block, state={"m": m, "v": v}), groups, grads)


def check(ours: Tensor, theirs: Tensor, before: Tensor) -> None:
    """The same step was made; by subtraction, because assert_close takes half a minute here."""
    assert float(torch.sub(ours, theirs).abs_().amax()) <= 2e-6
    assert not torch.equal(ours, before)


def measure(rows: int) -> dict[str, list]:
    say(f"table 3: {rows:,} rows")
    rng = np.random.default_rng(0)
    places = rng.permutation(rows)[:SMALL]
    numpy_batches = [(places[ranks], grads) for ranks, grads in zipf_batches(rng)]
    batches = [(torch.from_numpy(ids), torch.from_numpy(g)) for ids, g in numpy_batches]
    table = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(0))
    both = {name: trained(name, table.clone()) for name in (OURS, THEIRS)}
    for each in both.values():
        timed_step(each.module, batches[0][:1], batches[0][1], each.optimizer)
    check(both[OURS].module.weight.detach(), both[THEIRS].module.weight.detach(), table)
    del table
    for each in both.values():
        touch_every_page(each.optimizer)

    def turn_of(each: Trained, held: bool = False):
        def turn(number: int):
            ids, grads = batches[number % len(batches)]
            return timed_step(each.module, (ids,), grads, each.optimizer, held)

        return turn

    turns = {name: turn_of(each) for name, each in both.items()}
    turns[HELD] = turn_of(both[OURS], held=True)
    turns[FLOOR] = lambda number: least(both[OURS], *numpy_batches[number % len(batches)])
    return take_turns(f"table 3, {rows:,} rows", turns, ROUNDS, BURST)


def main() -> None:
    lines, notes = [], []
    for rows in SIZES:
        steps = measure(rows)
        ours, theirs, low = whole(steps[OURS]), whole(steps[THEIRS]), steps[FLOOR]
        update, mine = [parts.update for parts in steps[OURS]], median(ours)
        behind = [parts.backward + parts.update for parts in steps[OURS]]
        lines += [
            [f"{rows:,}", *row_of(name, steps[name], mine, 2)] for name in (OURS, HELD, THEIRS)
        ]
        lines.append([f"{rows:,}", FLOOR, spread(low), "", "", f"{median(low) * 1e3:.2f}", ""])
        notes.append(
            f"{rows:,} rows: the whole step is {times(theirs, ours)} faster than SparseAdam (at "
            f"least 3.5 wanted), the update {times(update, low, 2)} the memory floor (at most 1.5 "
            f"wanted), with the backward {times(behind, low, 2)}."
        )
    publish(
        "torch_zipf",
        f"Row-sparse Adam: {BATCH:,} Zipf ids, {WIDTH} columns, all rows trainable",
        ["rows", *STEP_COLUMNS, "over ours"],
        lines,
        " ".join(notes) + " Floor: with the groups given, read each gradient once, read and write "
        "weights, m and v of the touched rows once, in id order, on as many threads "
        f"({get_num_threads()}), no arithmetic. The gradient comes from a layer above that keeps "
        "nothing, as in a model: ours and torch's embedding then keep it as it is, and the update "
        "groups, checks and sums. Held elsewhere, ours sums it in the backward (torch's embedding "
        "shares its memory, and scaling in place counts twice). Every "
        "page of the state is there before the clock runs. One step of both compared before. "
        + machine("rowtune", "torch", "numba", "numpy"),
    )


if __name__ == "__main__":
    main()
