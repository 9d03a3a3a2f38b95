"""`Table.update` with Adam: against the memory that must move, and against what people use.

Run it as ``python benchmarks/bench_update.py``. 32,768 ids a batch from Zipf's law, 64 columns, a
table of 4,000,000 rows and one of 400,000 with the same number of touched rows in every batch.

* floor: with the groups given, read each gradient once and read and write weights, m and v of the
  touched rows once, in id order, each asked for ahead, on as many threads. No check, no grouping,
  no arithmetic to speak of. It works on the table's own arrays.
* SparseAdam: torch's, on the same gradients, its sum over duplicates (coalesce) included.
* NumPy: the same lazy Adam by hand: unique, add.at, fancy indexing.

The three are measured in turn, batch by batch; before that, one step of each is compared.
"""

from __future__ import annotations

import time
from collections import defaultdict

import numba
import numpy as np
import torch
from measured import machine, median, publish, spread

from rowtune import Table
from rowtune.kernels.grouping import group
from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.threads import for_each_chunk, get_num_threads

SMALL, LARGE, WIDTH, BATCH, BATCHES, ROUNDS = 400_000, 4_000_000, 64, 32_768, 8, 12
CHUNKS = 16
EPS = 1e-15  # SparseAdam puts it beside the uncorrected root; so small, the steps are the same


@numba.njit(nogil=True, fastmath=True)
def _read_and_write(block, m, v, unique, starts, order, grads, nothing, begin, end):
    seen = np.float32(0)
    for i in range(begin, end):
        if i + 8 < end:
            ahead = np.int64(unique[i + 8])
            prefetch_row(block, ahead)
            prefetch_row(m, ahead)
            prefetch_row(v, ahead)
        for p in range(starts[i], starts[i + 1]):
            grad = grads[order[p]]
            for j in range(grad.shape[0]):
                seen += grad[j]
        slot = np.int64(unique[i])
        for j in range(block.shape[1]):
            block[slot, j] += nothing
            m[slot, j] += nothing
            v[slot, j] += nothing
    return seen


def floor(table: Table, groups, grads) -> float:
    arrays = (table.block, table.state["m"], table.state["v"])
    edges = np.linspace(0, len(groups.unique), CHUNKS + 1).astype(int)
    start = time.perf_counter()
    for_each_chunk(
        lambda c: _read_and_write(
            *arrays, groups.unique, groups.starts, groups.order, grads, np.float32(0),
            edges[c], edges[c + 1],
        ),
        CHUNKS,
    )  # fmt: skip
    return time.perf_counter() - start


class NumpyAdam:
    """What one writes by hand."""

    def __init__(self, rows: int) -> None:
        self.w, self.m, self.v = (np.zeros((rows, WIDTH), np.float32) for _ in range(3))
        self.t = np.zeros(rows, np.int64)

    def update(self, ids, grads) -> None:
        unique, inverse = np.unique(ids, return_inverse=True)
        sums = np.zeros((len(unique), WIDTH), np.float32)
        np.add.at(sums, inverse, grads)
        self.t[unique] += 1
        t = self.t[unique][:, None].astype(np.float32)
        m = self.m[unique] * np.float32(0.9) + np.float32(0.1) * sums
        v = self.v[unique] * np.float32(0.999) + np.float32(0.001) * sums * sums
        root = np.sqrt(v / (1 - np.float32(0.999) ** t)) + np.float32(EPS)
        self.w[unique] -= np.float32(1e-3) * (m / (1 - np.float32(0.9) ** t)) / root
        self.m[unique], self.v[unique] = m, v


class TorchSparseAdam:
    def __init__(self, rows: int) -> None:
        self.w = torch.nn.Parameter(torch.empty(rows, WIDTH).fill_(0))
        self.optimizer = torch.optim.SparseAdam([self.w], lr=1e-3, eps=EPS)

    def update(self, ids, grads) -> None:
        self.w.grad = torch.sparse_coo_tensor(
            torch.from_numpy(ids)[None],
            torch.from_numpy(grads),
            self.w.shape,
            check_invariants=False,
        )
        self.optimizer.step()

    def touch_every_page(self) -> None:
        """The state exists after one step; as fresh zeros its pages would be faulted in later."""
        for array in self.optimizer.state[self.w].values():
            if isinstance(array, torch.Tensor) and array.ndim == 2:
                array.mul_(1)


