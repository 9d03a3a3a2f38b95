"""Peak memory of a block that trains whole, beside what its arrays hold: one process for each.

``python benchmarks/scale_memory.py ENGINE RULE ROWS WIDTH [FOLDER]`` prints bytes: the peak, how
much of it is memory and no file, and what the arrays hold. Every row is written first, and every
row's state touched at last, so that nothing is left out of the count.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

BATCH = 1 << 16
_PIECE = 1 << 22  # values that are drawn at a time


def bytes_of(rule: str, rows: int, width: int) -> dict[str, int]:
    """What a float32 block of rows x width needs: block, state, step counts."""
    state = {"rowwise_adagrad": 1, "adam": 2 * width, "rowwise_adam": width + 1}[rule]
    return {"block": 4 * rows * width, "state": 4 * rows * state, "steps": 4 * rows}


def status(name: str) -> int:
    """A figure of this process as the kernel keeps it (VmHWM, VmRSS, RssAnon), in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def _table(rule: str, rows: int, width: int, folder: str | None):
    from rowtune import Table

    table = Table.zeros(rows, width, rule=rule, state_folder=folder)
    rng = np.random.default_rng(0)
    for start in range(0, rows, _PIECE // width):
        piece = table.block[start : start + _PIECE // width]
        rng.standard_normal(out=piece, dtype=np.float32)

    def step(ids: np.ndarray) -> None:
        found = table.lookup(ids)
        table.update(ids, found)

    return step, lambda row: table.block[row], table


def _embedding(rule: str, rows: int, width: int, folder: str | None):
    import torch

    import rowtune.torch as rt

    embedding = rt.Embedding(rows, width, sparse=True)
    makers = {"rowwise_adagrad": rt.optim.RowwiseAdagrad, "adam": rt.optim.Adam}
    if rule == "rowwise_adam":
        makers[rule] = rt.optim.RowwiseAdam
    optimizer = makers[rule](embedding.parameters(), state_folder=folder)

    def step(ids: np.ndarray) -> None:
        optimizer.zero_grad()
        embedding(torch.from_numpy(ids)).square().sum().backward()
        optimizer.step()

    return step, lambda row: embedding.block.detach()[row].numpy(), (embedding, optimizer)


def main(engine: str, rule: str, rows: int, width: int, folder: str | None = None) -> None:
    make = {"numpy": _table, "torch": _embedding}[engine]
    step = make(rule, 1000, width, None)[0]
    step(np.arange(1000))  # frameworks and kernels are loaded, and not counted
    before = status("VmRSS")
    step, row_of, alive = make(rule, rows, width, folder)
    first = row_of(0).copy()
    for start in range(0, rows, BATCH):
        step(np.arange(start, min(start + BATCH, rows)))
    assert (np.abs(row_of(0)) < np.abs(first)).all(), "every row moved towards zero"
    assert np.isfinite(row_of(rows - 1)).all()
    print(status("VmHWM") - before, status("RssAnon"), sum(bytes_of(rule, rows, width).values()))
    del alive


def measured(engine: str, rule: str, rows: int, width: int, folder: str = "") -> tuple[int, ...]:
    """Peak and anonymous bytes of a new process, and what the arrays hold."""
    command = [
        sys.executable,
        __file__,
        engine,
        rule,
        str(rows),
        str(width),
        *[folder][: bool(folder)],
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800)
    return tuple(map(int, done.stdout.split()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
