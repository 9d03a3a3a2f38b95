"""What the ranks do in the tests of `rowtune.torch.distributed`: trained models, and refusals.

Run as a script it does all of it: once in one process, then on two ranks and on three, which begin
as forks of that process, since TorchRec takes seconds to import.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

import rowtune.torch as rt
from rowtune.torch.distributed import LazyEmbedding, distribute
from rowtune.torch.distributed.rule_names import checked, optimizer_of

LIGHT = not {"torchrec", "fbgemm_gpu"} & set(sys.modules)  # whoever trains under DDP waits for none

N, D, WORLDS, SECONDS = 40, 4, (2, 3), 240
TRAIN = [3, 1, 8, 9, 15, 16, 22, 23, 24, 31, 38]
EXTRA = [0, 2, 5, 8, 39]
# By step, then by rank; the third rank is there with three.
MIXED = [[[3, 3, 8, 0], [8, 1, 1, 39], [9, 3]], [[31, 38], [38, 38, 22, 5], [2]],
         [[16, 3], [3, 8], [3, 3, 3]]]  # fmt: skip
EMPTY = [[[], [3, 8, 3], [1]], [[], [], []], [[9], [], []]]
FROZEN = [[[0, 39], [3, 9], [0]], [[0], [39, 0], [2]], [[38, 9], [0], [3]]]
ALL = MIXED + EMPTY + FROZEN


@dataclass(frozen=True)
class Case:
    """One training: on the ranks, and as one process does it with the batches of all of them."""

    how: str
    rule: str = "rowwise_adagrad"
    hyper: dict[str, Any] = field(default_factory=dict)
    lr: float = 0.1
    sparse: bool = False
    lazy: bool = False
    steps: Any = field(default_factory=lambda: ALL)
    extra: str = ""  # which ranks use the second table, step by step: "all", "none", "0", "1"
    swapped: bool = False  # rank 1 looks the tables up in the other order


USES = {"extra": "all none 0 1 0 none 1 all 0".replace(" ", ",")}
EPS = {"eps": 1e-3, "initial_accumulator_value": 0.25}
CASES = {
    "ddp, dense": Case("ddp"),
    "ddp, row-sparse": Case("ddp", sparse=True),
    "ddp, adam": Case("ddp", "adamw", {"betas": (0.8, 0.9)}, sparse=True),
    "ddp, momentum": Case("ddp", "nesterov", {"momentum": 0.8}),
    "ddp, unused": Case("ddp", "sgd", **USES),
    "ddp, unused, row-sparse": Case("ddp", "adagrad", sparse=True, **USES),
    "ddp, made by the ranks": Case("ddp", lazy=True, **USES),
    "torchrec, sgd": Case("torchrec", "sgd"),
    "torchrec, adagrad": Case("torchrec", "adagrad", EPS),
    "torchrec, rowwise_adagrad": Case("torchrec", "rowwise_adagrad", EPS),
    "torchrec, unused": Case("torchrec", **USES),
    "torchrec, made by the ranks": Case("torchrec", lazy=True, **USES),
    "torchrec, in another order": Case("torchrec", "sgd", lr=0.01, extra="all", swapped=True),
}


class Model(nn.Module):
    def __init__(self, folder, case, rank=0):
        super().__init__()
        table = np.load(f"{folder}/table.npy", mmap_mode="r")
        kind = LazyEmbedding if case.lazy else rt.Embedding
        self.words = kind.from_pretrained(table, train=TRAIN, sparse=case.sparse)
        self.extra = None
        if case.extra:
            self.extra = kind.from_pretrained(table, train=EXTRA, sparse=case.sparse)
        self.head = nn.Linear(D, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.sin(torch.arange(2.0 * D)).view(2, D))
            self.head.bias.zero_()
        self.swapped = case.swapped and rank == 1

    def forward(self, ids, with_extra=False):
        if with_extra and self.swapped:
            more = self.extra(ids)
            return {"out": self.head(self.words(ids) + more)}
        rows = self.words(ids)
        return {"out": self.head(rows + self.extra(ids) if with_extra else rows)}


def loss_of(model, ids, with_extra):
    target = torch.stack([ids % 5, ids % 7], 1).float()
    return (model(ids, with_extra)["out"] - target).square().sum()


def uses_extra(case, step, rank):
    who = case.extra.split(",")
    who = who[step % len(who)]
    return who == "all" or who == str(rank)


def batch(case, step, rank):
    return torch.tensor(case.steps[step][rank], dtype=torch.int64)


def slower(optimizer, step):
    """A schedule, which has to reach the rows that move inside the backward pass."""
    if step == 3:
        for group in optimizer.param_groups:
            group["lr"] *= 0.5


def alone(folder, case, world):
    """The weights of one process whose loss is the mean of the ranks'."""
    model = Model(folder, Case("ddp", sparse=case.sparse, extra=case.extra))
    given, options = checked(case.rule, {"lr": case.lr, **case.hyper})
    optimizer = optimizer_of(case.rule, list(model.parameters()), given, options)
    for step in range(len(case.steps)):
        parts = [loss_of(model, batch(case, step, r), uses_extra(case, step, r))
                 for r in range(world)]  # fmt: skip
        (sum(parts) / world).backward()
        optimizer.step()
        optimizer.zero_grad()
        slower(optimizer, step)
    found = {"head": model.head.weight.detach().clone()}
    for name in ("words", "extra") if case.extra else ("words",):
        block = getattr(model, name).block
        found[f"{name}.rows"] = block.detach().clone()
        for key, value in optimizer.row_state(block).items():
            found[f"{name}." + ("steps" if key == "step" else f"state.{key}")] = value.clone()
    return found