def zipf_batches(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ranks by the inverse of Zipf's distribution with exponent 1, over the smaller table."""
    batches = []
    for _ in range(BATCHES):
        ranks = np.exp(rng.random(BATCH) * np.log(SMALL)).astype(np.int64) - 1
        batches.append((ranks, rng.standard_normal((BATCH, WIDTH), dtype=np.float32)))
    return batches


def check(table: Table, rivals: list, ids, grads) -> None:
    """One step of each from zero weights is the same step."""
    table.update(ids, grads)
    touched = np.unique(ids)
    for rival in rivals:
        rival.update(ids, grads)
        theirs = rival.w.detach().numpy() if isinstance(rival, TorchSparseAdam) else rival.w
        np.testing.assert_allclose(table.block[touched], theirs[touched], atol=2e-6)
    before = table.block[touched].copy()
    floor(table, group(ids.astype(np.int32)), grads)
    np.testing.assert_array_equal(table.block[touched], before)


def main() -> None:
    rng = np.random.default_rng(0)
    batches = zipf_batches(rng)
    places = {n: rng.permutation(n)[:SMALL] for n in (SMALL, LARGE)}
    tables = {n: Table(np.zeros((n, WIDTH), np.float32), rule="adam", eps=EPS) for n in places}
    for table in tables.values():  # every page is there before the clock runs
        for array in (table.block, table._block.steps, *table.state.values()):
            array.fill(0)
    rivals = {"torch SparseAdam": TorchSparseAdam(LARGE), "NumPy by hand": NumpyAdam(LARGE)}
    for array in (rivals["NumPy by hand"].w, rivals["NumPy by hand"].m, rivals["NumPy by hand"].v):
        array.fill(0)
    check(tables[LARGE], list(rivals.values()), places[LARGE][batches[0][0]], batches[0][1])

    rivals["torch SparseAdam"].touch_every_page()

    seconds: dict[str, list[float]] = defaultdict(list)
    unique = [len(np.unique(ranks)) for ranks, _ in batches]
    for turn in range(ROUNDS + 1):
        for ranks, grads in batches:
            for n, table in tables.items():
                ids = places[n][ranks]
                groups = group(ids.astype(np.int32))
                took = floor(table, groups, grads)
                start = time.perf_counter()
                table.update(ids, grads)
                ours = time.perf_counter() - start
                if turn:
                    seconds[f"floor {n}"].append(took)
                    seconds[f"Table.update {n}"].append(ours)
        for name, rival in rivals.items():
            ids = places[LARGE][batches[turn % BATCHES][0]]
            start = time.perf_counter()
            rival.update(ids, batches[turn % BATCHES][1])
            if turn:
                seconds[name].append(time.perf_counter() - start)
    report(seconds, unique)


def report(seconds: dict[str, list[float]], unique: list[int]) -> None:
    low, ours, small = (
        median(seconds[k])
        for k in (f"floor {LARGE}", f"Table.update {LARGE}", f"Table.update {SMALL}")
    )
    rows = [
        [name, spread(times), f"{median(times) / low:.2f} x", f"{median(times) / ours:.2f} x"]
        for name, times in seconds.items()
    ]
    publish(
        "update",
        f"Adam on touched rows: {BATCH:,} Zipf ids, {WIDTH} columns, float32",
        [
            "what (rows of the table)",
            "ms: median (lowest - highest)",
            "over the floor",
            "over ours",
        ],
        rows,
        f"{np.mean(unique):,.0f} unique ids a batch, {get_num_threads()} threads. "
        f"`Table.update` on {LARGE:,} rows: {ours / low:.2f} x the floor of the same run (at most "
        f"1.5 wanted), {ours / small:.2f} x its own time on {SMALL:,} rows (at most 1.3 wanted). "
        + machine("rowtune", "numpy", "numba", "torch"),
    )


if __name__ == "__main__":
    main()
