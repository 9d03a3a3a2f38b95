"""Saves of what `distribute` has placed: two ranks make them, one and three load them."""

from __future__ import annotations

import numpy as np
import torch
from placed_cases import D, meet
from torch import distributed, nn

import rowtune
import rowtune.torch as rt
from rowtune.errors import CheckpointError
from rowtune.torch import saves
from rowtune.torch.distributed import LazyEmbedding, distribute

WORLDS_OF_SAVES = (2, 1, 3)  # the first saves, and the others load
ROWS, BIG = 60, 50
# Nothing but TorchRec's tables: no parameters at all. A rule without state. One table each way.
SAVES = {
    "rowwise": ("rowwise_adagrad", "float32", True, "torchrec"),
    "nothing dense": ("adagrad", "int8", False, "torchrec"),
    "without state": ("sgd", "map", True, "torchrec"),
    "both ways": ("adagrad", "int8", True, "auto"),
}


def base(folder, kind):
    table = np.random.default_rng(0).standard_normal((ROWS, D)).astype(np.float32)
    if kind == "int8":
        return rowtune.quantize(table)
    return np.load(folder + "/saved base.npy", mmap_mode="r") if kind == "map" else table


class Model(nn.Module):
    def __init__(self, folder, kind, dense, train=range(0, ROWS, 3)):
        super().__init__()
        self.words = rt.Embedding.from_pretrained(base(folder, kind), train=train)
        self.big = LazyEmbedding(BIG, D)
        torch.manual_seed(0)
        self.head = nn.Linear(D, 2) if dense else nn.Identity()

    def forward(self, ids):
        return self.head(self.words(ids) + self.big(ids % BIG))


def placed_as(folder, name, **other):
    rule, kind, dense, how = SAVES[name]
    # "auto": the words go to DDP, and of the rest there is room for TorchRec's rows and states.
    room = ROWS // 3 * (3 * 4 * D + 4) + BIG * 2 * 4 * D
    return distribute(Model(folder, kind, dense, **other), rule, 0.1, how=how,
                      worker_memory=room if how == "auto" else None)  # fmt: skip


def train(placed, rank, world, first, last):
    for step in range(first, last):
        ids = (torch.arange(6) * (step + 1) + 7 * rank) % ROWS
        if step == 1 and rank == world - 1:
            ids = ids[:0]
        placed(ids).square().sum().backward()
        placed.optimizer.step()
        placed.optimizer.zero_grad()
        for group in placed.optimizer.param_groups:
            group["lr"] *= 0.9


def bits(placed):
    """All that trains and is remembered, whole, as bytes."""
    found = {"lr": placed.optimizer.param_groups[0]["lr"]}
    for table, shard in placed.shards().items():
        for key, array in shard.arrays.items():
            parts = [array]
            if placed.how[table] == "torchrec":
                parts = [None] * distributed.get_world_size()
                distributed.all_gather_object(parts, array.clone())
            found[f"{table}.{key}"] = torch.cat(parts).numpy().tobytes()
    for name, parameter in placed.module.named_parameters():
        found[name] = parameter.detach().numpy().tobytes()
    return found


def refused(function, *args):
    try:
        function(*args)
    except CheckpointError as error:
        return str(error)
    return ""


def saves_on_a_rank(folder, rank, world):
    meet(folder, rank, world, "saves")
    if rank == 0:
        np.save(folder + "/saved base.npy", base(folder, "float32"))
    distributed.barrier()
    found = {}
    for name in SAVES:
        placed, home = placed_as(folder, name), f"{folder}/saves {name}"
        said = {"how": placed.how, "began": bits(placed)}
        if world == WORLDS_OF_SAVES[0]:
            saver = saves.Saver(home)
            train(placed, rank, world, 0, 3)
            saver.save(placed, step=3)
            train(placed, rank, world, 3, 4)
            said["kind"] = saver.save(placed, step=4, extra={"epoch": 1}).kind
            said["saved"] = bits(placed)
            train(placed, rank, world, 4, 7)
            said["later"] = bits(placed)
            again = placed_as(folder, name)
            saves.load(home, again)
            train(again, rank, world, 4, 7)
            said["again"] = bits(again)
        else:
            loaded = saves.load(home, placed)
            said |= {"extra": loaded.extra, "step": loaded.step, "loaded": bits(placed)}
        other = placed_as(folder, name, train=range(1, ROWS, 3))
        before = bits(other)
        said["other rows"] = refused(saves.load, home, other)
        said["kept"] = before == bits(other)
        found[name] = said
    torch.save(found, f"{folder}/saves on rank {rank} of {world}")
    distributed.barrier()
    distributed.destroy_process_group()
