"""Patches of a model: the trained rows of its tables in a small file, for their base alone."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

import rowtune.torch as rt
from rowtune import Table, apply_patch
from rowtune.errors import PatchError
from rowtune.patch_file import read_patch, read_patches

N, D = 40, 6


@pytest.fixture
def weights():
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "p.safetensors"


def bits(tensor):
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.itemsize == 2 else tensor).numpy().tobytes()


def trained(weights, train, kind=rt.Embedding, **more):
    embedding = kind.from_pretrained(weights, train=train, **more)
    return moved(embedding)


def moved(embedding):
    with torch.no_grad():
        embedding.block.add_(torch.arange(1, embedding.block.numel() + 1).view_as(embedding.block))
    return embedding


def model_of(weights, change=moved):
    """Three tables at two depths, one of them without a trainable row."""
    model = nn.Module()
    model.encoder = nn.Module()
    model.encoder.words = change(rt.Embedding.from_pretrained(weights, train=[3, 1, 30]))
    model.bag = change(rt.EmbeddingBag.from_pretrained(weights[:9], train=[0, 8], columns=[2, 5]))
    model.still = change(rt.Embedding.from_pretrained(weights[5:], train=[]))
    model.head = nn.Linear(D, 2)
    return model


# --- one table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
@pytest.mark.parametrize("columns", [None, [0, 4]])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_trained_rows_come_back_bit_for_bit(path, weights, dtype, columns, kind):
    table = torch.from_numpy(weights).to(getattr(torch, dtype))
    one = trained(table, [3, 1, 30], kind, columns=columns)
    rt.save_patch(one, path)
    other = kind.from_pretrained(table.clone(), train=[3, 1, 30], columns=columns)
    block = other.block
    rt.load_patch(other, path)
    assert bits(other.weight) == bits(one.weight)
    assert other.block is block, "an optimizer holds on to it"
    assert bits(other.base) == bits(table)


@pytest.mark.parametrize("columns", [None, [0, 4]])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_numpy_engine_reads_what_the_torch_engine_wrote(path, weights, dtype, columns):
    weights = weights.astype(dtype)
    model = nn.ModuleDict({"words": trained(weights, [3, 1, 30], columns=columns)})
    rt.save_patch(model, path)
    expected = model["words"].weight.detach().numpy().tobytes()
    assert apply_patch(weights, path).tobytes() == expected
    table = Table(weights, [3, 1, 30], columns=columns)
    table.load_patch(path)
    assert table.weights.tobytes() == expected


@pytest.mark.parametrize("columns", [None, [0, 4]])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_torch_engine_reads_what_the_numpy_engine_wrote(path, weights, dtype, columns):
    weights = weights.astype(dtype)
    table = Table(weights, [3, 1, 30], columns=columns)
    table.block[:] = np.arange(table.block.size).reshape(table.block.shape)
    table.save_patch(path, state=True)
    model = nn.Sequential(rt.Embedding.from_pretrained(weights, train=[3, 1, 30], columns=columns))
    rt.load_patch(model, path)
    assert model[0].weight.detach().numpy().tobytes() == table.weights.tobytes()


@pytest.mark.parametrize("columns", [None, [0, 4]])
@pytest.mark.parametrize("train", [[3, 1, 30], []])
def test_grown_tables_travel_between_the_engines(path, weights, train, columns):
    new = np.full((2, D), 7, np.float32)

    def grown(rows):
        embedding = rt.Embedding.from_pretrained(weights, train=train, columns=columns)
        embedding.grow(torch.from_numpy(rows))
        embedding.grow(torch.from_numpy(rows[:1] * 2))
        return embedding

    one, other = moved(grown(new)), grown(new * 0)
    rt.save_patch(one, path)
    rt.load_patch(other, path)
    expected = bits(one.weight)
    assert bits(other.weight) == bits(other(torch.arange(N + 3))) == expected
    assert apply_patch(weights, path).tobytes() == expected
    table = Table(weights, train, columns=columns)
    table.grow(np.zeros((3, D), np.float32))
    table.load_patch(path)
    assert table.weights.tobytes() == expected
    table.save_patch(path)
    again = grown(new * 0)
    rt.load_patch(again, path)
    assert bits(again.weight) == expected


def test_half_precision_that_numpy_has_not_is_refused_by_its_engine(path, weights):
    rt.save_patch(trained(torch.from_numpy(weights).bfloat16(), [3, 1]), path)
    with pytest.raises(PatchError, match="40 x 6 bfloat16; this one is 40 x 6 float32"):
        apply_patch(weights, path, force=True)
    with pytest.raises(PatchError, match="bfloat16"):
        Table(weights, [3, 1]).load_patch(path, force=True)
    half = trained(torch.from_numpy(weights).half(), [3, 1])
    before = bits(half.weight)
    with pytest.raises(PatchError, match="bfloat16"):
        rt.load_patch(half, path, force=True)
    assert bits(half.weight) == before


def test_a_patch_belongs_to_the_table_as_it_was_read(tmp_path, path, weights):
    np.save(tmp_path / "table.npy", weights)
    one = trained(np.load(tmp_path / "table.npy", mmap_mode="r"), [3, 1])
    one.grow(1)
    rt.save_patch(one, path)
    assert read_patch(path).fingerprint == Table(weights).fingerprint()
    other = rt.Embedding.from_pretrained(weights, train=[3, 1], init="normal")
    other.grow(1)
    rt.load_patch(other, path)
    assert bits(other.weight) == bits(one.weight)


def test_it_still_belongs_to_it_after_a_checkpoint_of_more_rows(path, weights):
    """Rows that were frozen nowhere are no part of the base, whatever a checkpoint held of them."""
    one = rt.Embedding.from_pretrained(weights, train=[1, 3, 30])
    one.load_state_dict(trained(weights, [1, 3]).merge().state_dict())
    rt.save_patch(moved(one), path)
    other = rt.Embedding.from_pretrained(weights, train=[1, 3, 30])
    rt.load_patch(other, path)
    assert bits(other.weight) == bits(one.weight)


def test_a_wider_block_over_a_narrow_base(path, weights):
    half = torch.from_numpy(weights).half()
    one, other = trained(half, [3, 1]).float(), rt.Embedding.from_pretrained(half, train=[3, 1])
    with torch.no_grad():
        one.block.add_(1e-6)  # half precision could not hold this
    rt.save_patch(one, path)
    with pytest.raises(PatchError, match="float32 table"):
        rt.load_patch(other, path)
    rt.load_patch(other.float(), path)
    assert bits(other.block) == bits(one.block)
    assert other.base.dtype == torch.float16


# --- a model of several ------------------------------------------------------------------------


def test_all_tables_of_a_model_come_back_and_nothing_else_does(path, weights):
    one, other = model_of(weights), model_of(weights, change=lambda table: table)
    head = bits(other.head.weight)
    rt.save_patch(one, path)
    rt.load_patch(other, path)
    for name in ("encoder.words", "bag", "still"):
        assert bits(other.get_submodule(name).weight) == bits(one.get_submodule(name).weight)
    assert bits(other.head.weight) == head


def test_each_of_its_patches_is_one_that_a_table_would_have_written(path, weights):
    model = model_of(weights)
    rt.save_patch(model, path)
    patches = read_patches(path)
    assert set(patches) == {"encoder.words", "bag", "still"}
    assert patches["encoder.words"].ids.tolist() == [1, 3, 30]
    assert patches["bag"].columns.tolist() == [2, 5]
    assert patches["bag"].fingerprint == Table(weights[:9]).fingerprint()
    assert patches["still"].rows.shape == (0, D)


def test_a_single_table_takes_no_patch_of_several_and_says_whose_they_are(path, weights):
    rt.save_patch(model_of(weights), path)
    for read in (Table(weights, [1, 3, 30]).load_patch, lambda p: apply_patch(weights, p)):
        with pytest.raises(PatchError, match=r"of several tables \(encoder\.words, bag, still\)"):
            read(path)
    module = rt.Embedding.from_pretrained(weights, train=[1, 3, 30])
    for model in (module, nn.ModuleDict({"words": module})):
        with pytest.raises(PatchError, match=r"holds patches of encoder\.words, bag, still"):
            rt.load_patch(model, path)
    assert bits(module.weight) == weights.tobytes()


def test_nor_do_several_tables_take_a_patch_of_one_or_of_others(path, weights):
    model = model_of(weights)
    before = [bits(p) for p in model.parameters()]
    rt.save_patch(model.encoder.words, path)
    with pytest.raises(PatchError, match=r"this model has encoder\.words, bag, still"):
        rt.load_patch(model, path)
    other = model_of(weights)
    other.more = rt.Embedding.from_pretrained(weights, train=[1])
    rt.save_patch(other, path)
    with pytest.raises(PatchError, match="more"):
        rt.load_patch(model, path)
    assert [bits(p) for p in model.parameters()] == before


def test_a_table_that_a_model_holds_twice_is_written_once(path, weights):
    def tied():
        words = rt.Embedding.from_pretrained(weights, train=[3, 1])
        return nn.ModuleDict({"source": words, "target": words})

    one, other = tied(), tied()
    moved(one["source"])
    rt.save_patch(one, path)
    assert list(read_patches(path)) == [""]
    rt.load_patch(other, path)
    assert bits(other["target"].weight) == bits(one["source"].weight)


def test_the_table_that_does_not_fit_keeps_the_others_as_they_were(path, weights):
    rt.save_patch(model_of(weights), path)
    model = model_of(weights, change=lambda table: table)
    model.still = rt.Embedding.from_pretrained(weights[4:-1], train=[])  # the last one that is read
    with pytest.raises(PatchError, match=r"p.safetensors \(still\) was trained on another base"):
        rt.load_patch(model, path)
    assert bits(model.encoder.words.weight) == weights.tobytes()
    assert bits(model.bag.weight) == weights[:9].tobytes()


# --- the file ----------------------------------------------------------------------------------


def test_the_size_of_the_file_follows_the_trained_rows(path):
    def size(num_rows, k):
        rt.save_patch(trained(np.zeros((num_rows, 64), np.float32), range(k)), path)
        return path.stat().st_size

    small = size(1_000, 50)
    assert abs(size(100_000, 50) - small) < 64
    row = 64 * 4 + 8  # values and id
    assert small < 50 * row + 1000
    assert size(1_000, 150) - small == pytest.approx(100 * row, abs=64)


@pytest.mark.parametrize("several", [False, True])
def test_the_file_is_a_header_of_json_and_numbers_and_nothing_else(path, weights, several):
    model = model_of(weights) if several else trained(weights, [3, 1])
    optimizer = rt.optim.SGD(model.parameters(), lr=0.1)
    rt.save_patch(model, path, optimizer=optimizer)
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__")["format"].startswith("rowtune.patch")
    assert {entry["dtype"] for entry in header.values()} == {"I64", "I32", "F32"}
    assert 8 + length + max(e["data_offsets"][1] for e in header.values()) == len(data)
    with safe_open(path, "np") as file:
        assert sum(file.get_tensor(name).nbytes for name in file.keys()) + 8 + length == len(data)  # noqa: SIM118
