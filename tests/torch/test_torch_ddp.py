"""DistributedDataParallel on two processes does what one process does with both batches.

Run as a script, this file is those processes; they write what they end with, case by case, and the
tests read that.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
import subprocess
import sys
import traceback
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import rowtune.torch as rt

N, D, WORLD = 40, 6, 2
TRAIN = [1, 3, 5, 30]

# Ids of each rank, step by step: duplicates that differ, rows that one rank alone looks up (5, 30),
# frozen ids among them, batches of different lengths.
MIXED = [
    ([1, 1, 5, 7, 1], [1, 3, 3, 9, 12]),
    ([3, 30, 30], [1, 1, 8]),
    ([5, 2], [3, 5, 5, 5, 1, 0]),
]
FROZEN_THERE = [([1, 3, 3, 7], [7, 8, 9]), ([2, 4], [5, 5, 1]), ([2, 2], [4, 6])]
EMPTY_THERE = [([1, 3, 3, 7], []), ([], [5, 5, 1]), ([1, 30], [1]), ([], [])]


@dataclass
class Case:
    """What is trained, and how; ``steps`` holds for each optimizer step the ids of the ranks."""

    kind: str = "Embedding"
    embedding: dict[str, Any] = field(default_factory=dict)
    ddp: dict[str, Any] = field(default_factory=dict)
    steps: list[Any] = field(default_factory=lambda: MIXED)
    accumulate: int = 1  # so many of the batches make one step
    clip: float | None = None
    memory_map: bool = False
    other_base: bool = False  # rank 1 has other frozen rows
    silent: int | None = None  # from the second step on, what is looked up here costs nothing
    extra: tuple[tuple[bool, bool], ...] = ()  # who uses a second table, step by step
    grow: bool = False
    catch_up: bool = False


SPARSE = {"sparse": True}
CASES = {
    "dense": Case(),
    "row-sparse": Case(embedding=SPARSE),
    "bag, dense": Case("EmbeddingBag", {"mode": "mean"}),
    "bag, row-sparse": Case("EmbeddingBag", {"mode": "sum", **SPARSE}),
    "columns": Case(embedding={"columns": [0, 4]}),
    "columns, row-sparse": Case(embedding={"columns": [0, 4], **SPARSE}),
    "all rows": Case(embedding={"train": "all"}),
    "all rows, row-sparse": Case(embedding={"train": "all", "padding_idx": 1, **SPARSE}),
    "a rank without trainable ids": Case(steps=FROZEN_THERE),
    "a rank without trainable ids, row-sparse": Case(embedding=SPARSE, steps=FROZEN_THERE),
    "a bag without trainable ids, row-sparse": Case("EmbeddingBag", SPARSE, steps=FROZEN_THERE),
    "an empty batch": Case(steps=EMPTY_THERE),
    "an empty batch, row-sparse": Case(embedding=SPARSE, steps=EMPTY_THERE),
    "no_sync": Case(accumulate=2, steps=MIXED + FROZEN_THERE),
    "no_sync, row-sparse": Case(embedding=SPARSE, accumulate=2, steps=MIXED + FROZEN_THERE),
    "gradient_as_bucket_view": Case(ddp={"gradient_as_bucket_view": True}, steps=MIXED * 2),
    "bucket view, row-sparse": Case(embedding=SPARSE, ddp={"gradient_as_bucket_view": True}),
    "static_graph": Case(ddp={"static_graph": True}),
    "find_unused_parameters": Case(
        ddp={"find_unused_parameters": True},
        extra=((True, True), (False, False), (True, False)),
    ),
    "clipped": Case(clip=0.5),
    "clipped, row-sparse": Case(embedding=SPARSE, clip=0.5),
    "a row whose gradient is zero": Case(silent=3, steps=MIXED[:2]),
    "a row whose gradient is zero, row-sparse": Case(embedding=SPARSE, silent=3, steps=MIXED[:2]),
    "a read-only memory map": Case(memory_map=True),
    "a base that differs": Case(other_base=True),
    "grow": Case(grow=True),
    "catch-up": Case(catch_up=True, steps=MIXED + FROZEN_THERE),
    "catch-up, row-sparse": Case(embedding=SPARSE, catch_up=True, steps=MIXED + EMPTY_THERE),
}


class Model(nn.Module):
    def __init__(self, case, folder, rank):
        super().__init__()
        table = np.load(f"{folder}/table.npy", mmap_mode="r" if case.memory_map else None)
        if case.other_base and rank == 1:
            table[[11, 20, 39]] += 1  # rows that no batch looks up
        kind = getattr(rt, case.kind)
        self.words = kind.from_pretrained(table, **{"train": TRAIN, **case.embedding})
        self.extra = rt.Embedding.from_pretrained(table, train=TRAIN) if case.extra else None
        self.head = nn.Linear(D, 2, dtype=torch.float64)
        with torch.no_grad():
            rows = torch.sin(torch.arange(2 * D, dtype=torch.float64)).view(2, D)
            self.head.weight.copy_(rows)
            self.head.bias.zero_()
            if rank == 1:  # DDP begins with what rank 0 has
                self.words.block.add_(1)
                self.head.weight.mul_(2)

    def forward(self, ids, with_extra=False):
        if isinstance(self.words, rt.EmbeddingBag):
            rows = self.words(torch.stack([ids, (ids * 3) % N], 1))
        else:
            rows = self.words(ids)
        return self.head(rows + self.extra(ids) if with_extra else rows)


def cost(model, ids, share, with_extra, silent=None):
    """Of one rank: ``share`` is what makes the mean over ranks the mean over all positions."""
    target = torch.stack([ids % 5, ids % 7], 1).double()
    heard = 1.0 if silent is None else (ids != silent)[:, None]
    return ((model(ids, with_extra) - target) * heard).square().sum() * share


def train(case, folder, rank, world):
    """The case on one of two ranks, or with the batches of both in this one process."""
    model = Model(case, folder, rank)
    optimizer = rt.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, catch_up=case.catch_up)
    wrapped = DistributedDataParallel(model, **case.ddp) if world > 1 else model
    for number, step in enumerate(case.steps):
        ids = [torch.tensor(part, dtype=torch.int64) for part in step]
        share = world / max(1, sum(map(len, ids)))
        extra = case.extra[number] if case.extra else (False, False)
        silent = case.silent if number else None
        if silent is not None and world == 1 and not case.embedding:
            # Ranks share a dense gradient, but no record of lookups: a row of zeros stays there.
            ids = [part[part != silent] for part in ids]
        last = (number + 1) % case.accumulate == 0
        if world > 1:
            with contextlib.nullcontext() if last else wrapped.no_sync():
                cost(wrapped, ids[rank], share, extra[rank], silent).backward()
        elif extra[0] == extra[1]:
            cost(model, torch.cat(ids), share, extra[0], silent).backward()
        else:
            parts = zip(ids, (share, share), extra, strict=True)
            sum(cost(model, *part) for part in parts).backward()
        if last:
            if case.grow and number == 0:
                refusal = refused_growth(model) if world > 1 else ""
            if case.clip:
                rt.clip_grad_norm_(model.parameters(), case.clip)
            optimizer.step()
            optimizer.zero_grad()
    found = everything(model, optimizer)
    if case.grow:
        del wrapped
        found |= {"refusal": refusal, **grown(model, optimizer, rank, world)}
    return found


def everything(model, optimizer):
    tables = [model.words] + ([model.extra] if model.extra is not None else [])
    found = {"head": model.head.weight.detach().clone()}
    for place, table in enumerate(tables):
        state = {"block": table.block.detach(), **optimizer.row_state(table.block)}
        found |= {f"{name} {place}": value.clone() for name, value in state.items()}
    found["base"] = torch.empty(0) if model.words.base is None else model.words.base.clone()
    found["buffers"] = torch.tensor(len(list(model.buffers())))
    return found


def refused_growth(model):
    """Growing while DDP holds on to the block: the error, of which nothing may be left."""
    before = model.words.block.detach().clone()
    try:
        model.words.grow(2)
    except RuntimeError as error:
        assert model.words.num_embeddings == N
        assert model.words.block.equal(before)
        return str(error)
    return "it grew"


def grown(model, optimizer, rank, world):
    gc.collect()  # DDP is part of a cycle
    new = model.words.grow(torch.ones(2, D, dtype=torch.float64))
    wrapped = DistributedDataParallel(model) if world > 1 else model
    ids = [new[[0, 0]], new[[1]]]
    share = world / 3
    cost(wrapped, ids[rank] if world > 1 else torch.cat(ids), share, False).backward()
    optimizer.step()
    return {f"{name}, grown": value for name, value in everything(model, optimizer).items()}


def one_rank(rank, folder):
    """All cases, as one of the two processes."""
    for number, (name, case) in enumerate(CASES.items()):
        try:
            distributed.init_process_group(
                "gloo", init_method=f"file://{folder}/meeting{number}", rank=rank,
                world_size=WORLD, timeout=datetime.timedelta(seconds=60),
            )  # fmt: skip
            found = train(case, folder, rank, WORLD)
        except Exception:
            found = {"failure": traceback.format_exc()}
        torch.save(found, f"{folder}/{name} {rank}")
        with contextlib.suppress(Exception):
            distributed.destroy_process_group()


def main(folder):
    """First as one process, which also compiles all kernels; then as two that begin there."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    for name, case in CASES.items():
        torch.save(train(case, folder, 0, 1), f"{folder}/{name} alone")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    one_rank(1 if child == 0 else 0, folder)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where one process, and then two, have left what they ended with."""
    folder = tmp_path_factory.mktemp("ddp")
    np.save(folder / "table.npy", np.random.default_rng(0).standard_normal((N, D)))
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, folder],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=CASES)
def ended(request, folder):
    """What the ranks ended with in one of the cases, and what one process ends with."""
    ranks = [torch.load(folder / f"{request.param} {rank}", weights_only=True) for rank in (0, 1)]
    for found in ranks:
        assert "failure" not in found, found["failure"]
    alone = torch.load(folder / f"{request.param} alone", weights_only=True)
    return CASES[request.param], ranks, alone


def test_two_processes_do_what_one_does_with_both_batches(ended):
    case, ranks, expected = ended
    for found in ranks:
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if name not in ("base", "refusal"):
                torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-13, msg=name)
    steps = len(case.steps) // case.accumulate
    assert 0 < expected["step 0"].max() <= steps
    assert expected["step 0"].dtype == torch.int32


def test_both_end_with_the_same_bits(ended):
    case, ranks, expected = ended
    if case.catch_up:  # each pays when it reads: equal to rounding, see the test above
        assert (expected["step 0"] == len(case.steps)).all()
        return
    one, other = ({k: v for k, v in r.items() if k != "base" and v is not None} for r in ranks)
    for name in one:
        same = one[name] == other[name]
        assert same if isinstance(same, bool) else same.all(), name


def test_the_base_is_nobodys_but_the_ranks_own(ended, folder):
    case, ranks, _ = ended
    table = torch.from_numpy(np.load(folder / "table.npy"))
    for rank, found in enumerate(ranks):
        assert found["buffers"] == 0
        if not found["base"].numel():
            continue
        own = table.clone()
        if case.other_base and rank == 1:
            own[[11, 20, 39]] += 1
        rows = slice(1, 2) if case.embedding.get("train") == "all" else slice(None)
        assert found["base"][rows].equal(own[rows])


def test_growing_under_ddp_is_refused_and_says_what_to_do(folder):
    for rank in range(WORLD):
        refusal = torch.load(folder / f"grow {rank}", weights_only=True)["refusal"]
        assert "cannot grow now" in refusal
        assert "before wrapping the model in DistributedDataParallel, and wrap it anew" in refusal
