"""Adam in PyTensor on the rows of a batch: the whole table's gradient against `rowtune.pytensor`.

Run it as ``python benchmarks/bench_pytensor.py``. PyTensor's default mode, 64 columns, float32; ids
are drawn by Zipf's law from as many rows of either table, which lie anywhere in it; the cost is the
mean squared distance of the rows from a vector.

* dense: as one writes it, ``grad(cost, table)`` and Adam over the table. The gradient is a matrix
  of the table's size, and every row, m and v is read and written.
* ours: `rowtune.pytensor.updates` on the same cost.

One step of each from the same table is compared first. The two are timed in turn. That no later
call of ours compiles is seen from the signatures of the compiled function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from measured import machine, median, publish, spread

import rowtune.pytensor as rp

SIZES, WIDTH, BATCHES, WANTED = (200_000, 4_000_000), 64, (256, 4_096), {256: 300, 4_096: 10}
LR, BETA1, BETA2, EPS = (np.float32(x) for x in (1e-3, 0.9, 0.999, 1e-8))
ONE = np.float32(1)
WARM = 20  # calls of ours that are not counted: the dense one before has emptied the caches


class Engine(NamedTuple):
    """A compiled step, and the table's shared variable."""

    step: Callable[[np.ndarray], np.ndarray]
    table: pytensor.compile.sharedvalue.SharedVariable


def start(num_rows: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((num_rows, WIDTH), dtype=np.float32)


def cost_of(rows: pt.TensorVariable) -> pt.TensorVariable:
    target = np.linspace(-1, 1, WIDTH, dtype=np.float32)
    return pt.mean(pt.sqr(rows - target))


def dense(num_rows: int) -> Engine:
    """What one writes by hand; state that is touched page by page before any clock runs."""
    table = pytensor.shared(start(num_rows), borrow=True)
    m, v = (pytensor.shared(np.full((num_rows, WIDTH), 0, np.float32), borrow=True) for _ in "mv")
    t = pytensor.shared(np.float32(0))
    ids = pt.lvector("ids")
    cost = cost_of(table[ids])
    gradient = pytensor.grad(cost, table)
    new_t = t + ONE
    new_m = BETA1 * m + (ONE - BETA1) * gradient
    new_v = BETA2 * v + (ONE - BETA2) * gradient**2
    root = pt.sqrt(new_v / (ONE - BETA2**new_t)) + EPS
    updates = {
        table: table - LR * (new_m / (ONE - BETA1**new_t)) / root,
        m: new_m,
        v: new_v,
        t: new_t,
    }
    return Engine(pytensor.function([ids], cost, updates=updates), table)


def ours(num_rows: int) -> Engine:
    table = rp.lookup_table(start(num_rows))
    ids = pt.lvector("ids")
    rows = table[ids]
    cost = cost_of(rows)
    updates = rp.updates(cost, rows, "adam", lr=1e-3)
    for state in table.state.values():
        state.get_value(borrow=True).fill(0)
    return Engine(pytensor.function([ids], cost, updates=updates), table.block)


def check(engines: list[Engine], ids: np.ndarray) -> None:
    """One step of each is the same step, and moves the rows of the batch only."""
    before = engines[0].table.get_value(borrow=True).copy()
    costs = [float(engine.step(ids)) for engine in engines]
    np.testing.assert_allclose(costs[0], costs[1], rtol=1e-6)
    values = [engine.table.get_value(borrow=True) for engine in engines]
    np.testing.assert_allclose(values[0][ids], values[1][ids], rtol=0, atol=1e-6)
    assert not np.array_equal(values[1][ids], before[ids])
    moved = [np.unique(np.flatnonzero((x != before).any(axis=1))) for x in values]
    assert all(np.array_equal(x, np.unique(ids)) for x in moved)


def timed(engine: Engine, ids: np.ndarray) -> float:
    begin = time.perf_counter()
    engine.step(ids)
    return time.perf_counter() - begin


def zipf(rng: np.random.Generator, places: np.ndarray, count: int) -> np.ndarray:
    """Ids whose ranks follow the inverse of Zipf's distribution with exponent 1."""
    ranks = np.exp(rng.random(count) * np.log(len(places))).astype(np.int64) - 1
    return places[ranks]


def measure(num_rows: int, seconds: dict[tuple[str, int, int], list[float]]) -> None:
    rng = np.random.default_rng(1)
    places = rng.permutation(num_rows)[: SIZES[0]]
    engines = [dense(num_rows), ours(num_rows)]
    check(engines, zipf(rng, places, 500))
    for n in BATCHES:
        rounds, per_round = (12, 25) if num_rows == SIZES[0] else (6, 50)
        for turn in range(rounds + 1):
            batches = [zipf(rng, places, n) for _ in range(1 + WARM + per_round)]
            took = timed(engines[0], batches[0])
            mine = [timed(engines[1], ids) for ids in batches[1:]][WARM:]
            if turn:
                seconds.setdefault(("dense", num_rows, n), []).append(took)
                seconds.setdefault(("ours", num_rows, n), []).extend(mine)
    compiled = len(engines[1].step.vm.jit_fn.signatures)
    assert compiled == 1, f"{compiled} signatures: a later call has compiled"


def main() -> None:
    seconds: dict[tuple[str, int, int], list[float]] = {}
    for num_rows in SIZES:
        measure(num_rows, seconds)
    medians = {what: median(times) for what, times in seconds.items()}
    small, large = SIZES
    rows, said = [], []
    for n in BATCHES:
        for size in SIZES:
            slow, fast = medians["dense", size, n], medians["ours", size, n]
            both = (spread(seconds[x, size, n], digits=d) for x, d in (("dense", 1), ("ours", 3)))
            rows.append([f"{size:,}", f"{n:,}", *both, f"{slow / fast:,.0f} x"])
        ratio = medians["dense", small, n] / medians["ours", small, n]
        reached = "reached" if ratio >= WANTED[n] else "not reached"
        growth = medians["ours", large, n] / medians["ours", small, n]
        said.append(
            f"{n:,} ids: {ratio:,.0f} x on {small:,} rows (at least {WANTED[n]} wanted: "
            f"{reached}); ours on {large // small} times the rows: {growth:.2f} x its time."
        )
    publish(
        "pytensor",
        f"PyTensor's default mode, Adam, {WIDTH} columns, float32: milliseconds a step",
        ["rows of the table", "ids", "dense", "ours", "dense / ours"],
        rows,
        " ".join(said) + " All calls of ours ran what the first had compiled. "
        + machine("rowtune", "pytensor", "numpy", "numba"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
