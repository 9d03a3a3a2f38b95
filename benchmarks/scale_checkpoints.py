"""Seconds and bytes of an incremental checkpoint against a full one, and against torch's.

    python benchmarks/scale_checkpoints.py [--rows 4000000] [--dim 64] [--rounds 3] [--folder DIR]

A block under Adam: rows, two arrays of its size, and a step count for each row. Everything is timed
until it is on the disk (fsync), ours and torch's, in one run on one disk. It needs twice the bytes
of the block and its state there, and once in memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measured import machine, publish, spread

from rowtune import checkpoints
from rowtune.checkpoints.changes import snapshot

SHARES = (0.001, 0.01, 0.1)
COLUMNS = ("what", "seconds: median (lowest - highest)", "MB written", "MB/s")


def make(rows: int, dim: int) -> checkpoints.Part:
    """A block of random numbers with Adam's state."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.standard_normal((rows, dim), np.float32)
        for name in ("rows", "state.m", "state.v")
    }
    arrays["steps"] = np.zeros(rows, np.int32)
    return checkpoints.Part(rows, 0, arrays, {"rule": "adam"})


def touch(part: checkpoints.Part, share: float, seed: int) -> None:
    """Move so many rows, drawn at random, as a step would."""
    count = round(len(part) * share)
    places = np.sort(np.random.default_rng(seed).choice(len(part), count, replace=False))
    for array in part.arrays.values():
        array[places] += 1


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def floors(part: checkpoints.Part, home: Path, rounds: int) -> list[list[str]]:
    """A plain write of all bytes, a plain read of them, and the pass over them that is ours."""
    total = part.row_bytes * len(part)
    before = snapshot(part)
    ways: list[tuple[str, Callable[[], Any], int]] = [
        (
            "floor: write and fsync of as many bytes",
            lambda: plain_write(part, home / "plain"),
            total,
        ),
        ("floor: read of all bytes in memory (sum)", lambda: plain_read(part), 0),
        ("the pass that finds what has changed", lambda: snapshot(part, before), 0),
    ]
    rows = []
    for name, work, written in ways:
        seconds = [timed(work)[0] for _ in range(rounds)]
        rows.append(line(name, seconds, written, total))
    return rows


def plain_write(part: checkpoints.Part, path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for array in part.arrays.values():
            left = memoryview(array).cast("B")
            while left:
                left = left[file.write(left) :]
        os.fsync(file.fileno())
    path.unlink()


def plain_read(part: checkpoints.Part) -> int:
    return sum(int(array.reshape(-1).view(np.uint32).sum()) for array in part.arrays.values())


def ours(part: checkpoints.Part, home: Path, rounds: int) -> list[list[str]]:
    """Full saves, incremental ones of several shares, and a load, which must give the same bits."""
    folder, rows, step = home / "ours", [], 0
    total = part.row_bytes * len(part)
    saver = checkpoints.Saver(folder, keep=1, full_every=1)
    full = []
    for _ in range(rounds):
        seconds, made = timed(lambda: saver.save({"items": part}, step=0))
        full.append(seconds)
        size = made.size
    rows.append(line("rowtune, full", full, size, size))
    shutil.rmtree(folder)
    saver = checkpoints.Saver(folder, keep=1, full_every=1000)
    saver.save({"items": part}, step=step)
    for share in SHARES:
        taken = []
        for _ in range(rounds):
            step += 1
            touch(part, share, step)
            seconds, made = timed(lambda: saver.save({"items": part}, step=step))  # noqa: B023
            assert (made.kind, made.rows) == ("incremental", round(len(part) * share))
            taken.append(seconds)
        name = f"rowtune, incremental, {share:.1%} of the rows"
        rows.append(line(name, taken, made.size, made.size))
    twin = {name: np.empty_like(array) for name, array in part.arrays.items()}
    other = checkpoints.Part(len(part), 0, twin, dict(part.facts))
    seconds, _ = timed(lambda: checkpoints.load(folder, {"items": other}))
    for name, array in part.arrays.items():
        assert np.array_equal(array.view(np.uint32), twin[name].view(np.uint32)), name
    rows.append(line(f"rowtune, load of the chain of {1 + step}", [seconds], 0, total))
    shutil.rmtree(folder)
    return rows


def torchs(part: checkpoints.Part, home: Path, rounds: int) -> list[list[str]]:
    """What torch has: all bytes, every time."""
    import torch
    from torch.distributed import checkpoint as dcp

    state = {name: torch.from_numpy(array) for name, array in part.arrays.items()}
    path, folder, rows = home / "state.pt", home / "dcp", []

    def save() -> None:
        with path.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    def save_dcp() -> None:  # its writer syncs files by default
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one process is what is meant
            dcp.save(state, checkpoint_id=folder, no_dist=True)

    for name, work, place in (
        ("torch.save", save, path),
        ("torch.distributed.checkpoint", save_dcp, folder),
    ):
        seconds = []
        for _ in range(rounds):
            shutil.rmtree(place, ignore_errors=True)
            place.unlink(missing_ok=True)
            seconds.append(timed(work)[0])
        files = [place] if place.is_file() else list(place.iterdir())
        size = sum(file.stat().st_size for file in files)
        rows.append(line(name, seconds, size, size))
    loaded = torch.load(path, weights_only=True)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    path.unlink()
    shutil.rmtree(folder)
    return rows


def line(name: str, seconds: list[float], written: int, passed: int) -> list[str]:
    speed = passed / sorted(seconds)[len(seconds) // 2] / 1e6
    return [name, spread(seconds, 1.0, 3), f"{written / 1e6:,.1f}", f"{speed:,.0f}"]


def rows_of(rows: int, dim: int, rounds: int, home: Path) -> list[list[str]]:
    """All lines of the table, in the order of the text."""
    part = make(rows, dim)
    plain = floors(part, home, rounds)
    return [*ours(part, home, rounds), *torchs(part, home, rounds), *plain]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to write; on the disk that is to be measured")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rowtune-bench.", dir=chosen.folder) as folder:
        lines = rows_of(chosen.rows, chosen.dim, chosen.rounds, Path(folder))
    size = make(8, chosen.dim).row_bytes * chosen.rows / 1e9
    publish(
        "scale_checkpoints",
        f"Checkpoints of {chosen.rows:,} x {chosen.dim} under Adam: {size:.2f} GB",
        COLUMNS,
        lines,
        "Incremental saves find the rows that have changed by hashes of 8 bytes a row: each costs "
        "one pass over the memory, and what it writes. Every byte of ours is hashed (SHA-256) as "
        "well as written, and torch's are not. " + machine("numpy", "torch") + ".",
    )


if __name__ == "__main__":
    main()
