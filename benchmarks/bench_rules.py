"""Catch-up: is it the dense optimizer's result, what does it cost, and is that result better?

Run it as ``python benchmarks/bench_rules.py [equality] [price] [study]``.

* Equality: 2,000 steps of Zipf batches on a table of 20,000 rows, the learning rate on a cosine
  schedule, decoupled weight decay on. Beside the dense optimizer: torch's own where it has the
  rule, else the rule itself with every row touched in every step.
* Price: a lookup and an update with and without catch-up, in turns, and a dense step of the rule,
  on 10,000 and 4,000,000 rows.
* Study: dense, lazy and caught-up training on real data: `rare_rows.py`, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measured import machine, median, publish, spread

from rowtune import Table, rules

ROWS, WIDTH, STEPS, BATCH, LR, DECAY = 20_000, 4, 2_000, 64, 1e-2, 1e-2
SIZES, WIDE, IDS, BATCHES, TURNS = (10_000, 4_000_000), 64, 32_768, 8, 40
PRICED = ("sgd", "momentum", "rmsprop", "adagrad", "adam", "amsgrad", "adamax", "lion")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# --- equality ------------------------------------------------------------------------------------


def zipf(rng: np.random.Generator, rows: int, count: int, places: np.ndarray) -> np.ndarray:
    """Ids of Zipf's law with exponent 1, by the inverse of its distribution."""
    return places[np.exp(rng.random(count) * np.log(rows)).astype(np.int64) - 1]


def rate(t: int) -> float:
    return LR * (1 + np.cos(np.pi * t / STEPS)) / 2


def stream():
    rng = np.random.default_rng(0)
    places = rng.permutation(ROWS)
    for t in range(STEPS):
        ids = zipf(rng, ROWS, BATCH, places)
        yield rate(t), ids, rng.standard_normal((BATCH, WIDTH))


def start(dtype) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((ROWS, WIDTH)).astype(dtype)


def caught_up(name: str, dtype) -> np.ndarray:
    table = Table(start(dtype), rule=name, catch_up=True, weight_decay=DECAY, decoupled=True)
    for lr, ids, grads in stream():
        table.lr = lr
        table.lookup(ids)
        table.update(ids, grads.astype(dtype))
    return table.weights.astype(np.float64)


def dense(name: str, dtype) -> tuple[np.ndarray, str]:
    """The same run with every row in every step, by torch's optimizer where it has this rule."""
    optimizer, of = _optimizer(name, dtype)
    everything = np.arange(ROWS)
    for lr, ids, grads in stream():
        whole = np.zeros((ROWS, WIDTH), dtype)
        np.add.at(whole, ids, grads.astype(dtype))
        optimizer(lr, everything, whole)
    return optimizer.weights().astype(np.float64), of


class Torchs:
    """A dense optimizer of torch; decoupled decay by hand where it has none: row *= 1 - lr * wd."""

    def __init__(self, make: Callable, dtype, decays: bool) -> None:
        self.parameter = torch.nn.Parameter(torch.from_numpy(start(dtype)))
        self.optimizer = make([self.parameter])
        self.decays = decays

    def __call__(self, lr: float, _: np.ndarray, grads: np.ndarray) -> None:
        self.optimizer.param_groups[0]["lr"] = lr
        self.parameter.grad = torch.from_numpy(grads)
        if not self.decays:
            with torch.no_grad():
                self.parameter.mul_(1 - lr * DECAY)
        self.optimizer.step()

    def weights(self) -> np.ndarray:
        return self.parameter.detach().numpy()


class Ours:
    """The rule itself, lazy, with every row touched in every step."""

    def __init__(self, name: str, dtype) -> None:
        self.table = Table(start(dtype), rule=name, weight_decay=DECAY, decoupled=True)

    def __call__(self, lr: float, ids: np.ndarray, grads: np.ndarray) -> None:
        self.table.lr = lr
        self.table.update(ids, grads)

    def weights(self) -> np.ndarray:
        return self.table.weights


TORCH = {
    "sgd": lambda p: torch.optim.SGD(p, lr=LR),
    "momentum": lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9, nesterov=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=LR),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=LR),
    "rmsprop_momentum": lambda p: torch.optim.RMSprop(p, lr=LR, momentum=0.9),
    "centered_rmsprop": lambda p: torch.optim.RMSprop(p, lr=LR, centered=True),
    "centered_rmsprop_momentum": lambda p: torch.optim.RMSprop(
        p, lr=LR, centered=True, momentum=0.9
    ),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=LR),
    "adam": lambda p: torch.optim.Adam(p, lr=LR),
    "adamw": lambda p: torch.optim.AdamW(p, lr=LR, weight_decay=DECAY),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=LR, amsgrad=True),
    "adamax": lambda p: torch.optim.Adamax(p, lr=LR),
}


