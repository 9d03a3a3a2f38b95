"""A training that is saved, ended, and goes on in another process is the one that was not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune.errors import CheckpointError
from rowtune.torch import saves

N, D, K = 60, 6, 20
TRAIN = list(range(0, N, 3))
OPTIM = rt.optim
CASES = {
    "SGD": (OPTIM.SGD, {"lr": 0.1}),
    "SGD, momentum": (OPTIM.SGD, {"lr": 0.1, "momentum": 0.9}),
    "Adagrad": (OPTIM.Adagrad, {"lr": 0.1}),
    "RowwiseAdagrad": (OPTIM.RowwiseAdagrad, {"lr": 0.1}),
    "RMSprop, centered": (OPTIM.RMSprop, {"centered": True, "momentum": 0.5}),
    "Adadelta": (OPTIM.Adadelta, {}),
    "Adamax": (OPTIM.Adamax, {}),
    "Lion": (OPTIM.Lion, {}),
    "Adam": (OPTIM.Adam, {}),
    "Adam, amsgrad": (OPTIM.Adam, {"amsgrad": True}),
    "AdamW": (OPTIM.AdamW, {"weight_decay": 0.1}),
    "Adam, catch_up": (OPTIM.Adam, {"catch_up": True}),
    "SGD, momentum, catch_up": (OPTIM.SGD, {"lr": 0.1, "momentum": 0.9, "catch_up": True}),
    "Adam, row rates, catch_up": (OPTIM.Adam, {"catch_up": True, "rates": True}),
    "bfloat16": (OPTIM.Adam, {"dtype": "bfloat16"}),
    "columns": (OPTIM.Adam, {"columns": [0, 2]}),
    "row-sparse": (OPTIM.Adam, {"sparse": True}),
}  # fmt: skip


class Model(nn.Module):
    def __init__(self, dtype="float32", columns=None, sparse=False):
        super().__init__()
        vectors = torch.randn(N, D, generator=torch.Generator().manual_seed(1))
        vectors = vectors.to(getattr(torch, dtype))
        self.words = rt.Embedding.from_pretrained(
            vectors, train=TRAIN, columns=columns, sparse=sparse
        )
        self.tags = rt.Embedding(9, D, dtype=vectors.dtype)
        with torch.no_grad():
            self.tags.weight.fill_(0.5)
        self.norm = nn.BatchNorm1d(D)
        self.head = nn.Linear(D, 2)
        with torch.no_grad():
            for p in self.head.parameters():
                p.fill_(0.1)

    def forward(self, ids):
        return self.head(self.norm((self.words(ids) + self.tags(ids % 9)).float()))


def make(name):
    kind, options = CASES[name]
    options = dict(options)
    shape = {key: options.pop(key) for key in ("dtype", "columns", "sparse") if key in options}
    model = Model(**shape)
    groups = list(model.parameters())
    if options.pop("rates", False):
        block = model.words.block
        rest = [p for p in groups if p is not block]
        groups = [{"params": [block], "lr_scale": torch.linspace(0, 1, K)}, {"params": rest}]
    return model, kind(groups, **options)


def train(model, optimizer, first, last):
    schedule = torch.Generator()
    for step in range(first, last):
        schedule.manual_seed(step)
        ids = torch.randint(0, N, (7,), generator=schedule)
        for group in optimizer.param_groups:
            group["lr"] = 0.05 / (1 + step)
        optimizer.zero_grad()
        model(ids).square().sum().backward()
        optimizer.step()


def bits_of(model, optimizer):
    """All that there is, without bringing anything up to date: in JSON, so that it can travel."""
    said = {}
    for name, p in [*model.named_parameters(), *model.named_buffers()]:
        said[name] = p.detach().contiguous().flatten().view(torch.uint8).tolist()
        for key, value in optimizer.state.get(p, {}).items():
            said[f"{name}/{key}"] = (
                value.detach().contiguous().flatten().view(torch.uint8).tolist()
                if isinstance(value, torch.Tensor)
                else value
            )
    return said


def whole_run(name, folder):
    """Ten steps, without a save; and five, with saves on the way."""
    model, optimizer = make(name)
    train(model, optimizer, 0, 10)
    straight = bits_of(model, optimizer)
    model, optimizer = make(name)
    saver = saves.Saver(folder, full_every=3)
    kinds = []
    for step in range(5):
        train(model, optimizer, step, step + 1)
        made = saver.save(model, optimizer, step=step + 1, extra={"epoch": step})
        kinds.append(made.kind)
    return straight, kinds


def rest_of(name, folder):
    """In another process: the other five steps."""
    model, optimizer = make(name)
    loaded = saves.load(folder, model, optimizer)
    assert (loaded.step, loaded.extra) == (5, {"epoch": 4})
    train(model, optimizer, 5, 10)
    return bits_of(model, optimizer)


@pytest.mark.parametrize("name", CASES)
def test_training_goes_on_bit_for_bit(tmp_path, name):
    straight, kinds = whole_run(name, tmp_path)
    assert kinds[0] == "full"
    rest = rest_of(name, tmp_path)
    assert straight.keys() == rest.keys()
    assert [key for key in straight if straight[key] != rest[key]] == []


def test_it_goes_on_in_another_process(tmp_path):
    name = "AdamW"
    straight, _ = whole_run(name, tmp_path)
    done = subprocess.run(
        [sys.executable, __file__, name, str(tmp_path)], capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == straight


def test_rows_that_have_not_moved_are_not_written(tmp_path):
    model = nn.Sequential(rt.Embedding(1000, 8, sparse=True))
    optimizer = rt.optim.Adam(model.parameters(), catch_up=True)
    saver = saves.Saver(tmp_path)
    assert saver.save(model, optimizer, step=0).rows == 1000
    for step in (1, 2, 3):
        optimizer.zero_grad()
        model(torch.tensor([step, 5])).sum().backward()
        optimizer.step()
        made = saver.save(model, optimizer, step=step)
        assert (made.kind, made.rows) == ("incremental", 2), "what is owed is in the ledger"


@pytest.fixture
def saved(tmp_path):
    model, optimizer = make("Adam")
    train(model, optimizer, 0, 3)
    saves.Saver(tmp_path).save(model, optimizer, step=3)
    return tmp_path


def test_another_base_optimizer_or_model_is_refused(saved):
    model, _ = make("AdamW")
    with pytest.raises(CheckpointError, match=r"no table '0\.tags'; it has 'tags', 'words'"):
        saves.load(saved, nn.Sequential(model), None)
    with pytest.raises(CheckpointError, match="the save holds the tables tags, words, and this"):
        saves.load(saved, nn.Sequential(nn.Linear(2, 3)), None)
    model, _ = make("Adam")
    with pytest.raises(CheckpointError, match="rule"):
        saves.load(saved, model, rt.optim.SGD(model.parameters()))
    words = model.words.block
    others = [p for p in model.parameters() if p is not words]
    apart = rt.optim.Adam([{"params": [words]}, {"params": others}])
    with pytest.raises(CheckpointError, match="make it with the same groups"):
        saves.load(saved, model, apart)
    with pytest.raises(CheckpointError, match=r"expected one of rowtune\.torch\.optim"):
        saves.load(saved, model, torch.optim.SGD(model.parameters()))
    model, optimizer = make("Adam")
    model.words._hold(model.words._base + 1)
    before = bits_of(model, optimizer)
    with pytest.raises(CheckpointError, match="base"):
        saves.load(saved, model, optimizer)
    assert bits_of(model, optimizer).items() >= before.items()
    saves.load(saved, model, optimizer, unchecked_base="the test says so")


def test_a_model_of_another_width_is_refused_before_a_row_is_copied(saved):
    model, optimizer = make("Adam")
    model.head = nn.Linear(D, 3)
    optimizer = rt.optim.Adam(model.parameters())
    block = model.words.block.detach().clone()
    with pytest.raises(CheckpointError, match=r"head\.bias"):
        saves.load(saved, model, optimizer)
    assert torch.equal(block, model.words.block)


def test_frozen_parameters_are_compared_and_not_written(tmp_path):
    model, optimizer = make("Adam")
    for p in model.head.parameters():
        p.requires_grad_(False)
    optimizer = rt.optim.Adam([p for p in model.parameters() if p.requires_grad])
    train(model, optimizer, 0, 2)
    for save_frozen in (False, True):
        folder = tmp_path / str(save_frozen)
        saves.Saver(folder, save_frozen=save_frozen).save(model, optimizer, step=2)
        fresh, its = make("Adam")
        its = rt.optim.Adam([p for n, p in fresh.named_parameters() if "head" not in n])
        saves.load(folder, fresh, its)
        assert bits_of(fresh, its) == bits_of(model, optimizer)
        with torch.no_grad():
            fresh.head.bias.add_(1)
        if save_frozen:
            saves.load(folder, fresh, its)
            assert torch.equal(fresh.head.bias, model.head.bias)
        else:
            with pytest.raises(CheckpointError, match=r"head\.bias was frozen .* save_frozen=True"):
                saves.load(folder, fresh, its)


def test_a_table_that_was_grown(tmp_path):
    model, optimizer = make("columns")
    saver = saves.Saver(tmp_path)
    train(model, optimizer, 0, 2)
    saver.save(model, optimizer, step=0)
    model.words.grow(4)
    made = saver.save(model, optimizer, step=2)
    assert (made.kind, made.rows) == ("incremental", 4)
    fresh, its = make("columns")
    with pytest.raises(CheckpointError, match=r"grow\(4\)"):
        saves.load(tmp_path, fresh, its)
    fresh.words.grow(4)
    saves.load(tmp_path, fresh, its)
    assert torch.equal(fresh.words.weight, model.words.weight)
    train(model, optimizer, 2, 4)
    train(fresh, its, 2, 4)
    assert bits_of(model, optimizer) == bits_of(fresh, its)


def test_a_saver_that_has_loaded_goes_on_with_what_has_changed(saved):
    model, optimizer = make("Adam")
    saver = saves.Saver(saved)
    assert saver.load(model, optimizer).step == 3
    train(model, optimizer, 3, 4)
    made = saver.save(model, optimizer, step=4)
    assert made.kind == "incremental"
    assert 0 < made.rows < len(TRAIN) + 9


if __name__ == "__main__":
    print(json.dumps(rest_of(sys.argv[1], Path(sys.argv[2]))))
