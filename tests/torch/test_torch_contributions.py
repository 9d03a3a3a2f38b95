"""A gradient of several contributions: passes that accumulate, and dense ones beside lookups."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import rowtune.torch as rt

N, D = 12, 4
IDS = torch.tensor([[3, 7, 3], [0, 3, 11]])
HOLD = []  # what keeps a row-sparse gradient from being kept as it came


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def look_up(table, ids, hooks, factor):
    out = table(ids)
    for hook in hooks:
        out.register_hook(hook)
    (out * factor).sum().backward()


@pytest.mark.parametrize("held", [0, 1, 2, 3])
@pytest.mark.parametrize("sizes", [[2], [0, 2, 0, 2], [2, 1, 2]])
def test_gradients_accumulate_whether_kept_or_not(sizes, held):
    emb = rt.Embedding.from_pretrained(random(N, D), sparse=True)
    plain = nn.Embedding(N, D, _weight=random(N, D))
    for i, size in enumerate(sizes):
        for table in (emb, plain):
            look_up(table, IDS[:size], [HOLD.append] * (held >> i & 1), random(size, 3, D))
            (table(IDS[:size]) * table(IDS[:size])).sum().backward()  # twice in one pass
        torch.testing.assert_close(emb.block.grad.to_dense(), plain.weight.grad)
    assert emb.block.touched().nonzero().view(-1).tolist() == IDS.unique().tolist()
    (optimizer := rt.optim.Adam(emb.parameters())).step()
    counts = optimizer.row_state(emb.block)["step"]
    assert counts.nonzero().view(-1).tolist() == IDS.unique().tolist()
    assert counts.max() == 1


def in_an_inner_pass(zeros):
    one = torch.ones((), requires_grad=True)
    return checkpoint(lambda x: x * zeros(IDS[:1]), one, use_reentrant=True)


MIXED = {
    "first": lambda emb, zeros: emb.weight[5:7].sum() + zeros(IDS),
    "last": lambda emb, zeros: zeros(IDS) + emb.block[5:7].sum(),
    "between": lambda emb, zeros: zeros(IDS[:1]) + emb.weight[5:7].sum() + zeros(IDS[1:]),
    "many": lambda emb, zeros: (
        emb.weight[5:7].sum() + sum(zeros(IDS[:1]) for _ in range(300)) + zeros(IDS)
    ),
    "nested": lambda emb, zeros: emb.block[5:7].sum() + in_an_inner_pass(zeros) + zeros(IDS),
}


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
@pytest.mark.parametrize("mixed", MIXED)
def test_rows_without_gradient_are_touched_beside_a_dense_one(mixed, kind, held):
    emb = kind.from_pretrained(random(N, D), sparse=True)
    optimizer = rt.optim.Adam(emb.parameters())

    def zeros(ids):
        out = emb(ids)
        if held and out.requires_grad:  # not where a checkpoint looks up for the first time
            out.register_hook(HOLD.append)
        return (out * torch.zeros_like(out)).sum()

    for count in (1, 2):
        for _ in range(count):
            MIXED[mixed](emb, zeros).backward()
        assert not emb.block.grad.is_sparse
        optimizer.step()
        optimizer.zero_grad()
        expected = [count * (row in (0, 3, 5, 6, 7, 11)) for row in range(N)]
        assert optimizer.row_state(emb.block)["step"].tolist() == expected


def test_passes_that_accumulate_nothing_leave_nothing_behind():
    emb, ids = rt.Embedding(N, D, sparse=True), torch.zeros(60_000, dtype=torch.int64)
    torch.autograd.grad(emb(ids).sum(), emb.block)  # compiles what it needs
    tracemalloc.start()
    held = []
    for _ in range(40):
        torch.autograd.grad(emb(ids).sum(), emb.block)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] - held[9] < 3 * 4 * len(ids)  # of thirty passes with a slot for every id
