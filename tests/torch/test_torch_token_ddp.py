"""Token rows on two processes: DDP, and what shards the rest of a model.

Run as a script, this file is those processes; they write what they end with, case by case, and the
tests read that.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import subprocess
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

import rowtune.torch as rt
from rowtune.errors import RowtuneError
from token_models import ROWS, D, N, made

WORLD = 2
OTHERS = [i for i in range(N) if i not in ROWS]
# Ids of each rank, step by step. In the second one rank has none of the chosen tokens, then
# neither has, and each has but one that the other has not.
STEPS = [
    ([[5, 9, 40, 11], [12, 7, 7, 3]], [[5, 5, 20, 21], [22, 23, 7, 3]]),
    ([[1, 2, 3, 4], [6, 8, 9, 3]], [[40, 5, 7, 7], [7, 7, 7, 7]]),
    ([[1, 2, 3, 4], [6, 8, 9, 3]], [[11, 12, 13, 14], [41, 42, 43, 3]]),
    ([[5, 2, 3, 4], [6, 8, 9, 3]], [[11, 12, 13, 14], [41, 42, 40, 3]]),
]
OPTIMIZERS = {
    "torch": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.3),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.5),
    "rowtune": lambda p: rt.optim.AdamW(p, lr=0.05, weight_decay=0.3),
}


@dataclass
class Case:
    tied: bool
    by: str = "ddp"
    optimizer: str = "rowtune"
    accumulate: int = 1  # so many of the steps' batches make one step
    refused: bool = False

    def model(self):
        return made("llama, tied" if self.tied else "llama, untied")


CASES = {
    "tied": Case(True),
    "untied": Case(False),
    "tied, torch's optimizer": Case(True, optimizer="torch"),
    "accumulated, sgd": Case(False, optimizer="sgd", accumulate=2),
    "fsdp2, tied": Case(True, "fsdp2"),
    "fsdp2, untied": Case(False, "fsdp2"),
    "fsdp2, sgd": Case(False, "fsdp2", "sgd"),
    "fsdp2, accumulated": Case(True, "fsdp2", "torch", accumulate=2),
    "fsdp1, tied": Case(True, "fsdp1"),
    "fsdp1, untied": Case(False, "fsdp1", "torch"),
    "fsdp2, rows sharded": Case(True, "fsdp2", refused=True),
    "fsdp1, rows sharded": Case(True, "fsdp1", refused=True),
    "fsdp2, before the rows were chosen": Case(True, "fsdp2, before", refused=True),
}
WORKS = [name for name, case in CASES.items() if not case.refused]


def digest(model):
    """Of the bits of all that may not move."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        kept = whole[OTHERS] if whole.shape == (N, D) else whole
        found.update(name.encode() + kept.contiguous().numpy().tobytes())
    return found.hexdigest()


