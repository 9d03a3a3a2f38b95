"""Patch files that are damaged: refused, and nothing changes."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import nn

import rowtune.torch as rt
from rowtune.errors import PatchError
from rowtune.patch_file import read_patches, write_patches

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


def parts_of(data):
    """Where the header ends, and where in the file each tensor lies."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    start = 8 + length
    return start, {
        name: range(*(start + offset for offset in entry["data_offsets"]))
        for name, entry in header.items()
        if name != "__metadata__"
    }


@pytest.mark.parametrize("several", [False, True])
def test_a_file_that_was_cut_off_is_refused(path, weights, several):
    whole = Trained(weights, several).save(path)
    reader = Trained(weights, several, seed=5)
    start, _ = parts_of(whole)
    for length in {0, 1, 7, 8, 9, start // 2, start - 1, start, start + 1, len(whole) - 1}:
        path.write_bytes(whole[:length])
        reader.refuses(path, "p.safetensors")
    path.write_bytes(whole + b"\0")
    reader.refuses(path, "p.safetensors")
    path.write_bytes(whole)
    reader.load(path)
    assert reader.everything() == Trained(weights, several).everything()


@pytest.mark.parametrize("several", [False, True])
def test_a_damaged_file_never_ends_in_anything_but_a_refusal(path, weights, several):
    one, reader = Trained(weights, several), Trained(weights, several, seed=5)
    whole = one.save(path)
    start, _ = parts_of(whole)
    rng = np.random.default_rng(0)
    places = [*range(0, start, 3), *rng.integers(start, len(whole), 60)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        before = reader.everything()
        try:
            reader.load(path)
        except PatchError as error:
            assert "p.safetensors" in str(error)
            assert reader.everything() == before, place


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("tensor", ["ids", "rows", "steps", "state.m", "state.v"])
def test_one_bit_of_damage_is_noticed_wherever_it_is(path, weights, tensor, bit):
    one, reader = Trained(weights), Trained(weights, seed=5)
    whole = one.save(path)
    places = parts_of(whole)[1][tensor]
    for place in (places[0], places[len(places) // 2], places[-1]):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        reader.refuses(path, "p.safetensors")


class Malicious:
    def __reduce__(self):
        return os.mkdir, (Malicious.folder,)


def test_what_is_no_patch_is_never_unpickled(path, tmp_path, weights):
    Malicious.folder = str(tmp_path / "made by a pickle")
    reader = Trained(weights)
    torch.save({"block": Malicious()}, path)
    reader.refuses(path, "p.safetensors is not a patch")
    path.write_bytes(pickle.dumps(Malicious()))
    reader.refuses(path, "p.safetensors is not a patch")
    torch.save(reader.model.state_dict(), path)
    reader.refuses(path, "p.safetensors is not a patch")
    save_file({"rows": np.zeros((3, D), np.float32)}, path)
    reader.refuses(path, "not a patch of this format")
    assert os.listdir(tmp_path) == ["p.safetensors"]


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("shape", "[40, 6]"),
        ("shape", "[40, 6, 1e999]"),
        ("shape", "[" * 100_000),
        ("shape", [40, 6, 40]),
        ("fingerprint", None),
        ("fingerprint", 5),
        ("bits_of", ["bfloat16"]),
        ("rule", ["adam"]),
        ("checksum", None),
    ],
)
def test_facts_that_make_no_sense_are_damage(path, weights, fact, value):
    one = Trained(weights, several=True)
    one.save(path)
    with safe_open(path, "np") as file:
        facts = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tables = json.loads(facts["tables"])
    tables["tags"][fact] = value
    for changed in (json.dumps(tables), json.dumps(list(tables.items()))):
        save_file(tensors, path, metadata={**facts, "tables": changed})
        one.refuses(path, "p.safetensors")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("bits_of", "bfloat16"),
        ("rule", "adamant"),
        ("steps", None),
        ("steps", np.array([-1, 2], np.int32)),
        ("rows", np.zeros((2, D), np.float64)),
        ("shape", (9, D + 1)),
    ],
)
def test_the_last_of_several_patches_is_looked_at_before_the_first_is_used(
    path, weights, part, value
):
    one, reader = Trained(weights, several=True), Trained(weights, several=True, seed=5)
    one.save(path)
    patches = read_patches(path)
    patches["tags"] = dataclasses.replace(patches["tags"], **{part: value})
    write_patches(patches, path)
    reader.refuses(path, "p.safetensors")


@pytest.mark.parametrize("tables", ["", "5", "[1]", '["words"]', '{"words": 5}', "{}", "[" * 10**5])
def test_a_list_of_tables_that_makes_no_sense_is_damage(path, weights, tables):
    one = Trained(weights, several=True)
    one.save(path)
    with safe_open(path, "np") as file:
        facts = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={**facts, "tables": tables})
    one.refuses(path, "p.safetensors")
