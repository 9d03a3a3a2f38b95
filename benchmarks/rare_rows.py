"""Lazy, or as the dense optimizer would have it: which models are better, and for which rows?

    python benchmarks/rare_rows.py [--task movielens|sentences] [--seeds 5]

Dense Adam goes on moving a row for some time after its batch, by the momentum that is left; lazy
optimizers do not. So they train other models, above all in the rows that come rarely. Here all of
them train the same models from the same rows on the same batches, on real data: ratings of films
by matrix factorisation, and sentences by the mean of their words' rows. In every split each method
picks its learning rate, its epoch, and its weight decay where it has one, on validation. Test is
scored once, by what was picked, and apart for rows that come rarely and often in training.
"""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from typing import Annotated, Literal, NamedTuple

import torch
import typer
from torch import Tensor, nn, optim
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

import rowtune
import rowtune.torch as rt
from rare_rows_data import BANDS, TASKS, Task, band_of
from rare_rows_report import AGAINST, EPOCHS, SAME, Scored, Study, report

PATIENCE, TURNS = 2, 15
TOLERANCE = 1e-8  # float64, one epoch: catch-up against dense, over the largest row element


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# --- the methods ---------------------------------------------------------------------------------


class Method(NamedTuple):
    table: Callable[..., nn.Embedding]
    sparse: bool
    optimizers: Callable[[nn.Module, float, float], list[optim.Optimizer]]


