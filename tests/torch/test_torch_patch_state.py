"""Patches with what an optimizer remembers: training goes on as if it had never stopped."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune import Table
from rowtune.errors import PatchError, RowtuneError
from rowtune.patch_file import read_patch, write_patch

N, D = 40, 6
TRAIN = [1, 3, 30, 31]
# Every optimizer there is, and what else of SGD and AdamW is a rule of its own.
OPTIMIZERS = {
    name: (getattr(rt.optim, name), {"lr": 0.1})
    for name in rt.optim.__all__
    if name != "RowOptimizer"
}
OPTIMIZERS["momentum"] = (rt.optim.SGD, {"lr": 0.1, "momentum": 0.9})
OPTIMIZERS["nesterov"] = (rt.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True})
OPTIMIZERS["Adagrad, begun"] = (rt.optim.Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5})


@pytest.fixture
def weights():
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "p.safetensors"


def bits(tensor):
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.itemsize == 2 else tensor).numpy().tobytes()


def batches(start, stop):
    """Ids with frozen ones and duplicates, and gradients whose sums are exact."""
    for step in range(start, stop):
        rng = np.random.default_rng(step)
        ids = rng.choice([1, 3, 30, 30, 7, 8], 9)
        yield ids, rng.integers(-8, 9, (9, D)).astype(np.float32)


def train(embedding, optimizer, start, stop):
    for ids, grads in batches(start, stop):
        optimizer.zero_grad()
        (embedding(torch.from_numpy(ids)) * torch.from_numpy(grads)).sum().backward()
        optimizer.step()


def made(weights, kind, hyper, **more):
    embedding = rt.Embedding.from_pretrained(weights, train=TRAIN, **more)
    return embedding, kind(embedding.parameters(), **hyper)


def everything(embedding, optimizer):
    """All that training goes on from, as bytes."""
    state = optimizer.row_state(embedding.block)
    return {"block": bits(embedding.block), **{name: bits(array) for name, array in state.items()}}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_with_the_same_bits(path, weights, name):
    one, optimizer = made(weights, *OPTIMIZERS[name])
    train(one, optimizer, 0, 3)
    rt.save_patch(one, path, optimizer=optimizer)
    other, another = made(weights, *OPTIMIZERS[name])
    train(other, another, 7, 8)  # what it knew before is replaced
    rt.load_patch(other, path, optimizer=another)
    assert everything(other, another) == everything(one, optimizer)
    train(one, optimizer, 3, 6)
    train(other, another, 3, 6)
    assert everything(other, another) == everything(one, optimizer)
    steps = optimizer.row_state(one.block)["step"].tolist()
    assert steps[-1] == 0, "id 31 was never looked up"
    assert max(steps) > 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_numpy_engine_goes_on_where_torch_stopped_and_back(path, weights, name):
    kind, hyper = OPTIMIZERS[name]
    one, optimizer = made(weights, kind, hyper)
    rule, numbers = optimizer.rule_of(optimizer.param_groups[0])
    train(one, optimizer, 0, 3)
    rt.save_patch(one, path, optimizer=optimizer)
    table = Table(weights, TRAIN, rule, **numbers)
    table.load_patch(path)
    assert bits(one.weight) == table.weights.tobytes()
    train(one, optimizer, 3, 5)
    for ids, grads in batches(3, 5):
        table.update(ids, grads)
    assert bits(one.weight) == table.weights.tobytes()
    table.save_patch(path, state=True)
    other, another = made(weights, kind, hyper)
    rt.load_patch(other, path, optimizer=another)
    train(one, optimizer, 5, 6)
    train(other, another, 5, 6)
    assert everything(other, another) == everything(one, optimizer)


@pytest.mark.parametrize(
    ("rule", "name"), [("adamw", "AdamW"), ("nesterov", "nesterov"), ("momentum", "nesterov")]
)
def test_rules_that_differ_in_name_alone_remember_the_same(path, weights, rule, name):
    table = Table(weights, TRAIN, rule)
    for ids, grads in batches(0, 2):
        table.update(ids, grads)
    table.save_patch(path, state=True)
    other, another = made(weights, *OPTIMIZERS[name])
    rt.load_patch(other, path, optimizer=another)
    assert bits(other.weight) == table.weights.tobytes()
    assert another.row_state(other.block)["step"].tolist() == table.steps.tolist()


@pytest.mark.parametrize("more", [{"columns": [0, 4]}, {"sparse": True}], ids=str)
def test_with_columns_and_with_row_sparse_gradients(path, weights, more):
    one, optimizer = made(weights, *OPTIMIZERS["Adam"], **more)
    train(one, optimizer, 0, 3)
    rt.save_patch(one, path, optimizer=optimizer)
    other, another = made(weights, *OPTIMIZERS["Adam"], **more)
    rt.load_patch(other, path, optimizer=another)
    for embedding, any_optimizer in ((one, optimizer), (other, another)):
        train(embedding, any_optimizer, 3, 5)
    assert everything(other, another) == everything(one, optimizer)


def test_half_precision_rows_with_their_state(path, weights):
    half = torch.from_numpy(weights).bfloat16()
    one, optimizer = made(half, *OPTIMIZERS["Adam"])
    train(one, optimizer, 0, 3)
    rt.save_patch(one, path, optimizer=optimizer)
    assert read_patch(path).state["m"].dtype == np.float32
    other, another = made(half, *OPTIMIZERS["Adam"])
    rt.load_patch(other, path, optimizer=another)
    for embedding, any_optimizer in ((one, optimizer), (other, another)):
        train(embedding, any_optimizer, 3, 5)
    assert everything(other, another) == everything(one, optimizer)


def test_a_table_that_grew_while_it_trained(path, weights):
    one, optimizer = made(weights, *OPTIMIZERS["Adam"])
    train(one, optimizer, 0, 3)
    new = one.grow(torch.ones(2, D))
    one(new[[1, 1]]).sum().backward()
    optimizer.step()
    rt.save_patch(one, path, optimizer=optimizer)
    other, another = made(weights, *OPTIMIZERS["Adam"])
    train(other, another, 5, 6)
    other.grow(2)
    rt.load_patch(other, path, optimizer=another)
    assert everything(other, another) == everything(one, optimizer)
    assert another.row_state(other.block)["step"].tolist()[-2:] == [0, 1]


def test_several_tables_in_groups_of_their_own(path, weights):
    def model():
        tables = nn.ModuleDict({
            "a": rt.Embedding.from_pretrained(weights, train=TRAIN),
            "b": rt.EmbeddingBag.from_pretrained(weights[:31], train=[1, 3, 30], mode="sum"),
            "still": rt.Embedding.from_pretrained(weights, train=[]),
        })  # fmt: skip
        rates = zip(tables.values(), (0.1, 0.2, 1), strict=True)
        return tables, rt.optim.Adam([{"params": t.parameters(), "lr": lr} for t, lr in rates])

    def train_both(tables, optimizer, start, stop):
        for batch in batches(start, stop):
            ids, grads = map(torch.from_numpy, batch)
            optimizer.zero_grad()
            rows = tables["a"](ids) + 2 * tables["b"](ids[:, None]) + tables["still"](ids)
            (rows * grads).sum().backward()
            optimizer.step()

    one, optimizer = model()
    train_both(one, optimizer, 0, 3)
    rt.save_patch(one, path, optimizer=optimizer)
    other, another = model()
    rt.load_patch(other, path, optimizer=another)
    train_both(one, optimizer, 3, 5)
    train_both(other, another, 3, 5)
    for name in one:
        assert everything(other[name], another) == everything(one[name], optimizer)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("rows", [TRAIN, []], ids=["some", "none"])
def test_before_the_first_step_there_is_a_state_as_well(path, weights, name, rows):
    kind, hyper = OPTIMIZERS[name]
    one, other = (rt.Embedding.from_pretrained(weights, train=rows) for _ in range(2))
    optimizer, another = kind(one.parameters(), **hyper), kind(other.parameters(), **hyper)
    rt.save_patch(one, path, optimizer=optimizer)
    rt.load_patch(other, path, optimizer=another)
    assert everything(other, another) == everything(one, optimizer)
    train(one, optimizer, 0, 1)
    train(other, another, 0, 1)
    assert everything(other, another) == everything(one, optimizer)


def test_rows_alone_leave_the_optimizer_as_it_is(path, weights):
    one, optimizer = made(weights, *OPTIMIZERS["Adam"])
    train(one, optimizer, 0, 3)
    rt.save_patch(one, path, optimizer=optimizer)
    other, another = made(weights, *OPTIMIZERS["Adam"])
    train(other, another, 5, 6)
    before = everything(other, another)
    rt.load_patch(other, path)
    assert everything(other, another) == {**before, "block": bits(one.block)}


def refused(embedding, optimizer, path, words, **more):
    before = everything(embedding, optimizer)
    with pytest.raises(PatchError, match=words):
        rt.load_patch(embedding, path, optimizer=optimizer, **more)
    assert everything(embedding, optimizer) == before


def test_a_state_that_is_not_there_or_of_another_rule_is_refused(path, weights):
    one, optimizer = made(weights, *OPTIMIZERS["Adam"])
    train(one, optimizer, 0, 3)
    rt.save_patch(one, path)
    refused(*made(weights, *OPTIMIZERS["Adam"]), path, "holds none; leave optimizer out")
    Table(weights, TRAIN, "adam").save_patch(path)  # names its rule all the same
    refused(*made(weights, *OPTIMIZERS["Adam"]), path, "holds none; leave optimizer out")
    rt.save_patch(one, path, optimizer=optimizer)
    refused(*made(weights, *OPTIMIZERS["SGD"]), path, "rule 'sgd' .* holds that of 'adam'")
    refused(*made(weights, *OPTIMIZERS["RMSprop"]), path, "rule 'rmsprop'", force=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("v", None),
        ("w", np.zeros((4, D), np.float32)),
        ("m", np.zeros((4, 1), np.float32)),
        ("m", np.zeros((4, D), np.float64)),
        ("m", np.zeros((4, D), np.float16)),
    ],
)
def test_a_state_that_the_rule_could_not_go_on_with_is_refused(path, weights, name, value):
    one, optimizer = made(weights, *OPTIMIZERS["Adam"])
    train(one, optimizer, 0, 3)
    rt.save_patch(one, path, optimizer=optimizer)
    patch = read_patch(path)
    state = {key: array for key, array in {**patch.state, name: value}.items() if array is not None}
    write_patch(dataclasses.replace(patch, state=state), path)
    refused(*made(weights, *OPTIMIZERS["Adam"]), path, "p.safetensors")


@pytest.mark.parametrize("kind", [rt.optim.Adam, torch.optim.Adam])
def test_an_optimizer_that_does_not_have_these_rows_is_refused(path, weights, kind):
    one, optimizer = made(weights, *OPTIMIZERS["Adam"])
    train(one, optimizer, 0, 1)
    rt.save_patch(one, path, optimizer=optimizer)
    old, before = path.read_bytes(), everything(one, optimizer)
    stranger = kind(one.parameters() if kind is torch.optim.Adam else nn.Linear(2, 2).parameters())
    with pytest.raises(RowtuneError, match=r"optim|model\.parameters\(\)"):
        rt.save_patch(one, path, optimizer=stranger)
    assert path.read_bytes() == old
    with torch.no_grad():
        one.block.add_(1)
    changed = everything(one, optimizer)
    with pytest.raises(RowtuneError, match=r"optim|model\.parameters\(\)"):
        rt.load_patch(one, path, optimizer=stranger)
    assert everything(one, optimizer) == changed != before


def test_a_file_that_is_written_over_afterwards_changes_nothing(path, weights):
    one, optimizer = made(weights, *OPTIMIZERS["Adam"])
    train(one, optimizer, 0, 3)
    rt.save_patch(one, path, optimizer=optimizer)
    other, another = made(weights, *OPTIMIZERS["Adam"])
    rt.load_patch(other, path, optimizer=another)
    twin = copy.deepcopy(everything(other, another))
    path.write_bytes(bytes(path.stat().st_size))
    train(one, optimizer, 3, 4)
    assert everything(other, another) == twin
