"""Keys per second of `rowtune.Vocabulary`, and what a row costs that is added to a table."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from measured import machine, median, publish, spread

from rowtune import Table, Vocabulary

TURNS, BATCH = 5, 1 << 16


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _ways(keys: np.ndarray, asked: np.ndarray) -> dict[str, tuple[Callable, Callable]]:
    """For each way: make it of ``keys`` (then ask it for ``asked``, given what was made)."""
    pieces = np.array_split(keys, max(1, len(keys) // BATCH))

    def added() -> Vocabulary:
        vocabulary = Vocabulary()
        for piece in pieces:
            vocabulary.add(piece)
        return vocabulary

    def sorted_keys() -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(keys)
        return keys[order], order

    def searched(made: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        ordered, order = made
        place = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
        return np.where(ordered[place] == asked, order[place], -1)

    def of_dict(known: dict) -> np.ndarray:
        return np.fromiter((known.get(k, -1) for k in asked.tolist()), np.int64, len(asked))

    def of_arrow(known: pa.Array) -> np.ndarray:  # it makes its table anew in every call
        return pc.fill_null(pc.index_in(pa.array(asked), value_set=known), -1).to_numpy()

    return {
        "rowtune.Vocabulary": (added, lambda made: made.rows(asked)),
        "dict": (lambda: {key: row for row, key in enumerate(keys.tolist())}, of_dict),
        "numpy.searchsorted": (sorted_keys, searched),
        "pyarrow index_in": (lambda: pa.array(keys), of_arrow),
    }


def vocabulary(count: int) -> None:
    """Random 64-bit keys: first all are added, then as many are asked for, half of them known."""
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(-(2**63), 2**63 - 1, count))
    rng.shuffle(keys)
    asked = rng.permutation(np.concatenate([keys[: count // 2], ~keys[count // 2 :]]))
    ways = _ways(keys, asked)
    ways["rowtune.Vocabulary"][0]()  # compiled
    seconds: dict[str, list[list[float]]] = {name: [[], []] for name in ways}
    answers = {}
    for _ in range(TURNS):
        for name, (make, ask) in ways.items():
            took, made = _seconds(make)
            seconds[name][0].append(took)
            took, answers[name] = _seconds(lambda ask=ask, made=made: ask(made))
            seconds[name][1].append(took)
            del made
    for name, answer in answers.items():
        np.testing.assert_array_equal(answer, answers["dict"], err_msg=name)
    assert (answers["dict"] >= 0).sum() == count // 2
    table = []
    for name, (making, asking) in seconds.items():
        million = [f"{len(keys) / median(s) / 1e6:.1f}" for s in (making, asking)]
        table.append([name, million[0], spread(making), million[1], spread(asking)])
    publish(
        "scale_vocabulary",
        f"{len(keys):,} random 64-bit keys to rows",
        ["what", "million keys added / s", "ms", "million keys asked for / s", "ms"],
        table,
        "dict is given a list of Python's integers; searchsorted cannot add keys later, and "
        "index_in makes its table in every call. " + machine("rowtune", "numpy", "pyarrow"),
    )


def _grown(rows: int, by_hand: bool) -> float:
    """Microseconds a row: one row added, and one step on it."""
    table = Table.zeros(4, 16, rule="adam")
    new, grads = np.ones((1, 16), np.float32), np.ones((1, 16), np.float32)
    table.update(table.grow(new), grads)
    start = time.perf_counter()
    if by_hand:
        arrays = [np.zeros((4, 16), np.float32) for _ in range(3)] + [np.zeros(4, np.int32)]
        for _ in range(rows):
            arrays = [np.concatenate([a, np.zeros_like(a[:1])]) for a in arrays]
    else:
        for _ in range(rows):
            table.update(table.grow(new), grads)
    took = time.perf_counter() - start
    if not by_hand:
        assert len(table) == rows + 5
        assert (table.steps[4:] == 1).all()
        assert len(np.unique(table.block[4:])) == 1
    return took / rows * 1e6


def growth(sizes: tuple[int, ...]) -> None:
    """Rows that are added one by one, each with a step of its own."""
    table = []
    for rows in sizes:
        ours = [_grown(rows, by_hand=False) for _ in range(TURNS)]
        few = min(rows, 10_000)
        theirs = [_grown(few, by_hand=True) for _ in range(2)]
        table.append([f"{rows:,}", spread(ours, 1, 1), f"{spread(theirs, 1, 1)} ({few:,} rows)"])
    publish(
        "scale_growth",
        "Table.grow of one row and a step of Adam on it (16 columns)",
        ["rows added", "microseconds a row", "numpy.concatenate of the same arrays, no step"],
        table,
        machine("rowtune", "numpy"),
    )
