"""What is refused, on every rank, and what the ranks come to: choices, patches, first rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from placed_cases import TRAIN, Case, D, Model, N, loss_of
from torch import distributed, nn

import rowtune.torch as rt
from rowtune.torch.distributed import LazyEmbedding, distribute


def said(function, *args, **kwargs):
    """The class and text of what it raises, or "" and what it returns."""
    try:
        return "", str(function(*args, **kwargs))
    except Exception as error:
        return type(error).__name__, str(error)


def rows_of(placed):
    return {name: s.arrays["rows"].clone() for name, s in placed.shards().items()}


def bad_ids(how):
    def on_rank(folder, rank, world):
        """An id that is wrong on the last rank alone, in the first table or the second."""
        placed = distribute(Model(folder, Case(how, extra="all")), "adagrad", 0.1, how=how)
        before, errors = rows_of(placed), []
        for wrong in (N, -1):
            ids = torch.tensor([3, wrong if rank == world - 1 else 8])
            errors.append(said(placed, ids, True))
        errors.append(said(placed, torch.tensor([2.0 if rank == world - 1 else 3.0]).to(
            torch.float32 if rank == world - 1 else torch.int64)))  # fmt: skip
        # Another error of one rank, which has looked nothing up by then.
        errors.append(said(placed, *((torch.tensor([3]),) if rank else ())))
        same = all(rows_of(placed)[name].equal(rows) for name, rows in before.items())
        loss_of(placed, torch.tensor([3, 8]), True).backward()  # and all is as it was
        placed.optimizer.step()
        moved = [not rows_of(placed)[name].equal(rows) for name, rows in before.items()]
        return {"errors": errors, "same": same, "moved": moved}

    return on_rank


def grad_modes(folder, rank, world):
    placed = distribute(Model(folder, Case("torchrec")), how="torchrec")
    with torch.set_grad_enabled(rank == 0):
        return said(placed, torch.tensor([3]))


def twice(folder, rank, world):
    """Rows that TorchRec would move twice in a step."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = LazyEmbedding(6, D)

        def forward(self, *ids):
            return sum(self.table(i).sum() for i in ids)

    placed = distribute(Two(), "adagrad", 0.1, how="torchrec")
    ids, before = torch.tensor([1, 2]), rows_of(placed)
    found = {
        "in one pass": said(placed, ids, ids),
        "same": rows_of(placed)["table"].equal(before["table"]),
    }
    with torch.no_grad():
        found["without gradients"] = said(placed, ids, ids)[0]
    placed(ids).backward()
    found["accumulated"] = said(placed(ids).backward)
    placed.optimizer.step()
    found["after a step"] = said(placed(ids).backward)
    other = Model(folder, Case("torchrec", extra="all", swapped=True), rank)
    mixed = distribute(other, "adagrad", 0.1, how="torchrec")
    found["another order"] = said(mixed, ids, True)
    return found


def disagreements(folder, rank, world):
    """What only rank 1 has otherwise."""
    table = np.load(f"{folder}/table.npy")
    other = rank == 1
    changed = table.copy()
    changed[39, 0] += other  # frozen
    make = rt.Embedding.from_pretrained
    tries = {
        "shape": (lambda: make(table[: N - other], train=TRAIN[:5]), {}),
        "train ids": (lambda: make(table, train=[3, 4 + other]), {}),
        "fingerprint": (lambda: make(changed, train=[3, 8]), {}),
        "the rule": (lambda: make(table, train=[3]), {"rule": "adagrad" if other else "sgd"}),
        "hyper": (lambda: make(table, train=[3]), {"lr": 0.1 + other}),
        "how": (lambda: make(table, train=[3]), {"how": "ddp" if other else "torchrec"}),
        "unknown": (lambda: make(table, train=[3]), {"rule": "sdg" if other else "sgd"}),
    }
    found = {}
    for name, (build, arguments) in tries.items():
        model = nn.Sequential(build())
        kind = type(model[0])
        found[name] = said(distribute, model, **arguments)
        assert type(model[0]) is kind
    return found


def choices(folder, rank, world):
    """What is chosen by memory, and refused where there is none."""

    def model(train=TRAIN, **more):
        table = torch.ones(N, D, **more)
        return nn.Sequential(rt.Embedding.from_pretrained(table, train=train, sparse=True))

    few = 11 * (4 * D + 4 + 4)  # rows, one number and one count each
    found = {}
    for name, kwargs in {
        "enough": {"worker_memory": few},
        "too little": {"worker_memory": few - 1},
        "default": {},
    }.items():
        placed = distribute(model(), **kwargs)
        found[name] = (placed.how["0"], placed.why["0"], repr(placed))
    two = nn.ModuleDict({"large": model()[0], "small": model([1])[0]})
    found["two tables"] = distribute(two, worker_memory=few).how
    asked = {"worker_memory": few - 1}
    found["no adam"] = said(distribute, model(), "adam", **asked)
    found["adam asked for"] = said(distribute, model(), "adam", how="torchrec")
    found["decay"] = said(distribute, model(), weight_decay=0.1, **asked)
    found["lr_decay"] = said(distribute, model(), lr_decay=0.1, **asked)
    found["catch_up"] = said(distribute, model(), catch_up=True, **asked)
    found["double"] = said(distribute, model(dtype=torch.float64), **asked)
    found["nowhere"] = said(distribute, model(), worker_memory=10)
    found["no table"] = said(distribute, nn.Linear(2, 2))
    found["meta"] = said(distribute, rt.Embedding(8, D, device="meta"), **asked)
    sharded = distribute(model(), **asked)
    found["no_sync"] = said(sharded.no_sync().__enter__)
    found["weight"] = said(lambda: sharded.module[0].weight)
    found["not yet"] = said(LazyEmbedding(4, 2), torch.tensor([1]))
    return found


def first_rows(folder, rank, world):
    """What the rows of a table begin with, of which no rank makes more than its own."""
    made = []

    class Counting(LazyEmbedding):
        def rows_between(self, first, last):
            made.append((first, last))
            return super().rows_between(first, last)

    found = {}
    for init in ("normal", "kaiming", lambda a, b: torch.arange(a, b)[:, None] * torch.ones(D)):
        placed = distribute(Counting(70_001, D, init=init, seed=7), how="torchrec")
        shard = placed.shards()[""]
        found[str(init)[:7]] = (shard.begin, shard.arrays["rows"].clone())
    found["made"] = list(made)
    found["few"] = said(distribute, LazyEmbedding(world - 1, D), how="torchrec")
    return found


def patches(folder, rank, world):
    placed = distribute(Model(folder, Case("torchrec")), how="torchrec")
    found = {"no folder": said(placed.save_patch, Path(folder) / "nowhere" / "a.safetensors")}
    free = distribute(nn.Sequential(LazyEmbedding(6, D)), how="torchrec")
    found["no base"] = said(free.save_patch, f"{folder}/free.safetensors")
    distributed.barrier()
    return found


REFUSALS = {
    "bad ids, ddp": bad_ids("ddp"),
    "bad ids, torchrec": bad_ids("torchrec"),
    "grad modes": grad_modes,
    "twice": twice,
    "disagreements": disagreements,
    "choices": choices,
    "first rows": first_rows,
    "patches": patches,
}
