"""``state_folder`` of the optimizers: the state of blocks in files, and everything else as ever."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import rowtune
import rowtune.torch as rt
from rowtune.errors import RuleError

D = 3
OPTIMIZERS = [
    (rt.optim.Adam, {"lr": 0.1}),
    (rt.optim.Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5}),
    (rt.optim.SGD, {"lr": 0.1, "momentum": 0.9, "catch_up": True}),
]


def made(cls, options, folder):
    torch.manual_seed(0)
    model = nn.ModuleList([rt.Embedding(20, D, sparse=True), rt.Embedding(9, D), nn.Linear(D, 1)])
    return model, cls(model.parameters(), state_folder=folder, **options)


def train(model, optimizer, steps, grow=0):
    rng = torch.Generator().manual_seed(1)
    for _ in range(steps):
        ids = [torch.randint(len(e.block), (7,), generator=rng) for e in model[:2]]
        rows = model[0](ids[0]) * model[1](ids[1])
        model[2](rows).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        del rows  # or its graph would expect gradients of the block as it was
        if grow:
            model[0].grow(torch.full((grow, D), 0.5))


def assert_same(one, other):
    optimizers = one[1].state_dict(), other[1].state_dict()
    for first, second in zip(one[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(first, second)
    for first, second in zip(*(o["state"].values() for o in optimizers), strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert torch.equal(value, second[name]), name
    assert optimizers[0]["param_groups"] == optimizers[1]["param_groups"]


def in_files(optimizer, block, folder):
    """Which of a block's arrays are in files of the folder."""
    with open("/proc/self/maps") as maps:
        spans = [line.split(" ", 1)[0].split("-") for line in maps if str(folder) in line]
    places = [range(int(begin, 16), int(end, 16)) for begin, end in spans]
    state = optimizer.state[block]
    return {n for n, a in state.items() if any(a.data_ptr() in place for place in places)}


@pytest.mark.parametrize("grow", [0, 40])
@pytest.mark.parametrize(("cls", "options"), OPTIMIZERS, ids=lambda x: getattr(x, "__name__", ""))
def test_results_have_the_same_bits_as_in_memory(cls, options, grow, tmp_path):
    one, other = made(cls, options, tmp_path), made(cls, options, None)
    for each in (one, other):
        train(*each, steps=6, grow=grow)
    assert_same(one, other)
    for embedding in one[0][:2]:
        names = set(one[1].state[embedding.block])
        assert in_files(one[1], embedding.block, tmp_path) == names
    assert in_files(other[1], other[0][0].block, tmp_path) == set()
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_is_loaded_or_set_goes_to_the_files(tmp_path):
    cls, options = OPTIMIZERS[0]
    before = made(cls, options, None)
    train(*before, steps=3)
    one, other = made(cls, options, rowtune.StateFolder(tmp_path)), made(cls, options, None)
    for each in (one, other):
        each[0].load_state_dict(before[0].state_dict())
        each[1].load_state_dict(copy.deepcopy(before[1].state_dict()))  # torch shares it
        train(*each, steps=3)
    assert_same(one, other)
    block = one[0][0].block
    assert in_files(one[1], block, tmp_path) == {"step", "m", "v"}
    saved = {name: tensor.clone() for name, tensor in one[1].row_state(block).items()}
    train(*one, steps=1)
    one[1].set_row_states({block: saved})
    assert {n: t.tolist() for n, t in one[1].row_state(block).items()} == {
        n: t.tolist() for n, t in saved.items()
    }
    assert in_files(one[1], block, tmp_path) == {"step", "m", "v"}


def test_a_copied_optimizer_has_a_state_of_its_own_in_memory(tmp_path):
    one = made(*OPTIMIZERS[0], tmp_path)
    train(*one, steps=3)
    twin = copy.deepcopy(one)
    assert_same(one, twin)
    assert in_files(twin[1], twin[0][0].block, tmp_path) == set()
    before = one[1].state[one[0][0].block]["m"].clone()
    train(*twin, steps=2)
    assert torch.equal(one[1].state[one[0][0].block]["m"], before)


def test_a_folder_that_is_missing_and_a_block_that_is_elsewhere(tmp_path):
    with pytest.raises(FileNotFoundError, match="state_folder is a folder that can be written"):
        made(*OPTIMIZERS[0], tmp_path / "none")
    block = rt.Embedding(4, D, device="meta").block
    optimizer = rt.optim.SGD([block], lr=0.1, momentum=0.9, state_folder=tmp_path)
    block.grad = torch.zeros(4, D, device="meta")
    with pytest.raises(RuleError, match="blocks on the CPU, and this one is on meta"):
        optimizer.step()