def sharded(model, rows, by):
    """The model under FSDP, which leaves ``rows`` alone."""
    if by == "fsdp1":
        return FullyShardedDataParallel(
            model, device_id=torch.device("cpu"), use_orig_params=True, ignored_states=rows
        )
    mesh = distributed.init_device_mesh("cpu", (WORLD,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh, ignored_params=set(rows))
    return fully_shard(model, mesh=mesh, ignored_params=set(rows))


def train(name, case, rank, world, folder):
    """The case on one of two ranks, or with the batches of both in this one process."""
    model = case.model()
    if case.by.endswith("before"):
        model = sharded(model, [], case.by)
    handle = rt.train_rows(model, rows=ROWS, head=True)
    frozen = digest(model)
    if rank == 1:
        with torch.no_grad():
            handle.rows.add_(1)  # all begin with what rank 0 has
    wrapped = model
    if world > 1 and case.by == "ddp":
        wrapped = DistributedDataParallel(model)
    elif world > 1:
        wrapped = sharded(model, [] if case.refused else handle.parameters(), case.by)
        handle.average_over_ranks()
        handle.average_over_ranks()  # once more is no other thing
    optimizer = OPTIMIZERS[case.optimizer](handle.parameters())
    for place, ids in enumerate(STEPS):
        given = torch.tensor(ids[rank] if world > 1 else ids[0] + ids[1])
        steps = (place + 1) % case.accumulate == 0
        waits = world > 1 and case.by == "ddp" and not steps
        with wrapped.no_sync() if waits else contextlib.nullcontext():
            (wrapped(input_ids=given, labels=given).loss / case.accumulate).backward()
        if steps:
            optimizer.step()
            optimizer.zero_grad()
    handle.save(f"{folder}/{name} {rank if world > 1 else 'alone'}.safetensors")
    if case.by == "ddp" and world > 1 and rank == 0:
        wrapped.module.save_pretrained(f"{folder}/{name}")
    # What FSDP1's state_dict has are parts of matrices laid end to end.
    still = digest(model) == frozen if case.by != "fsdp1" or world == 1 else None
    rows = [rows.detach().clone() for rows in handle.parameters()]
    return {"rows": rows, "frozen": still, "digest": frozen}


def one_rank(rank, folder):
    """All cases, as one of the two processes."""
    for number, (name, case) in enumerate(CASES.items()):
        try:
            distributed.init_process_group(
                "gloo", init_method=f"file://{folder}/meeting{number}", rank=rank,
                world_size=WORLD, timeout=datetime.timedelta(seconds=60),
            )  # fmt: skip
            found = train(name, case, rank, WORLD, folder)
        except RowtuneError as error:
            found = {"refusal": str(error)}
        except Exception:
            found = {"failure": traceback.format_exc()}
        torch.save(found, f"{folder}/{name} {rank}")
        with contextlib.suppress(Exception):
            distributed.destroy_process_group()


def main(folder):
    """First as one process, which also compiles all kernels; then as two that begin there."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    for name in WORKS:
        torch.save(train(name, CASES[name], 0, 1, folder), f"{folder}/{name} alone")
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
    paths = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, folder],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "",
             "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def ended(folder, name):
    """What the two ranks, and one process, ended with."""
    ranks = [torch.load(folder / f"{name} {rank}", weights_only=True) for rank in (0, 1)]
    for found in ranks:
        assert "failure" not in found, found["failure"]
        assert CASES[name].refused or "refusal" not in found, found["refusal"]
    return ranks


@pytest.mark.parametrize("name", WORKS)
def test_two_processes_end_with_the_rows_of_one_with_both_batches(name, folder):
    one, other = ended(folder, name)
    alone = torch.load(folder / f"{name} alone", weights_only=True)
    assert len(one["rows"]) == (1 if CASES[name].tied else 2)
    assert all(map(torch.equal, one["rows"], other["rows"]))
    torch.testing.assert_close(one["rows"], alone["rows"], rtol=1e-4, atol=1e-5)
    begin = rt.train_rows(CASES[name].model(), rows=ROWS)
    assert bool((one["rows"][0] != begin.rows).any(1).all())
    assert alone["frozen"]
    if CASES[name].by != "fsdp1":
        assert one["frozen"] and other["frozen"]


@pytest.mark.parametrize("name", WORKS)
def test_every_rank_would_write_the_same_file(name, folder):
    for rank in (0, 1):
        handle = rt.load_rows(CASES[name].model(), folder / f"{name} {rank}.safetensors")
        assert all(map(torch.equal, handle.parameters(), ended(folder, name)[0]["rows"]))


@pytest.mark.parametrize("name", [name for name in WORKS if CASES[name].by == "ddp"])
def test_the_model_that_rank_0_saves_under_ddp_has_the_trained_rows(name, folder):
    found = ended(folder, name)[0]
    loaded = type(CASES[name].model()).from_pretrained(folder / name)
    tables = [loaded.get_input_embeddings().weight, loaded.get_output_embeddings().weight]
    for table, rows in zip(tables, found["rows"], strict=False):
        assert torch.equal(table[sorted(ROWS)], rows)
    assert digest(loaded) == found["digest"]


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].refused])
def test_fsdp_may_not_shard_the_rows(name, folder):
    for found in ended(folder, name):
        words = "before" if "before" in name else "average_over_ranks"
        assert words in found["refusal"]
