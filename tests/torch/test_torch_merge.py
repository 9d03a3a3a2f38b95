"""`merge`: a plain module of torch's own with the same outputs and memory of its own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt

N, D = 40, 6
CHOICES = {
    "all": {"train": "all"},
    "all but a padding row": {"train": "all", "padding_idx": 4},
    "some": {"train": [3, 1, 30]},
    "some, and a padding row": {"train": [3, 1, 30], "padding_idx": -1},
    "columns": {"train": [3, 1, 30], "columns": [0, 4]},
    "none": {"train": []},
}


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def ids():
    return torch.randint(N, (7, 5), generator=torch.Generator().manual_seed(1))


def bits(tensor):
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.itemsize == 2 else tensor).numpy().tobytes()


def trained(weights, kind=rt.Embedding, **more):
    embedding = kind.from_pretrained(weights, **more)
    with torch.no_grad():
        embedding.block.add_(torch.arange(1, embedding.block.numel() + 1).view_as(embedding.block))
    return embedding


@pytest.mark.parametrize("grown", [0, 3])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_merged_embedding_gives_the_same_rows(weights, ids, choice, grown):
    ours = trained(weights, **CHOICES[choice])
    new = ours.grow(torch.full((grown, D), 7.0))
    plain = ours.merge()
    assert type(plain) is nn.Embedding
    assert [name for name, _ in plain.named_parameters()] == ["weight"]
    assert (plain.num_embeddings, plain.embedding_dim) == (N + grown, D)
    assert plain.padding_idx == ours.padding_idx
    every = torch.cat([ids.reshape(-1), torch.arange(N), new])
    assert bits(plain(every)) == bits(ours(every))
    assert bits(plain(ids)) == bits(ours(ids))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_merged_bag_gives_the_same_bags(weights, ids, choice, mode):
    ours = trained(weights, rt.EmbeddingBag, mode=mode, include_last_offset=True, **CHOICES[choice])
    ours.grow(torch.full((2, D), 7.0))
    plain = ours.merge()
    assert type(plain) is nn.EmbeddingBag
    assert (plain.mode, plain.include_last_offset) == (mode, True)
    ids = torch.cat([ids.reshape(-1), torch.tensor([4, N, N + 1, 39, 4, 4])])
    offsets = torch.tensor([0, 3, 3, 20, 39, len(ids)])
    weighted = {"per_sample_weights": torch.rand(len(ids))} if mode == "sum" else {}
    expected = plain(ids, offsets, **weighted)
    torch.testing.assert_close(ours(ids, offsets, **weighted), expected, rtol=1e-6, atol=1e-6)
    assert len(expected) == 5


@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
@pytest.mark.parametrize("choice", CHOICES)
def test_neither_sees_what_is_done_to_the_other(weights, choice, kind):
    ours = trained(weights, kind, **CHOICES[choice])
    before, base = bits(ours.weight), bits(weights)
    plain = ours.merge()
    with torch.no_grad():
        plain.weight.fill_(9)
    assert bits(ours.weight) == before
    assert bits(weights) == base
    with torch.no_grad():
        ours.block.zero_()
    assert (plain.weight == 9).all()


def test_it_keeps_torchs_options(weights):
    ours = rt.Embedding.from_pretrained(
        weights, max_norm=1.5, norm_type=1.0, scale_grad_by_freq=True, padding_idx=3
    )
    assert ours.merge().extra_repr() == (
        f"{N}, {D}, padding_idx=3, max_norm=1.5, norm_type=1.0, scale_grad_by_freq=True"
    )
    bag = rt.EmbeddingBag.from_pretrained(weights, sparse=True, mode="sum", padding_idx=2)
    plain = bag.merge()
    assert (plain.sparse, plain.mode, plain.padding_idx) == (True, "sum", 2)


def test_all_of_a_merged_embedding_trains(weights, ids):
    plain = trained(weights, train=[3, 1, 30]).merge()
    plain(ids).sum().backward()
    counts = torch.bincount(ids.reshape(-1), minlength=N).float()
    assert plain.weight.grad[:, 0].tolist() == counts.tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_it_has_the_dtype_that_lookups_have(weights, ids, dtype):
    table = weights.to(getattr(torch, dtype))
    ours = trained(table, train=[3, 1, 30])
    assert ours.merge().weight.dtype == table.dtype
    ours.float()  # the block; the base keeps its bits
    plain = ours.merge()
    assert plain.weight.dtype == torch.float32
    assert bits(plain(ids)) == bits(ours(ids))


def test_a_memory_map_is_copied(tmp_path, weights, ids):
    np.save(tmp_path / "table.npy", weights.numpy())
    ours = trained(np.load(tmp_path / "table.npy", mmap_mode="r"), train=[3, 1, 30])
    plain = ours.merge()
    with torch.no_grad():
        plain.weight.mul_(1)  # would end the process if it were the map itself
    assert bits(plain(ids)) == bits(ours(ids))


def test_merging_leaves_the_embedding_as_it_was(weights, ids):
    ours = trained(weights, train=[3, 1, 30])
    twin = copy.deepcopy(ours)
    ours(ids).sum().backward()
    grad = ours.block.grad.clone()
    ours.merge()(ids).sum().backward()
    assert bits(ours.block.grad) == bits(grad)
    assert bits(ours.weight) == bits(twin.weight)
    assert ours.state_dict().keys() == twin.state_dict().keys()
