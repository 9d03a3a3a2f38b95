"""Saves by two processes of torch.distributed: each writes a share, one or two load them.

Run as a script, this file is those processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import rowtune.torch as rt
from rowtune.errors import CheckpointError
from rowtune.torch import saves

WORLD, ROWS = 2, 30


def make():
    torch.manual_seed(0)
    model = nn.Sequential(rt.Embedding(ROWS, 4), nn.Linear(4, 2))
    return model, rt.optim.Adam(model.parameters(), lr=0.1)


def train(model, optimizer, rank, first, last):
    for step in range(first, last):
        ids = (torch.arange(5) * (step + 1) + 7 * rank) % ROWS
        optimizer.zero_grad()
        model(ids).square().sum().backward()
        optimizer.step()


def bits(model, optimizer):
    said = {name: p.detach().tolist() for name, p in model.named_parameters()}
    states = [optimizer.state[p] for p in model.parameters()]
    return [said, [{key: value.tolist() for key, value in state.items()} for state in states]]


def on_a_rank(rank, home):
    model, optimizer = make()
    twin = DistributedDataParallel(model)
    saver = saves.Saver(home / "saves")
    train(twin, optimizer, rank, 0, 3)
    saver.save(twin, optimizer, step=3)
    at_save = bits(model, optimizer)
    train(twin, optimizer, rank, 3, 6)
    straight = bits(model, optimizer)
    again, its = make()
    again_twin = DistributedDataParallel(again)
    saves.load(home / "saves", again_twin, its)
    loaded = bits(again, its)
    train(again_twin, its, rank, 3, 6)
    spoiled = model if rank else nn.Sequential(model)
    try:
        saver.save(spoiled, step=9)
        refused = "no"
    except CheckpointError as error:
        refused = str(error)
    said = {"at": at_save == loaded, "straight": straight == bits(again, its), "refused": refused,
            "bits": at_save}  # fmt: skip
    (home / f"rank{rank}.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("ranks")
    children = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(home)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(WORLD)
    ]  # fmt: skip
    try:
        for child in children:
            _, said = child.communicate(timeout=200)
            assert child.returncode == 0, said
    finally:
        for child in children:
            child.kill()
            child.wait()
    return home


@pytest.mark.parametrize("rank", range(WORLD))
def test_two_ranks_go_on_as_if_nothing_had_been(home, rank):
    said = json.loads((home / f"rank{rank}.json").read_text())
    assert said["at"]
    assert said["straight"]
    assert "rank 0 1.weight" in said["refused"] or "must save the same ones" in said["refused"]


def test_each_rank_has_written_its_rows_and_one_process_loads_them(home):
    folder = next((home / "saves").glob("*.step-3"))
    shares = [load_file(folder / f"table0.rank{rank}.part0.safetensors") for rank in range(WORLD)]
    assert [len(share["rows"]) for share in shares] == [15, 15]
    model, optimizer = make()
    saves.load(home / "saves", model, optimizer)
    assert bits(model, optimizer) == json.loads((home / "rank0.json").read_text())["bits"]


if __name__ == "__main__":
    distributed.init_process_group(
        "gloo", f"file://{sys.argv[2]}/store", timeout=timedelta(seconds=60), world_size=WORLD,
        rank=int(sys.argv[1]),
    )  # fmt: skip
    on_a_rank(int(sys.argv[1]), Path(sys.argv[2]))
    distributed.destroy_process_group()