def on_a_rank(folder, case, rank, world):
    """The same on the ranks: what of it is here at the end."""
    model = Model(folder, case, rank)
    placed = distribute(model, case.rule, case.lr, how=case.how, **case.hyper)
    before = hashed(placed.module)
    for step in range(len(case.steps)):
        loss_of(placed, batch(case, step, rank), uses_extra(case, step, rank)).backward()
        placed.optimizer.step()
        placed.optimizer.zero_grad()
        slower(placed.optimizer, step)
    shards = placed.shards()
    placed.save_patch(f"{folder}/{world} {case_name(case)}.safetensors")
    return {
        "head": placed.module.head.weight.detach().clone(),
        "how": placed.how,
        "base": [before, hashed(placed.module)],
        "parameters": sorted(name for name, _ in placed.module.named_parameters()),
        "shards": {
            name: {"total": s.total, "begin": s.begin, "facts": s.facts,
                   "arrays": {k: v.clone() for k, v in s.arrays.items()}}
            for name, s in shards.items()
        },
    }  # fmt: skip


def case_name(case):
    return next(name for name, other in CASES.items() if other is case)


def hashed(model):
    """SHA-256 of the bytes of the base, with the NaN and -0.0 in it."""
    return hashlib.sha256(model.words.base.contiguous().numpy().tobytes()).hexdigest()


# --- processes -----------------------------------------------------------------------------------


def meet(folder, rank, world, name):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/{name}{world}", rank=rank, world_size=world,
        timeout=datetime.timedelta(seconds=60),
    )  # fmt: skip


def one_rank(folder, rank, world):
    from placed_refusals import REFUSALS

    found = {}
    meet(folder, rank, world, "meeting")
    todo = {name: (on_a_rank, case) for name, case in CASES.items()}
    todo |= {name: (function, None) for name, function in REFUSALS.items()}
    for name, (function, case) in todo.items():
        try:
            found[name] = function(*(x for x in (folder, case) if x is not None), rank, world)
        except Exception:
            found[name] = {"failure": traceback.format_exc()}
    torch.save(found, f"{folder}/rank {rank} of {world}")
    distributed.barrier()
    distributed.destroy_process_group()


def start(folder, rank, world, work):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        work(folder, rank, world)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(folder, world, until, work):
    """All ranks, of which none outlives this call."""
    children = {start(folder, rank, world, work) for rank in range(world)}
    try:
        while children and time.monotonic() < until:
            for child in list(children):
                if os.waitpid(child, os.WNOHANG)[0]:
                    children.discard(child)
            time.sleep(0.02)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def main(folder):
    until = time.monotonic() + SECONDS
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    torch.save({"light": LIGHT}, f"{folder}/light")
    import rowtune.torch.distributed.torchrec_block  # noqa: F401 - once, and not in every rank

    for world in WORLDS:
        expected = {name: alone(folder, case, world) for name, case in CASES.items()}
        torch.save(expected, f"{folder}/alone for {world}")
    for world in WORLDS:
        run(folder, world, until, one_rank)
    from placed_saves import WORLDS_OF_SAVES, saves_on_a_rank

    for world in WORLDS_OF_SAVES:
        run(folder, world, until, saves_on_a_rank)


if __name__ == "__main__":
    main(sys.argv[1])