def groups(model: nn.Module, decay: float) -> list[dict]:
    """The tables, and all else, which has no weight decay in any method."""
    tables = list(model.tables.parameters())
    rest = [p for name, p in model.named_parameters() if not name.startswith("tables.")]
    return [{"params": tables, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


def sparse_adam(model: nn.Module, lr: float, _: float) -> list[optim.Optimizer]:
    tables, rest = (group["params"] for group in groups(model, 0.0))
    return [optim.SparseAdam(tables, lr=lr), optim.Adam(rest, lr=lr)]


def one(kind: Callable, **options: bool) -> Callable[..., list[optim.Optimizer]]:
    return lambda model, lr, decay: [kind(groups(model, decay), lr=lr, **options)]


METHODS = {
    "Adam, dense": Method(nn.Embedding, False, one(optim.Adam)),
    "SparseAdam, lazy": Method(nn.Embedding, True, sparse_adam),
    "Adam, lazy, per-row counts": Method(rt.Embedding, True, one(rt.optim.Adam)),
    "Adam, catch-up": Method(rt.Embedding, True, one(rt.optim.Adam, catch_up=True)),
    "AdamW, dense": Method(nn.Embedding, False, one(optim.AdamW)),
    "AdamW, lazy, per-row counts": Method(rt.Embedding, True, one(rt.optim.AdamW)),
    "AdamW, catch-up": Method(rt.Embedding, True, one(rt.optim.AdamW, catch_up=True)),
}


def grid(task: Task, method: str) -> list[tuple[float, float]]:
    """Learning rates and decays to try: with decay, every other rate, to save time."""
    if method.startswith("AdamW"):
        return list(product(task.rates[1::2], task.decays))
    return [(rate, 0.0) for rate in task.rates]


# --- training ------------------------------------------------------------------------------------


class Run:
    """One training: a model, its optimizers and the order of its batches."""

    def __init__(self, task, name, lr, decay, seed, dtype=torch.float32) -> None:
        method = METHODS[name]
        self.task, self.lr, self.decay, self.dtype = task, lr, decay, dtype
        self.best, self.epochs, self.kept = math.inf, 0, {}
        torch.manual_seed(seed)  # every method starts from the same numbers
        mean = task.targets[task.training].to(dtype).mean()
        self.model = task.model(partial(method.table, sparse=method.sparse), task.tables, mean)
        self.start = self.banded_rows()
        self.optimizers = method.optimizers(self.model, lr, decay)
        self.order = torch.Generator().manual_seed(seed)
        self.loss = mse_loss if task.name == "movielens" else binary_cross_entropy_with_logits

    def epoch(self) -> float:
        """Pass over the training examples once; seconds. What rows owe is paid by then."""
        training = self.task.training
        order = torch.randperm(len(training), generator=self.order)
        begin = time.perf_counter()
        self.model.train()
        for batch in training[order].split(self.task.batch):
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            self.losses(batch, "mean").backward()
            for optimizer in self.optimizers:
                optimizer.step()
        self.model.eval()
        return time.perf_counter() - begin

    def losses(self, batch: Tensor, reduction: str = "none") -> Tensor:
        targets = self.task.targets[batch].to(self.dtype)
        return self.loss(self.model(self.task.inputs[batch]), targets, reduction=reduction)

    def banded_rows(self) -> Tensor:
        return self.model.tables[self.task.banded].weight.detach().clone()


def fit(task: Task, name: str, lr: float, decay: float, seed: int) -> Run:
    """Train until validation has not improved for some epochs; what was best is kept."""
    run = Run(task, name, lr, decay, seed)
    for number in range(1, EPOCHS + 1):
        run.epoch()
        with torch.no_grad():
            loss = run.losses(task.validation, "mean").item()
        if loss < run.best:
            run.best, run.epochs = loss, number
            run.kept = {name: x.clone() for name, x in run.model.state_dict().items()}
        elif number - run.epochs >= PATIENCE:
            break
    return run


def scored(task: Task, run: Run) -> Scored:
    """The model of the best epoch on test: root mean square error, or log loss; by band and all."""
    run.model.load_state_dict(run.kept)
    with torch.no_grad():
        losses = run.losses(task.test).double().numpy()
        right = (run.model(task.inputs[task.test]) > 0) == task.targets[task.test]
    chosen = {name: task.band == i for i, name in enumerate(BANDS)} | {"all": task.band >= -1}
    finish = math.sqrt if task.name == "movielens" else float
    moved = (run.banded_rows() - run.start).norm(dim=1).numpy()
    of_rows = band_of(task.counts, task.bands)
    return Scored(
        loss={name: finish(losses[where].mean()) for name, where in chosen.items()},
        examples={name: int(where.sum()) for name, where in chosen.items()},
        moved={name: float(moved[of_rows == i].mean()) for i, name in enumerate(BANDS)},
        accuracy=None if task.name == "movielens" else float(right.double().mean()),
        lr=run.lr,
        decay=run.decay,
        epochs=run.epochs,
    )


def one_thread() -> None:
    """Batches this small gain nothing from a second thread."""
    torch.set_num_threads(1)
    rowtune.set_num_threads(1)


def of_split(name: str, seed: int) -> dict[str, Scored]:
    """What each method picks on one split, scored."""
    one_thread()
    task, results = TASKS[name](seed), {}
    for method in METHODS:
        begin = time.perf_counter()
        points = grid(task, method)
        if method in SAME:  # the same algorithm: what dense has picked is its pick
            dense = results[AGAINST[method]]
            points = [(dense.lr, dense.decay)]
        best = min((fit(task, method, *point, seed) for point in points), key=lambda run: run.best)
        results[method] = scored(task, best)
        say(f"{name}, split {seed}, {method}: {time.perf_counter() - begin:.0f} s")
    return results


# --- equality and time ---------------------------------------------------------------------------


def difference(task: Task, caught_up: str) -> float:
    """To dense after an epoch in float64: the largest of an element, over the largest element."""
    point, dense = grid(task, caught_up)[-1], AGAINST[caught_up]
    pair = [Run(task, method, *point, 0, torch.float64) for method in (dense, caught_up)]
    for run in pair:
        run.epoch()
    tables = zip(*(run.model.tables for run in pair), strict=True)
    weights = [(a.weight.detach(), b.weight.detach()) for a, b in tables]
    largest = max(float((a - b).abs().max() / a.abs().max()) for a, b in weights)
    assert largest <= TOLERANCE, f"{caught_up} is not its dense optimizer: {largest:.1e}"
    return largest


def timed(task: Task) -> dict[str, list[float]]:
    """Seconds of an epoch of each method, taking turns; the first turn compiles."""
    runs = {method: Run(task, method, *grid(task, method)[0], 0) for method in METHODS}
    seconds = defaultdict(list)
    for turn in range(-1, TURNS):
        for method, run in runs.items():
            took = run.epoch()
            if turn >= 0:
                seconds[method].append(took)
    return seconds


def study(name: str, splits: list[dict[str, Scored]]) -> Study:
    task = TASKS[name](0)
    say(f"{name}: equality in float64, then time")
    return Study(
        task=task,
        scored={method: [split[method] for split in splits] for method in METHODS},
        seconds=timed(task),
        difference=max(difference(task, method) for method in SAME),
    )


def main(
    task: Annotated[
        Literal["both", "movielens", "sentences"], typer.Option(help="Which data.")
    ] = "both",
    seeds: Annotated[int, typer.Option(min=2, help="How many random splits.")] = 5,
    processes: Annotated[int, typer.Option(min=1, help="Splits that are trained at once.")] = 2,
) -> None:
    """Compare dense, lazy and catch-up by how often a row comes in training.

    The whole study (both tasks, five splits) is written to
    benchmarks/results/rare_rows.md; a part of it is printed only.
    """
    one_thread()
    names = list(TASKS) if task == "both" else [task]
    jobs = [(name, seed) for name in names for seed in range(seeds)]
    for name in names:
        TASKS[name](0)  # fetched here, not by two processes at once
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        done = dict(zip(jobs, pool.map(of_split, *zip(*jobs, strict=True)), strict=True))
    studies = [study(name, [done[name, seed] for seed in range(seeds)]) for name in names]
    report(studies, whole=task == "both" and seeds == 5)


if __name__ == "__main__":
    typer.run(main)
