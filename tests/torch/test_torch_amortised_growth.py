"""Adding rows one by one: nothing of the block's size is copied each time, or saved."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

import rowtune.torch as rt

D = 3
ROWS = 400  # added, one at a time
MOST_MOVES = 25  # a quarter more room each time: log(400) / log(1.25), and a few


def loss_of(embedding, ids):
    return (embedding(ids) ** 2).sum()


def train_and_grow(sparse, rows=ROWS, **options):
    """Grow by one row and step, again and again; where each array has been on the way."""
    embedding = rt.Embedding.from_pretrained(torch.ones(5, D), sparse=sparse, **options)
    optimizer = rt.optim.Adam(embedding.parameters(), lr=0.1)
    places: dict[str, set[int]] = {}
    for i in range(rows):
        new = embedding.grow(torch.full((1, D), 2.0))
        loss_of(embedding, torch.stack([new[0], torch.tensor(i % 5)])).backward()
        optimizer.step()
        optimizer.zero_grad()
        state = optimizer.state[embedding.block]
        seen = {"block": embedding.block, "pending": embedding.block.pending, **state}
        if embedding._slot_map is not None:
            seen["slots"] = embedding._slot_map
        for name, tensor in seen.items():
            places.setdefault(name, set()).add(tensor.data_ptr())
    return embedding, optimizer, places


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("train", ["all", [0, 3]])
def test_arrays_move_seldom_and_rows_train_as_if_they_had_been_there(sparse, train):
    embedding, optimizer, places = train_and_grow(sparse, train=train)
    assert {name for name, where in places.items() if len(where) > MOST_MOVES} == set()
    assert set(places) - {"slots"} == {"block", "pending", "step", "m", "v"}
    whole = torch.cat([torch.ones(5, D), torch.full((ROWS, D), 2.0)])
    chosen = train if train == "all" else [*train, *range(5, 5 + ROWS)]
    twin = rt.Embedding.from_pretrained(whole, train=chosen, sparse=sparse)
    other = rt.optim.Adam(twin.parameters(), lr=0.1)
    for i in range(ROWS):
        loss_of(twin, torch.tensor([5 + i, i % 5])).backward()
        other.step()
        other.zero_grad()
    torch.testing.assert_close(embedding.weight.detach(), twin.weight.detach(), rtol=0, atol=0)
    for name, tensor in other.state[twin.block].items():
        torch.testing.assert_close(optimizer.state[embedding.block][name], tensor, rtol=0, atol=0)


def storage_bytes(tensor):
    return tensor.untyped_storage().nbytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_saved_copied_or_sent_is_without_the_spare_room(dtype):
    embedding = rt.Embedding.from_pretrained(torch.ones(5, D, dtype=dtype), sparse=True)
    optimizer = rt.optim.Adagrad(embedding.parameters(), lr=0.1)
    for i in range(50):
        embedding.grow(torch.full((1, D), float(i), dtype=dtype))
        loss_of(embedding, torch.tensor([0, 5 + i])).backward()
        optimizer.step()
        optimizer.zero_grad()
    block = embedding.block
    assert storage_bytes(block) == block.numel() * block.element_size()
    for tensor in (*optimizer.state[block].values(), block.pending):
        assert storage_bytes(tensor) == tensor.numel() * tensor.element_size()
    file = io.BytesIO()
    torch.save({"model": embedding.state_dict(), "optimizer": optimizer.state_dict()}, file)
    assert file.tell() < 55 * (D * 6 + D * 4 + 4) + 5000
    file.seek(0)
    saved = torch.load(file)
    torch.testing.assert_close(saved["model"]["weight"], block.detach())
    twin = copy.deepcopy(embedding)
    twin.grow(torch.zeros(1, D, dtype=dtype))
    with torch.no_grad():
        twin.block.fill_(99)
    assert not (block == 99).any()
    embedding.double()
    embedding.grow(torch.zeros(1, D))
    embedding.share_memory()
    assert embedding.block.is_shared()
    embedding.grow(torch.ones(1, D))
    assert embedding.block[-1].tolist() == [1] * D


def test_growth_that_fails_at_the_second_block_takes_back_the_first():
    from rowtune.torch.growth import enlarge

    first, second = (rt.Embedding.from_pretrained(torch.ones(4, D)) for _ in range(2))
    first.grow(torch.zeros(1, D))
    loss = loss_of(second, torch.tensor([1]))
    with pytest.raises(RuntimeError, match="cannot grow now"):
        enlarge([(e.block, torch.zeros(2, D)) for e in (first, second)])
    loss.backward()
    assert (len(first.block), len(second.block)) == (5, 4)
    first.grow(torch.full((1, D), 3.0))
    assert first.block[:, 0].tolist() == [1, 1, 1, 1, 0, 3]


def test_a_row_sparse_gradient_that_waits_is_not_spread_out_to_grow(monkeypatch):
    embedding = rt.Embedding.from_pretrained(torch.ones(4, D), sparse=True)
    optimizer = rt.optim.SGD(embedding.parameters(), lr=1.0)
    loss_of(embedding, torch.tensor([1, 1])).backward()
    monkeypatch.setattr(type(embedding.block), "touched", lambda self: pytest.fail("k marks"))
    embedding.grow(torch.full((1, D), 5.0))
    loss_of(embedding, torch.tensor([4])).backward()
    optimizer.step()
    assert embedding.block[:, 0].tolist() == [1, -3, 1, 1, -5]


def test_rates_of_rows_grow_without_looking_at_them_again(monkeypatch):
    embedding = rt.Embedding.from_pretrained(torch.ones(4, D), sparse=True)
    group = {"params": [embedding.block], "lr_scale": torch.tensor([1.0, 0.5, 0.0, 1.0])}
    optimizer = rt.optim.SGD([group], lr=1.0)
    from rowtune.torch.optim import row_rates

    whole, calls = row_rates.scales, []
    monkeypatch.setattr(row_rates, "scales", lambda *a: calls.append(a) or whole(*a))
    for i in range(30):
        embedding.grow(torch.ones(1, D))
        loss_of(embedding, torch.tensor([1, 2, 4 + i])).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert len(calls) == 1
    assert embedding.block[2].tolist() == [1] * D
    assert embedding.block[4:, 0].tolist() == [-1] * 30


def test_a_grown_embedding_takes_part_in_a_model():
    model = nn.Sequential(rt.Embedding(6, D, sparse=False), nn.Linear(D, 1))
    model[0].grow(3)
    before = copy.deepcopy(model.state_dict())
    other = nn.Sequential(rt.Embedding(9, D), nn.Linear(D, 1))
    other.load_state_dict(before)
    torch.testing.assert_close(other[0].weight, model[0].weight)
    from safetensors.torch import load, save

    back = load(save(dict(model.state_dict())))
    assert back["0.weight"].shape == (9, D)


def test_an_embedding_that_trains_whole_never_asks_for_its_ids(monkeypatch):
    from rowtune import Rows

    monkeypatch.setattr(Rows, "ids", property(lambda self: pytest.fail("an id for every row")))
    for sparse in (False, True):
        embedding = rt.Embedding(9, D, sparse=sparse)
        optimizer = rt.optim.RowwiseAdagrad(embedding.parameters())
        embedding.grow(1)
        loss_of(embedding, torch.tensor([0, 9])).backward()
        optimizer.step()
        twin = copy.deepcopy(embedding)
        twin.load_state_dict(embedding.state_dict())
        assert torch.equal(twin.weight, embedding.weight)
