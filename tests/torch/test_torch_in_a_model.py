"""What layers around a table do: change its output in place, give no gradient, or a huge one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import rowtune.torch as rt
from rowtune.errors import NonFiniteError

D = 3
KINDS = {"Embedding": rt.Embedding, "EmbeddingBag": rt.EmbeddingBag}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "ids", [torch.tensor([1, 2]), torch.tensor([[1, 2], [3, 1]]), torch.tensor(1)]
)
def test_the_output_may_be_changed_in_place(ids, dtype, sparse):
    weights = torch.randn(5, D).to(dtype)
    ours = rt.Embedding.from_pretrained(weights, train=[1, 2], sparse=sparse)
    plain = nn.Embedding(5, D, _weight=weights.clone())
    for table in (ours, plain):
        rows = table(ids)
        rows.mul_(2.0)
        functional.relu(rows.view(-1), inplace=True)
        rows.sum().backward()
    torch.testing.assert_close(ours.block.grad.to_dense(), plain.weight.grad[[1, 2]])


@pytest.mark.parametrize("held", [False, True])
def test_half_precision_is_summed_in_float32_whoever_sums(held):
    emb = rt.Embedding(4, 2, sparse=True, dtype=torch.bfloat16)
    rows = emb(torch.zeros(4000, dtype=torch.long))
    rows.backward(torch.ones_like(rows)) if held else (rows * 1).sum().backward()
    assert emb.weight.grad.coalesce()._values().tolist() == [[4000.0, 4000.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_passes_no_gradient_on(kind):
    table, linear = KINDS[kind](5, 2), nn.Linear(2, 2)
    x = torch.randn(3, 2, requires_grad=True)
    rows = table(torch.tensor([1, 2, 3]).view(*([3] if kind == "Embedding" else [3, 1])))
    out = checkpoint(lambda a, b: linear(b) + a.detach(), rows, x, use_reentrant=True)
    out.sum().backward()
    assert table.weight.grad is None


@pytest.mark.parametrize("count", [2, 10, 18, 20, 22, 24, 300])
def test_gradients_whose_sum_overflows_by_rounding_alone_are_refused(count):
    each = float(np.finfo(np.float32).max / np.float32(count))
    emb = rt.Embedding(5, 2, sparse=True)
    before = emb.weight.detach().clone()
    optimizer = rt.optim.SGD(emb.parameters(), lr=0.1)
    (emb(torch.zeros(count, dtype=torch.long)) * each).sum().backward()
    try:
        optimizer.step()
    except NonFiniteError:
        assert torch.equal(emb.weight, before)
    else:
        assert torch.isfinite(emb.weight).all()


def test_options_that_are_tensors_may_change_in_place():
    rows = []
    for value in (0.9, torch.tensor(0.9)):
        torch.manual_seed(0)
        emb = rt.Embedding(5, 2)
        other = 0.99 if isinstance(value, float) else torch.tensor(0.99)
        optimizer = rt.optim.Adam(emb.parameters(), lr=0.01, betas=(value, other))
        for beta in (0.1, 0.5, 0.9):
            emb(torch.tensor([1, 2])).pow(2).sum().backward()
            optimizer.step()
            if isinstance(value, torch.Tensor):
                value.fill_(beta)
            else:
                optimizer.param_groups[0]["betas"] = (beta, 0.99)
        rows.append(emb.weight.detach())
    torch.testing.assert_close(*rows, rtol=1e-6, atol=1e-7)
