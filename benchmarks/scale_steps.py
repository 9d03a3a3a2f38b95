"""What a step costs against the size of the table, and what large blocks take of memory.

``python benchmarks/scale_steps.py`` prints four tables; ``--quick`` only small sizes, in a minute.

* A step is a lookup, its gradient and the update of 8,192 rows, all different, drawn anew for each
  step from the whole table; float32. It goes from 10,000 rows, where everything is in the caches,
  to 100,000,000. 400,000 rows of 16 columns still fit into a large cache, those of 64 do not.
* floor: the same number of other rows, drawn in the same way in the same run, is gathered, and
  rows, state and step counts are read and written once in id order, with prefetching, by all
  threads. No check, no grouping, no arithmetic to speak of.
* Tables of all sizes lie in memory together and take turns of five steps and five floors, each
  after one that does not count: a machine that is shared changes its pace within a minute.
* Every page of block and state exists before the clock runs, and the first step is compared with
  the formula.

Memory is in `scale_memory`, keys and growth in `scale_keys`.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import time
from collections.abc import Callable

import numba
import numpy as np
from measured import machine, median, publish, spread

from rowtune import Table
from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.row_copy import copy_row
from rowtune.kernels.threads import for_each_chunk, get_num_threads

BATCH, TURNS, IN_A_ROW = 8_192, 6, 5
SIZES = (10_000, 100_000, 400_000, 4_000_000, 40_000_000, 100_000_000)
QUICK = (10_000, 100_000, 400_000, 4_000_000)
# Rule, columns, and the most rows: those of all sizes within 12 GB.
CASES = (
    ("rowwise_adagrad", 16, 100_000_000),
    ("rowwise_adagrad", 64, 40_000_000),
    ("adam", 16, 40_000_000),
)
LR = 0.1
EPS = {"rowwise_adagrad": 1e-10, "adam": 1e-8}


@numba.njit(nogil=True)
def _gather(block, ids, out, begin, end):
    for i in range(begin, end):
        if i + 8 < end:
            prefetch_row(block, ids[i + 8])
        copy_row(block, ids[i], out, i)


@numba.njit(nogil=True)
def _read_and_write(array, ids, nothing):
    for i in range(ids.shape[0]):
        if i + 8 < ids.shape[0]:
            prefetch_row(array, ids[i + 8])
        for j in range(array.shape[1]):
            array[ids[i], j] += nothing


def floor(arrays: list[np.ndarray], ids: np.ndarray, out: np.ndarray) -> float:
    """Seconds to gather rows of the first array, and to read and write those of all once."""
    ascending = np.sort(ids)
    parts = get_num_threads()
    edges = np.linspace(0, len(ids), parts + 1).astype(int)

    def gather(part: int) -> None:
        _gather(arrays[0], ids, out, edges[part], edges[part + 1])

    def read_and_write(part: int) -> None:
        mine = ascending[edges[part] : edges[part + 1]]
        for array in arrays:
            _read_and_write(array, mine, array.dtype.type(0))

    start = time.perf_counter()
    for_each_chunk(gather, parts)
    for_each_chunk(read_and_write, parts)
    return time.perf_counter() - start


def different_ids(rng: np.random.Generator, rows: int) -> np.ndarray:
    """``BATCH`` ids, all different, in any order."""
    if rows < 8 * BATCH:
        return rng.permutation(rows)[:BATCH]
    drawn = rng.choice(np.unique(rng.integers(0, rows, 2 * BATCH)), BATCH, replace=False)
    return drawn.astype(np.int64)


def expected(rule: str, grads: np.ndarray) -> np.ndarray:
    """Rows of zeros after one step."""
    size = np.abs(grads) if rule == "adam" else np.sqrt((grads**2).mean(axis=1, keepdims=True))
    return -LR * grads / (size + EPS[rule])


Engine = tuple[Callable[[np.ndarray, np.ndarray], None], list[np.ndarray]]


def numpy_engine(rule: str, rows: int, width: int) -> Engine:
    table = Table.zeros(rows, width, rule=rule, lr=LR)

    def step(ids: np.ndarray, grads: np.ndarray) -> None:
        table.lookup(ids)
        table.update(ids, grads)

    return step, [table.block, *table.state.values(), table._block.steps[:, None]]


def torch_engine(rule: str, rows: int, width: int) -> Engine:
    import torch

    import rowtune.torch as rt

    embedding = rt.Embedding(rows, width, sparse=True)
    maker = {"rowwise_adagrad": rt.optim.RowwiseAdagrad, "adam": rt.optim.Adam}[rule]
    optimizer = maker(embedding.parameters(), lr=LR)
    with torch.no_grad():
        embedding.block.zero_()

    def step(ids: np.ndarray, grads: np.ndarray) -> None:
        optimizer.zero_grad()
        embedding(torch.from_numpy(ids)).backward(torch.from_numpy(grads))
        optimizer.step()

    state = optimizer.row_state(embedding.block)
    arrays = [embedding.block.detach(), *(state[n] for n in state if n != "step")]
    return step, [*(a.numpy() for a in arrays), state["step"].numpy()[:, None]]


ENGINES = {"Table": numpy_engine, "torch.Embedding": torch_engine}


class Steps:
    """Steps on a table of one size, and their seconds beside those of the floor."""

    def __init__(self, engine: str, rule: str, rows: int, width: int) -> None:
        self.rows, self.rng = rows, np.random.default_rng(0)
        self.step, self.arrays = ENGINES[engine](rule, rows, width)
        for array in self.arrays:
            array.fill(0)
        self.grads = self.rng.standard_normal((BATCH, width), dtype=np.float32)
        self.out = np.empty((BATCH, width), np.float32)
        self.ours: list[float] = []
        self.least: list[float] = []
        self._compare(rule)
        floor(self.arrays, different_ids(self.rng, rows), self.out)  # compiled

    def _compare(self, rule: str) -> None:
        ids = different_ids(self.rng, self.rows)
        self.step(ids, self.grads)
        moved = self.arrays[0][ids]
        np.testing.assert_allclose(moved, expected(rule, self.grads), rtol=1e-4, atol=1e-6)
        assert np.count_nonzero(self.arrays[-1][ids]) == BATCH, "each row has taken its step"

    def turn(self, floor_first: bool) -> None:
        """Some steps and some floors; the first of each finds the caches as another left them."""
        for ways in (self._floor, self._step)[:: 1 if floor_first else -1]:
            for place in range(1 + IN_A_ROW):
                ways(different_ids(self.rng, self.rows), place > 0)

    def _step(self, ids: np.ndarray, counts: bool) -> None:
        start = time.perf_counter()
        self.step(ids, self.grads)
        if counts:
            self.ours.append(time.perf_counter() - start)

    def _floor(self, ids: np.ndarray, counts: bool) -> None:
        seconds = floor(self.arrays, ids, self.out)
        if counts:
            self.least.append(seconds)


def cost_of_a_step(sizes: tuple[int, ...], turns: int = TURNS) -> None:
    table, notes = [], []
    for engine, (rule, width, largest) in itertools.product(ENGINES, CASES):
        tables = [Steps(engine, rule, rows, width) for rows in sizes if rows <= largest]
        for turn in range(turns):
            for steps in tables:
                steps.turn(floor_first=turn % 2 == 1)
        medians = {steps.rows: median(steps.ours) for steps in tables}
        for steps in tables:
            mine = medians[steps.rows]
            over = f"{mine / medians[400_000]:.2f} x" if steps.rows >= 400_000 else ""
            table.append([
                engine, rule, f"{steps.rows:,} x {width}", spread(steps.ours), spread(steps.least),
                f"{mine / median(steps.least):.2f} x", over,
            ])  # fmt: skip
        most = max(medians)
        notes.append(
            f"{engine}, {rule}: {most:,} x {width} cost {medians[most] / medians[400_000]:.2f} x "
            "what 400,000 rows do (at most 1.5 wanted)"
        )
        del tables, steps
        gc.collect()
    publish(
        "scale_steps",
        f"A step of {BATCH:,} different rows against the size of the table",
        ["engine", "rule", "table", "ms: median (lowest - highest)", "floor, ms", "over the floor",
         "over 400,000 rows"],
        table,
        ". ".join(notes) + ". " + machine("rowtune", "numpy", "numba", "torch"),
    )  # fmt: skip


def peak_memory(sizes: list[tuple[str, int, int]]) -> None:
    import scale_memory

    table = []
    for engine in ("numpy", "torch"):
        for rule, rows, width in sizes:
            peak, _, least = scale_memory.measured(engine, rule, rows, width)
            gigabytes = [f"{number / 1e9:.2f}" for number in (peak, least)]
            assert peak < 1.25 * least + 4e8, "a needless copy"
            table.append([engine, rule, f"{rows:,} x {width}", *gigabytes, f"{peak / least:.2f} x"])
    publish(
        "scale_memory",
        "Peak memory of training a block, beside what block, state and step counts hold (float32)",
        ["engine", "rule", "block", "peak, GB", "its arrays, GB", "ratio"],
        table,
        "Every row written and touched, in a process of its own; what the process held before is "
        "taken off. 24 GB are the limit. " + machine("rowtune", "numpy", "torch"),
    )


def main() -> None:
    import scale_keys

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    quick = parser.parse_args().quick
    cost_of_a_step(QUICK if quick else SIZES, 2 if quick else TURNS)
    large = [("rowwise_adagrad", 100_000_000, 16), ("adam", 10_000_000, 64)]
    peak_memory([(rule, n // 50, w) for rule, n, w in large] if quick else large)
    scale_keys.vocabulary(200_000 if quick else 5_000_000)
    scale_keys.growth((300, 1_000, 3_000) if quick else (1_000, 10_000, 100_000))


if __name__ == "__main__":
    main()