def _optimizer(name: str, dtype):
    if name in TORCH:
        made = Torchs(TORCH[name], dtype, decays=name == "adamw")
        return made, f"torch.optim.{type(made.optimizer).__name__}"
    return Ours(name, dtype), "the rule, every row"


def equality() -> None:
    lines = []
    for name in rules.names():
        say(f"equality: {name}")
        (truth, of), (single, _) = dense(name, np.float64), dense(name, np.float32)
        norm = np.linalg.norm(truth, axis=1).mean()
        double = np.abs(caught_up(name, np.float64) - truth).max() / norm
        ours = np.linalg.norm(caught_up(name, np.float32) - truth)
        theirs = np.linalg.norm(single - truth)
        assert double <= 1e-10, (name, double)
        assert ours <= 2 * theirs, (name, ours, theirs)
        lines.append([name, of, f"{double:.1e}", f"{ours / theirs:.2f} x"])
    publish(
        "rules_equality",
        f"Catch-up against the dense optimizer: {STEPS:,} steps, {ROWS:,} rows",
        ["rule", "dense optimizer", "float64: largest difference", "float32: error, dense = 1"],
        lines,
        f"{BATCH} Zipf ids a step, cosine schedule, decoupled weight decay {DECAY}. float64: of "
        "any element, over the mean norm of the rows (at most 1e-10 wanted). float32: distance to "
        "the dense float64 run, over that of the dense float32 run (at most 2 wanted). Where "
        "torch's optimizer has no decoupled decay, rows are shrunk by hand before its step. "
        + machine("rowtune", "torch", "numba", "numpy"),
    )


# --- price ---------------------------------------------------------------------------------------


def price() -> None:
    lines = []
    for rows in SIZES:
        rng = np.random.default_rng(2)
        places = rng.permutation(rows)
        ids = [zipf(rng, rows, IDS, places) for _ in range(BATCHES)]
        grads = [rng.standard_normal((IDS, WIDE), dtype=np.float32) for _ in ids]
        for name in PRICED:
            say(f"price: {rows:,} rows, {name}")
            times = priced(name, rows, ids, grads)
            lazy, whole = median(times["lazy"]), median(times["dense"])
            lines += [
                [
                    f"{rows:,}",
                    name,
                    how,
                    spread(times[how], digits=2),
                    f"{median(times[how]) / lazy:.2f} x",
                ]
                for how in ("lazy", "catch-up")
            ]
            lines.append(
                [f"{rows:,}", name, "dense", f"{whole * 1e3:.1f}", f"{whole / lazy:.0f} x"]
            )
    publish(
        "rules_price",
        f"The price of catch-up: {IDS:,} Zipf ids, {WIDE} columns, float32",
        ["rows", "rule", "step", "ms: median (lowest - highest)", "over lazy"],
        lines,
        "A step is a lookup and an update, decoupled weight decay on; catch-up at most 2 x the "
        "lazy one is wanted. Dense: the rule moves every row (one step; the gradient is there). "
        "Batches come again every 8 steps, so that most rows have been away for 7. "
        + machine("rowtune", "numba", "numpy"),
    )


def priced(name: str, rows: int, ids, grads) -> dict[str, list[float]]:
    base = np.zeros((rows, WIDE), np.float32)
    hyper = {"rule": name, "weight_decay": DECAY, "decoupled": True}
    tables = {"lazy": Table(base, **hyper), "catch-up": Table(base, catch_up=True, **hyper)}
    for table in tables.values():
        for array in table.state.values():
            np.add(
                array, np.float32(1e-3), out=array
            )  # every page is there, and there is something to pay
    times = defaultdict(list)
    for turn in range(-4, TURNS):
        for how, table in tables.items():
            begin = time.perf_counter()
            table.lookup(ids[turn % BATCHES])
            table.update(ids[turn % BATCHES], grads[turn % BATCHES])
            if turn >= 0:
                times[how].append(time.perf_counter() - begin)
    times["dense"] = [dense_step(tables["lazy"], rows)]
    return times


def dense_step(table: Table, rows: int) -> float:
    """A pass over a tenth of the rows, times ten: the whole gradient would be another gigabyte."""
    part = rows // 10
    ids, grads = np.arange(part), np.ones((part, WIDE), np.float32)
    table.update(ids, grads)
    begin = time.perf_counter()
    table.update(ids, grads)
    return 10 * (time.perf_counter() - begin)


# --- study ---------------------------------------------------------------------------------------


def study() -> None:
    file = Path(__file__).parent / "rare_rows.py"
    if subprocess.run([sys.executable, str(file)], check=False).returncode:
        raise SystemExit("the study failed; see above")


def main() -> None:
    parts = {"equality": equality, "price": price, "study": study}
    chosen = sys.argv[1:] or list(parts)
    unknown = [name for name in chosen if name not in parts]
    if unknown:
        raise SystemExit(f"no part {', '.join(unknown)}; choose from {', '.join(parts)}")
    for name in chosen:
        parts[name]()


if __name__ == "__main__":
    main()
