"""Table 5: peak memory of a few training steps over the bare table, each method in its own process.

``python torch_memory.py`` prints the table; ``python torch_memory.py CASE METHOD`` is one such
process and prints bytes. In it, the method first runs on a small table (libraries are loaded and
kernels compiled then) and the memory in use is read; then come the table, the module and a few
steps at full size, whose peak is read. The table, the ids and the given gradients are taken off.
State that began as zeros is written once: in a long run all of it will have been.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from measured import machine, publish
from torch import Tensor

import torch_pooled
import torch_zipf
from bench_update import BATCH, SMALL
from resident import count_from_here, memory, tidy
from torch_rounds import say, timed_step
from torch_ways import OURS, WAYS, Trained, with_optimizer

STEPS, LR, BAG = 4, 1e-3, 16
MEGABYTE = 1e6


class Size(NamedTuple):
    rows: int
    width: int
    trainable: int
    ids: tuple[int, ...]

    def small(self) -> Size:
        # A smaller batch too: memory that a method keeps for the next one is to be seen.
        ids = (*self.ids[:-1], self.ids[-1] // 8)
        return Size(self.rows // 20, self.width, self.trainable // 20 + 1, ids)


class Run(NamedTuple):
    trained: Trained
    batches: list[tuple[tuple[Tensor, ...], Tensor]]  # what the module takes, the given gradient


class Case(NamedTuple):
    title: str
    size: Size
    methods: tuple[str, ...]
    make: Callable[[str, Size], Run]
    need: Callable[[str, Size], int]  # bytes, counted by hand


def some_rows(name: str, size: Size, optimizer: str) -> Run:
    table = torch.randn(size.rows, size.width)
    trainable = torch.randperm(size.rows)[: size.trainable].sort().values
    way = WAYS[name](table, trainable)
    ids = [torch.randint(size.rows, size.ids) for _ in range(2)]
    batches = [((way.prepared(i),), torch.randn(*size.ids, size.width)) for i in ids]
    return Run(with_optimizer(way, name in OURS, optimizer, LR), batches)


def all_rows(name: str, size: Size) -> Run:
    places = torch.randperm(size.rows)[:SMALL]
    ids = [torch_pooled.zipf_ids(size.ids[0], places) for _ in range(2)]
    batches = [((i,), torch.randn(*size.ids, size.width)) for i in ids]
    return Run(torch_zipf.trained(name, torch.randn(size.rows, size.width)), batches)


def pooled(name: str, size: Size) -> Run:
    ends = torch.arange(0, size.ids[0] + 1, BAG)
    batches = [
        ((torch.randint(size.rows, size.ids), ends), torch.randn(len(ends) - 1, size.width))
        for _ in range(2)
    ]
    return Run(torch_pooled.BUILD[name](torch.randn(size.rows, size.width)), batches)


def need_some(name: str, size: Size) -> int:
    """Block, two moments and a count; the output; the gradient; a slot for each row."""
    ids = torch.Size(size.ids).numel()
    grads = size.trainable if "False" in name else ids * size.trainable // size.rows
    return 4 * (size.width * (3 * size.trainable + ids + grads) + size.trainable + size.rows)


def need_all(_name: str, size: Size) -> int:
    """Two moments and a count, the output; the gradient is the given one, the block the table."""
    return 4 * (size.width * (2 * size.rows + size.ids[0]) + size.rows)


def need_pooled(_name: str, size: Size) -> int:
    """A number a row, the sums, a gradient for each position."""
    return 4 * (size.rows + size.width * (size.ids[0] // BAG + size.ids[0]))


def adam_on(rows: int) -> Case:
    size = Size(rows, 64, rows, (BATCH,))
    both = (torch_zipf.THEIRS, torch_zipf.OURS)
    return Case(f"{rows:,} x 64, all train", size, both, all_rows, need_all)


CASES = {
    "forum": Case(
        "75,000 x 300, 15,000 train",
        Size(75_000, 300, 15_000, (512, 75)),
        tuple(WAYS),
        lambda name, size: some_rows(name, size, "Adam"),
        need_some,
    ),
    "tokens": Case(
        "128,256 x 1,024, 64 train",
        Size(128_256, 1_024, 64, (1, 2_048)),
        ("PEFT TrainableTokens", *OURS),
        lambda name, size: some_rows(name, size, "AdamW"),
        need_some,
    ),
    "adam-1m": adam_on(1_000_000),
    "adam-4m": adam_on(4_000_000),
    "pooled": Case(
        "1,000,000 x 64, sums of bags",
        Size(1_000_000, 64, 1_000_000, (4_096,)),
        (torch_pooled.TORCH, torch_pooled.THEIRS, torch_pooled.OURS),
        pooled,
        need_pooled,
    ),
}


def steps(run: Run) -> None:
    for step in range(STEPS):
        inputs, upstream = run.batches[step % len(run.batches)]
        timed_step(run.trained.module, inputs, upstream, run.trained.optimizer)
        if step == 0 and run.trained.optimizer is not None:
            for state in run.trained.optimizer.state.values():
                for value in state.values():
                    if isinstance(value, Tensor) and value.ndim:
                        value.mul_(1)


def peak(case: Case, method: str) -> int:
    """Bytes at the peak of the steps, over the table and what the steps are given."""
    steps(case.make(method, case.size.small()))
    tidy()
    before = memory("VmRSS")
    run = case.make(method, case.size)
    tidy()
    count_from_here()
    steps(run)
    inputs = [tensor for taken, upstream in run.batches for tensor in (*taken, upstream)]
    given = sum({t.data_ptr(): t.nbytes for t in inputs}.values())
    return memory("VmHWM") - before - given - 4 * case.size.rows * case.size.width


def in_own_process(case: str, method: str) -> int:
    command = [sys.executable, __file__, case, method]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case}, {method}:\n{done.stderr}")
    say(f"table 5: {case}, {method}")
    return int(done.stdout.split()[-1])


def main() -> None:
    jobs = [(name, method) for name, case in CASES.items() for method in case.methods]
    with ThreadPoolExecutor(2) as pool:  # two at a time: memory is counted, not time
        peaks = list(pool.map(lambda job: in_own_process(*job), jobs))
    lines = []
    for (name, method), bytes_ in zip(jobs, peaks, strict=True):
        case = CASES[name]
        is_ours = method.startswith("rowtune")
        need = f"{case.need(method, case.size) / MEGABYTE:,.1f}" if is_ours else ""
        lines.append([case.title, method, f"{bytes_ / MEGABYTE:,.1f}", need])
    say("")
    publish(
        "torch_memory",
        "Peak memory of training steps over the bare table",
        ["case", "method", "peak MB over the table", "MB that k and the batch need"],
        lines,
        f"Rules and batches as in each case's own table. Each method in a fresh process, {STEPS} "
        "steps; the table itself, the ids and the gradient that the backward starts from are taken "
        "off. Last column, counted by hand: block (where it is not the table), state "
        "with step counts, the batch's output, the block's gradient and the slot of each row. "
        + machine("rowtune", "torch", "peft", "fbgemm-gpu-cpu", "numba", "numpy"),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.manual_seed(0)
        print(peak(CASES[sys.argv[1]], sys.argv[2]))
    else:
        main()
