"""State dicts: what a model saves comes back, whichever rows the model that loads it trains."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt

N, D = 40, 6


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def bits(tensor):
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.itemsize == 2 else tensor).numpy().tobytes()


def trained(weights, train, kind=rt.Embedding, **more):
    """An embedding whose chosen rows are no longer those of ``weights``."""
    embedding = kind.from_pretrained(weights, train=train, **more)
    with torch.no_grad():
        embedding.block.add_(torch.arange(1, embedding.block.numel() + 1).view_as(embedding.block))
    return embedding


def looked_up(embedding):
    """Every row, by the way that a forward pass takes."""
    ids = torch.arange(embedding.num_embeddings)
    return embedding(ids[:, None] if isinstance(embedding, nn.EmbeddingBag) else ids).detach()


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


class Model(nn.Module):
    """Embeddings at two depths, beside layers that are none of ours."""

    def __init__(self, weights, train, **more):
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.words = trained(weights, train, **more)
        self.tags = trained(weights[:9] * 2, [0, 8], rt.EmbeddingBag)
        self.marks = trained(weights[:5], "all")
        self.head = nn.Linear(D, 2)
        self.base = nn.Linear(2, 2)  # a name that ours have, too

    def forward(self, ids):
        rows = self.encoder.words(ids) + self.tags(ids % 9)[:, None] + self.marks(ids % 5)
        return self.base(self.head(rows))


def test_in_a_model_every_key_has_its_prefix(weights):
    state = Model(weights, [3, 1]).state_dict()
    ours = {key for key in state if not key.startswith(("head", "base"))}
    assert ours == {
        "encoder.words.block", "encoder.words.row_ids", "encoder.words.base",
        "tags.block", "tags.row_ids", "tags.base",
        "marks.weight",
    }  # fmt: skip
    assert state["encoder.words.row_ids"].tolist() == [1, 3]
    assert not any(value.requires_grad for value in state.values())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_model_comes_back_from_its_file(weights, prefix):
    ids = torch.arange(N).view(8, 5)
    one, other = Model(weights, [3, 1, 30]), Model(weights * 3, [3, 1, 30])
    state = through_a_file(one.state_dict(prefix=prefix))
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, prefix)
    assert not other(ids).equal(one(ids))
    other.load_state_dict(state)
    assert other(ids).equal(one(ids))


@pytest.mark.parametrize("columns", [None, [0, 4]])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_same_rows_come_back_bit_for_bit(weights, dtype, columns):
    weights = weights.to(getattr(torch, dtype))
    one = trained(weights, [3, 1, 30], columns=columns)
    other = rt.Embedding.from_pretrained(weights.clone() * 2, train=[3, 1, 30], columns=columns)
    other.load_state_dict(through_a_file(one.state_dict()))
    assert bits(other.block) == bits(one.block)
    assert other.base.dtype == weights.dtype
    assert bits(other.base) == bits(weights)
    assert bits(looked_up(other)) == bits(looked_up(one))


DIVISIONS = {
    "all rows": {"train": "all"},
    "all but a padding row": {"train": "all", "padding_idx": 4},
    "some": {"train": [3, 1, 30]},
    "a slice": {"train": slice(2, 35)},
    "all, by name": {"train": range(N)},
    "none": {"train": []},
    "some, and a padding row": {"train": [3, 4, 30], "padding_idx": 4},
}


@pytest.mark.parametrize("after", DIVISIONS)
@pytest.mark.parametrize("before", DIVISIONS)
def test_a_checkpoint_is_divided_as_the_module_is_that_loads_it(weights, before, after):
    one = trained(weights, **DIVISIONS[before])
    other = rt.Embedding.from_pretrained(torch.zeros(N, D), **DIVISIONS[after])
    rows, block = other.rows.ids.tolist(), other.block
    other.load_state_dict(one.state_dict())
    assert bits(other.weight) == bits(one.weight)
    assert bits(looked_up(other)) == bits(looked_up(one))
    assert other.rows.ids.tolist() == rows
    assert other.block is block, "an optimizer holds on to it"
    assert isinstance(other.block, rt.RowParameter)


@pytest.mark.parametrize("after", DIVISIONS)
@pytest.mark.parametrize("before", ["all rows", "all but a padding row", "some"])
def test_grown_tables_are_divided_anew_as_well(weights, before, after):
    one = trained(weights, **DIVISIONS[before])
    one.grow(torch.full((3, D), 7.0))
    other = rt.Embedding.from_pretrained(torch.zeros(N, D), **DIVISIONS[after])
    other.grow(3)
    other.load_state_dict(through_a_file(one.state_dict()))
    assert bits(looked_up(other)) == bits(looked_up(one))
    assert bits(other.weight) == bits(one.weight)


def test_a_grown_table_loads_into_one_that_was_made_as_long(weights):
    one = trained(weights, [1, 3])
    one.grow(torch.full((3, D), 7.0))
    for train in ("all", [1, 3], [1, 3, N, N + 1, N + 2]):
        other = rt.Embedding(N + 3, D, train=train)
        other.load_state_dict(one.state_dict())
        assert bits(looked_up(other)) == bits(looked_up(one))


def test_a_grown_table_with_columns_comes_back_bit_for_bit(weights):
    def grown(rows):
        embedding = rt.Embedding.from_pretrained(weights, train=[1, 3], columns=[2, 0])
        embedding.grow(rows)
        embedding.grow(rows[:1] * 2)
        return embedding

    one, other = grown(torch.full((2, D), 7.0)), grown(torch.zeros(2, D))
    with torch.no_grad():
        one.block.add_(1)
    other.load_state_dict(through_a_file(one.state_dict()))
    assert looked_up(other)[-3:].tolist() == [[8, 7, 8, 7, 7, 7]] * 2 + [[15, 14, 15, 14, 14, 14]]
    assert bits(looked_up(other)) == bits(looked_up(one)) == bits(one.weight)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"train": [1, 3]}, {"train": [1, 3], "columns": [0, 2]}),
        ({"train": [1, 5]}, {"train": [1, 3], "columns": [0, 2]}),
        ({"train": "all"}, {"train": "all", "columns": [0, 2]}),
        ({"train": [1, 3], "columns": [0, 2]}, {"train": [1, 3]}),
        ({"train": [1, 3], "columns": [0, 2]}, {"train": [1, 3], "columns": [1, 2]}),
        ({"train": [1, 3], "columns": [0, 2]}, {"train": [1, 3], "columns": [0, 1, 2]}),
        ({"train": [1, 3], "columns": [0, 2]}, {"train": [1, 5], "columns": [0, 2]}),
        ({"train": "all", "columns": [0, 2]}, {"train": "all"}),
    ],
    ids=str,
)
def test_columns_are_divided_anew_as_well(weights, before, after):
    one = trained(weights, **before)
    other = rt.Embedding.from_pretrained(weights.clone(), **after)
    other.load_state_dict(through_a_file(one.state_dict()))
    assert bits(other.weight) == bits(one.weight)
    assert bits(looked_up(other)) == bits(looked_up(one))


@pytest.mark.parametrize("train", ["all", [0]])
@pytest.mark.parametrize("chosen", ["all", [0], []])
def test_a_table_of_one_row(chosen, train):
    one = trained(torch.ones(1, D), chosen)
    other = rt.Embedding(1, D, train=train)
    other.load_state_dict(one.state_dict())
    assert other.weight.tolist() == one.weight.tolist()


@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
@pytest.mark.parametrize("more", [*DIVISIONS.values(), {"train": [1, 3], "columns": [0, 2]}])
def test_a_plain_embedding_loads_into_ours(weights, kind, more):
    plain = getattr(nn, kind).from_pretrained(weights)
    ours = getattr(rt, kind).from_pretrained(torch.zeros(N, D), **more)
    ours.load_state_dict(plain.state_dict())
    assert bits(ours.weight) == bits(weights)
    shown = [i for i in range(N) if kind == "Embedding" or i != ours.padding_idx]
    assert bits(looked_up(ours)[shown]) == bits(weights[shown])


@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
def test_ours_loads_into_a_plain_one_where_everything_trains(weights, kind):
    ours = trained(weights, "all", getattr(rt, kind))
    assert list(ours.state_dict()) == ["weight"]
    plain = getattr(nn, kind)(N, D)
    plain.load_state_dict(ours.state_dict())
    assert bits(plain.weight) == bits(ours.weight)
    some = trained(weights, [1, 3], getattr(rt, kind))
    plain.load_state_dict(some.merge().state_dict())
    assert bits(plain.weight) == bits(some.weight)


def test_an_embedding_loads_into_a_bag(weights):
    one, other = trained(weights, [1, 3]), rt.EmbeddingBag(N, D, train=[1, 5])
    other.load_state_dict(one.state_dict())
    assert bits(looked_up(other)) == bits(looked_up(one))


def test_training_goes_on_from_the_two_state_dicts(weights):
    def steps(model, optimizer, how_many):
        for step in range(how_many):
            optimizer.zero_grad()
            ids = (torch.arange(10).view(2, 5) + 7 * step) % N
            model(ids).square().sum().backward()
            optimizer.step()

    def made():
        torch.manual_seed(0)
        model = Model(weights, [1, 3, 8, 10, 15])
        return model, rt.optim.Adam(model.parameters(), lr=0.1)

    one, optimizer = made()
    steps(one, optimizer, 3)
    states = through_a_file({"model": one.state_dict(), "optimizer": optimizer.state_dict()})
    other, another = made()
    other.load_state_dict(states["model"])
    another.load_state_dict(states["optimizer"])
    steps(one, optimizer, 3)
    steps(other, another, 3)
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert bits(a) == bits(b), name


def test_a_memory_map_is_saved_whole_and_comes_back(tmp_path, weights):
    np.save(tmp_path / "table.npy", weights.numpy())
    table = np.load(tmp_path / "table.npy", mmap_mode="r")
    one = trained(table, [1, 3])
    state = through_a_file(one.state_dict())
    other = rt.Embedding(N, D, train=[1, 3])
    other.load_state_dict(state)
    assert bits(other.weight) == bits(one.weight)
    assert bits(other.base) == bits(weights)
