"""Patches that do not fit, and files that cannot be read or written: nothing changes then."""

from __future__ import annotations

import contextlib
import os
import resource

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune.errors import PatchError

N, D = 40, 6
TRAIN = [1, 3, 30]


@pytest.fixture
def weights():
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "p.safetensors"


class Trained:
    """A model and its optimizer after two steps."""

    def __init__(self, weights, several=False, seed=0, **more):
        tables = {"words": rt.Embedding.from_pretrained(weights, train=TRAIN, **more)}
        if several:
            tables["tags"] = rt.EmbeddingBag.from_pretrained(weights[:9], train=[0, 8], mode="sum")
        self.model = nn.ModuleDict(tables)
        self.optimizer = rt.optim.Adam(self.model.parameters(), lr=0.1)
        for step in range(2):
            torch.manual_seed(seed + step)
            self.optimizer.zero_grad()
            for table in tables.values():
                rows = table(torch.tensor([[1, 3, 0, 8], [1, 3, 2, 1]]))
                (rows * torch.randn_like(rows)).sum().backward()
            self.optimizer.step()

    def save(self, path):
        rt.save_patch(self.model, path, optimizer=self.optimizer)
        return path.read_bytes()

    def load(self, path, **more):
        rt.load_patch(self.model, path, optimizer=self.optimizer, **more)

    def everything(self):
        """All that a patch could change, as bytes."""
        found = []
        for table in self.model.values():
            parts = [table.block, table.base, *self.optimizer.row_state(table.block).values()]
            found += [part.detach().numpy().tobytes() for part in parts]
        return found

    def refuses(self, path, words, **more):
        before = self.everything()
        with pytest.raises(PatchError, match=words):
            self.load(path, **more)
        assert self.everything() == before


def test_a_patch_for_another_base_is_refused_unless_the_user_insists(path, weights):
    one = Trained(weights)
    one.save(path)
    changed = weights.copy()
    changed[20, 3] = -changed[20, 3]
    other = Trained(changed, seed=5)
    other.refuses(path, r"p.safetensors .*was trained on another base .* force=True")
    other.load(path, force=True)
    assert other.everything()[0] == one.everything()[0]
    table = other.model["words"]
    assert table.weight[20].tolist() == changed[20].tolist()
    assert table.base.numpy().tobytes() == changed.tobytes()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "more",
    [
        {"train": [1, 3]},
        {"train": [1, 3, 31]},
        {"train": [1, 3, 30, 31]},
        {"train": TRAIN, "columns": [0, 1, 2, 3, 4]},
        {"weights": np.zeros((N + 1, D), np.float32), "train": TRAIN},
        {"weights": np.zeros((N, D + 1), np.float32), "train": TRAIN},
        {"weights": np.zeros((N, D), np.float64), "train": TRAIN},
        {"weights": np.zeros((N, D), np.float16), "train": TRAIN},
    ],
    ids=lambda more: str({k: getattr(v, "dtype", v) for k, v in more.items()}),
)
def test_other_rows_columns_shapes_and_dtypes_are_refused_even_by_force(path, weights, more, force):
    Trained(weights).save(path)
    table = rt.Embedding.from_pretrained(**{"weights": weights, **more})
    before = table.weight.detach().numpy().tobytes()
    with pytest.raises(PatchError, match=r"p\.safetensors"):
        rt.load_patch(table, path, force=force)
    assert table.weight.detach().numpy().tobytes() == before


def test_the_same_number_of_other_columns_is_refused(path, weights):
    rt.save_patch(rt.Embedding.from_pretrained(weights, train=TRAIN, columns=[0, 2]), path)
    table = rt.Embedding.from_pretrained(weights, train=TRAIN, columns=[0, 3])
    with pytest.raises(PatchError, match="not the same"):
        rt.load_patch(table, path)


def test_a_grown_table_and_one_that_is_not_are_two(path, weights):
    table = rt.Embedding.from_pretrained(weights, train=TRAIN)
    rt.save_patch(table, path)
    table.grow(1)
    before = table.weight.detach().numpy().tobytes()
    with pytest.raises(PatchError, match=r"\(40, 6\) float32 table; this one trains 4 rows"):
        rt.load_patch(table, path)
    rt.save_patch(table, path)
    with pytest.raises(PatchError, match="holds 4 rows"):
        rt.load_patch(rt.Embedding.from_pretrained(weights, train=TRAIN), path)
    assert table.weight.detach().numpy().tobytes() == before


@pytest.mark.parametrize("more", [{"train": "all"}, {"train": "all", "padding_idx": 3}])
def test_where_every_row_trains_there_is_no_base_to_belong_to(path, weights, more):
    table = rt.Embedding.from_pretrained(weights, **more)
    before = table.weight.detach().numpy().tobytes()
    for model in (table, nn.ModuleDict({"some": Trained(weights).model["words"], "all": table})):
        with pytest.raises(PatchError, match=r"every row of .* trains.* save state_dict\(\)"):
            rt.save_patch(model, path)
        assert not path.exists()
    Trained(weights).save(path)
    for force in (False, True):
        with pytest.raises(PatchError, match=r"state_dict\(\)"):
            rt.load_patch(table, path, force=force)
    assert table.weight.detach().numpy().tobytes() == before


def test_a_model_without_such_tables(path, weights):
    Trained(weights).save(path)
    for verb in (rt.save_patch, rt.load_patch):
        with pytest.raises(PatchError, match="the model has no rowtune Embedding"):
            verb(nn.Embedding(N, D), path)


# --- files that cannot be read or written ------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path, weights):
    one = Trained(weights)
    before = one.everything()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        one.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError) as caught:
        one.save(tmp_path / "no folder" / "p")
    assert caught.value.filename == str(tmp_path / "no folder" / "p")
    with pytest.raises(IsADirectoryError):
        one.save(tmp_path)
    assert one.everything() == before
    assert os.listdir(tmp_path) == []


@contextlib.contextmanager
def full_disk():
    """Files that cannot grow past 20,000 bytes: a full disk, as a process sees it.

    Not longer than it takes: what pytest writes of its own has to have room.
    """
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_old_file(path, tmp_path, weights):
    old = Trained(weights).save(path)
    table = rt.Embedding.from_pretrained(np.ones((2000, 50), np.float32), train=range(1000))
    with full_disk(), pytest.raises(OSError, match="too large") as caught:
        rt.save_patch(table, path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]


def test_saving_leaves_no_trace_in_what_is_saved(path, weights):
    one = Trained(weights)
    before = one.everything()
    one.save(path)
    assert one.everything() == before
    one.load(path)
    assert one.everything() == before
