"""Adam on JAX: optax on the whole table against row by row, all in place. ``bench_jax.py``.

200,000 and 4,000,000 rows of 64 columns, float32, 256 and 4,096 ids drawn evenly. A step is
lookup, loss, gradient, Adam; its arrays are donated, and come back in the same memory.

* optax, dense: `jax.value_and_grad` of the matrix, `optax.adam`, `optax.apply_updates`.
* rowwise(optax.adam), rule("adam"): `rowtune.jax.step` on a table that trains whole.
* floor: the same gathers, Adam and scatters in one donated program, and nothing else: of ids that
  are known to be sorted and unique, with gradients that are there already and one step count.

One step of the first three is compared first. Then all take turns on the same batches: one dense
step, then many of each of the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measured import machine, median, publish, spread

import rowtune.jax as rj

SMALL, LARGE, WIDTH, IDS, LR = 200_000, 4_000_000, 64, (256, 4_096), 1e-3
BATCHES, IN_A_ROW, DENSE_ROUNDS = 16, 100, {SMALL: 40, LARGE: 8}
DENSE, ROWWISE, RULE = "optax, dense", "rowwise(optax.adam)", 'rule("adam")'
FLOOR = "floor: gather, Adam, scatter"
Step = Callable[[Any, Any], Any]


def loss(rows: jax.Array, target: jax.Array) -> jax.Array:
    return 0.5 * jnp.square(rows - target).sum()


class Dense:
    """What one writes with optax."""

    def __init__(self, matrix: np.ndarray) -> None:
        tx = optax.adam(LR)

        def step(matrix: Any, state: Any, ids: Any, target: Any) -> Any:
            value, grad = jax.value_and_grad(lambda m: loss(m[ids], target))(matrix)
            change, state = tx.update(grad, state, matrix)
            return optax.apply_updates(matrix, change), state, value

        self._step = jax.jit(step, donate_argnums=(0, 1))
        self.block = jnp.array(matrix)
        self._state = tx.init(self.block)

    def step(self, ids: jax.Array, target: jax.Array) -> None:
        self.block, self._state, value = self._step(self.block, self._state, ids, target)
        jax.block_until_ready((self.block, self._state, value))


class Rows:
    """The same in rowtune.jax."""

    def __init__(self, matrix: np.ndarray, optimizer: rj.RowOptimizer) -> None:
        self._table = rj.split(matrix)
        self._state = optimizer.init(self._table)
        self._step = rj.step(loss, optimizer)

    @property
    def block(self) -> jax.Array:
        return self._table.block

    def step(self, ids: jax.Array, target: jax.Array) -> None:
        self._table, self._state, value = self._step(self._table, self._state, ids, target)
        jax.block_until_ready((self._table, self._state, value))


class Floor:
    """The rows of a batch, their m and v: read, moved, written."""

    def __init__(self, matrix: np.ndarray) -> None:
        sure = {"unique_indices": True, "indices_are_sorted": True}

        def step(arrays: Any, ids: Any, grads: Any) -> Any:
            row, m, v = (x.at[ids].get(mode="promise_in_bounds", **sure) for x in arrays)
            m = 0.9 * m + 0.1 * grads
            v = 0.999 * v + 0.001 * grads * grads
            row = row - LR * m / (jnp.sqrt(v) + 1e-8)
            pairs = zip(arrays, (row, m, v), strict=True)
            return [x.at[ids].set(y, mode="drop", **sure) for x, y in pairs]

        self._step = jax.jit(step, donate_argnums=0)
        self._arrays = [jnp.array(matrix), *(jnp.zeros(matrix.shape) for _ in "mv")]
        self._sorted: dict[int, jax.Array] = {}

    def step(self, ids: jax.Array, target: jax.Array) -> None:
        if id(ids) not in self._sorted:
            unique = np.unique(ids)
            spare = np.setdiff1d(np.arange(2 * len(ids)), unique)[: len(ids) - len(unique)]
            self._sorted[id(ids)] = jnp.asarray(np.sort(np.append(unique, spare)), jnp.int32)
        self._arrays = self._step(self._arrays, self._sorted[id(ids)], target)
        jax.block_until_ready(self._arrays)


def compare(methods: dict[str, Any], ids: jax.Array, target: jax.Array) -> None:
    """One step of each: the same rows, in the memory in which they were."""
    for method in methods.values():
        method.step(ids, target)  # the first may copy what came from outside
    expected = np.asarray(methods[DENSE].block[ids])
    for name, method in methods.items():
        np.testing.assert_allclose(method.block[ids], expected, rtol=1e-5, atol=1e-6, err_msg=name)
        before = method.block.unsafe_buffer_pointer()
        method.step(ids, target)
        assert method.block.unsafe_buffer_pointer() == before, name
        np.testing.assert_allclose(
            method.block[ids], methods[DENSE].block[ids], rtol=1e-5, atol=1e-5, err_msg=name
        )


def measure(rows: int) -> dict[tuple[int, str], list[float]]:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((rows, WIDTH), dtype=np.float32)
    methods: dict[str, Any] = {
        DENSE: Dense(matrix),
        ROWWISE: Rows(matrix, rj.rowwise(optax.adam(LR))),
        RULE: Rows(matrix, rj.rule("adam", lr=LR)),
    }
    floor = Floor(matrix)
    del matrix
    seconds: dict[tuple[int, str], list[float]] = {}
    for count in IDS:
        batches = [jnp.asarray(rng.integers(0, rows, count), jnp.int32) for _ in range(BATCHES)]
        target = jnp.zeros((count, WIDTH))
        if count == IDS[0]:
            compare(methods, batches[0], target)
        methods[FLOOR] = floor
        for name, method in methods.items():
            for batch in batches:
                method.step(batch, target)  # compiled, and its ids known
            seconds[count, name] = []
        for turn in range(DENSE_ROUNDS[rows]):
            for name, method in methods.items():
                # In a row, as in training: a dense step between them would empty the caches.
                for step in range(1 if name == DENSE else IN_A_ROW):
                    start = time.perf_counter()
                    method.step(batches[(turn + step) % BATCHES], target)
                    seconds[count, name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    load = os.getloadavg()[0]
    found = {rows: measure(rows) for rows in (SMALL, LARGE)}
    table, wanted = [], {256: 80, 4_096: 8}
    for rows, seconds in found.items():
        for (count, name), times in seconds.items():
            ratio = median(seconds[count, DENSE]) / median(times)
            flat = median(times) / median(found[SMALL][count, name])
            table.append(
                [f"{rows:,}", f"{count:,}", name, spread(times), f"{ratio:.1f} x", f"{flat:.2f} x"]
            )
    said = []
    for count, want in wanted.items():
        for name in (ROWWISE, RULE):
            small, large = found[SMALL], found[LARGE]
            ratio = median(small[count, DENSE]) / median(small[count, name])
            flat = median(large[count, name]) / median(small[count, name])
            fastest = min(small[count, DENSE]) / min(small[count, name])
            floor = median(small[count, name]) / median(small[count, FLOOR])
            verdict = "reached" if ratio >= want else "missed"
            said.append(
                f"{name}, {count:,} ids: {ratio:.1f} x faster than dense at {SMALL:,} rows (at "
                f"least {want} wanted: {verdict}; {fastest:.1f} x by the fastest steps), "
                f"{floor:.2f} x the floor, {flat:.2f} x its own time at {LARGE:,} rows"
            )
    publish(
        "jax",
        f"Adam on JAX: a whole training step, {WIDTH} columns, float32, CPU",
        ["rows", "ids", "method", "ms: median (lowest - highest)", "dense over it", "over 200,000"],
        table,
        "; ".join(said)
        + f". After each dense step {IN_A_ROW} of each of the others in a row, all of them timed. "
        "Ids drawn evenly; all arrays donated, in place by their addresses. "
        "XLA on the CPU splits each gather and scatter of a large table over the threads, whatever "
        "number of rows it names: that is most of the floor. Load of the machine (mean "
        f"of a minute) {load:.1f} before and {os.getloadavg()[0]:.1f} after: above 1 before, other "
        "work was running, and the medians are not those of a quiet machine. "
        + machine("rowtune", "jax", "optax", "numpy"),
    )


if __name__ == "__main__":
    main()
