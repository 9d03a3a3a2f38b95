"""`clip_grad_norm_` over dense and row-sparse gradients: torch's own on a twin that is dense."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import rowtune.torch as rt

INF = float("inf")
NORMS = [1, 2, 2.0, 3.0, 0.5, INF]
TRAIN = [1, 2, 4, 6]


def two_models(dtype=torch.float64):
    """The same model twice: with row-sparse gradients, and with dense ones."""
    torch.manual_seed(0)
    block = rt.Embedding(8, 3, train=TRAIN, sparse=True, dtype=dtype)
    table, head = nn.Embedding(5, 3, sparse=True, dtype=dtype), nn.Linear(3, 2, dtype=dtype)
    unused = nn.Linear(2, 2, dtype=dtype)  # without a gradient
    # Added to the first table, and with gradients in the same memory as that one's.
    places = nn.Embedding(5, 3, sparse=True, dtype=dtype)
    sparse = nn.ModuleList([block, table, head, unused, places])
    dense = copy.deepcopy(sparse)
    dense[0].sparse = dense[1].sparse = dense[4].sparse = False
    return sparse, dense


def backward(model, ids, scale=1.0):
    block, table, head, _, places = model
    ids = torch.tensor(ids, dtype=torch.int64)
    rows = block(ids) + table(ids % 5) + places(ids % 5)
    (head(rows).square().sum() * scale).backward()


def grads(model):
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return [g.to_dense() if g.is_sparse else g for g in found]


BATCHES = [[1, 2, 2, 0, 6, 2], [0, 3, 3], [], [4]]


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e9, 0.0])
@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize("ids", BATCHES, ids=["duplicates", "all frozen", "empty", "one"])
def test_norm_and_gradients_are_torchs_on_the_dense_twin(ids, norm_type, max_norm):
    sparse, dense = two_models()
    for model in (sparse, dense):
        backward(model, ids)
    ours = rt.clip_grad_norm_(sparse.parameters(), max_norm, norm_type)
    theirs = nn.utils.clip_grad_norm_(dense.parameters(), max_norm, norm_type)
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(grads(sparse), grads(dense), strict=True):
        torch.testing.assert_close(one, other)
    assert sparse[0].block.grad.is_sparse
    torch.testing.assert_close(rt.clip_grad_norm_(dense.parameters(), INF, norm_type),
                               nn.utils.get_total_norm(grads(sparse), norm_type))  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_row_that_came_a_thousand_times_counts_with_its_whole_sum(dtype):
    for sparse in (False, True):
        emb = rt.Embedding(4, 2, train=[1, 3], sparse=sparse, dtype=dtype)
        (emb(torch.full((1024,), 3)) * 0.5).sum().backward()
        norm = rt.clip_grad_norm_(emb.parameters(), 8.0, INF)
        assert norm == 512
        grad = emb.block.grad.to_dense() if sparse else emb.block.grad
        torch.testing.assert_close(grad, torch.tensor([[0, 0], [8, 8]], dtype=dtype))


@pytest.mark.parametrize("foreach", [None, True, False])
def test_parameters_come_as_one_tensor_a_list_or_a_generator_in_any_form(foreach):
    sparse, dense = two_models(torch.float32)
    for model in (sparse, dense):
        backward(model, [1, 1, 6])
    norms = []
    for model in (sparse, dense):
        one = rt.clip_grad_norm_(model[0].block, INF, foreach=foreach)
        some = rt.clip_grad_norm_([model[0].block, model[2].weight], INF, foreach=foreach)
        every = rt.clip_grad_norm_((p for p in model.parameters()), 0.5, foreach=foreach)
        norms.append(torch.stack([one, some, every]))
    torch.testing.assert_close(*norms)
    assert 0 < norms[0][0] < norms[0][1] < norms[0][2]
    after = rt.clip_grad_norm_(sparse.parameters(), INF)
    torch.testing.assert_close(after, torch.tensor(0.5), rtol=1e-4, atol=0)


def test_without_any_gradient_the_norm_is_torchs_zero():
    sparse, _ = two_models()
    for parameters in (list(sparse.parameters()), []):
        ours = rt.clip_grad_norm_(parameters, 1.0)
        theirs = nn.utils.clip_grad_norm_(list(parameters), 1.0)
        assert torch.equal(ours, theirs)
    backward(sparse, [])
    sparse[2].zero_grad()
    assert rt.clip_grad_norm_(sparse[0].block, 1.0, INF) == 0


def test_a_norm_within_bounds_changes_no_bit():
    sparse, dense = two_models()
    for model in (sparse, dense):
        backward(model, [1, 2, 2, 6])
        before = [g.clone() for g in grads(model)]
        rt.clip_grad_norm_(model.parameters(), 1e9)
        assert all(torch.equal(g, b) for g, b in zip(grads(model), before, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), INF])
def test_a_norm_that_is_not_finite(bad):
    sparse, dense = two_models()
    for model in (sparse, dense):
        backward(model, [1, 2], bad)
    before = [str(g) for g in grads(sparse)]
    with pytest.raises(RuntimeError, match="non-finite"):
        rt.clip_grad_norm_(sparse.parameters(), 1.0, error_if_nonfinite=True)
    assert [str(g) for g in grads(sparse)] == before
    ours = rt.clip_grad_norm_(sparse.parameters(), 1.0)
    theirs = nn.utils.clip_grad_norm_(dense.parameters(), 1.0)
    assert str(ours) == str(theirs)
    every = slice(None)
    touched = [slice(0, 2), slice(1, 3), every, every, slice(1, 3)]  # elsewhere, zero times NaN
    for rows, one, other in zip(touched, grads(sparse), grads(dense), strict=True):
        torch.testing.assert_close(one[rows], other[rows], equal_nan=True)


@pytest.mark.parametrize("scale", [9.0, 0.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_clipping_forgets_no_row_that_was_looked_up(sparse, scale):
    emb = rt.Embedding(8, 3, train=TRAIN, sparse=sparse)
    optimizer = rt.optim.SGD(emb.parameters(), lr=0.1, momentum=0.9)
    (emb(torch.tensor([1, 1, 4])) * torch.tensor([[0.0], [0.0], [scale]])).sum().backward()
    rt.clip_grad_norm_(emb.parameters(), 1.0)
    optimizer.step()
    assert optimizer.row_state(emb.block)["step"].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("clip_first", [False, True])
def test_gradients_that_were_clipped_can_still_be_added_to(clip_first):
    torch.manual_seed(0)
    weights = torch.randn(8, 3)
    results = []
    for sparse in (False, True):
        emb = rt.Embedding.from_pretrained(weights, train=TRAIN, sparse=sparse)
        optimizer = rt.optim.Adam(emb.parameters(), lr=0.1)
        for ids in ([1, 2, 2], [0, 3], [2, 6]):
            emb(torch.tensor(ids)).square().sum().backward()
            if clip_first:
                rt.clip_grad_norm_(emb.parameters(), 1.0)
        rt.clip_grad_norm_(emb.parameters(), 0.5)
        optimizer.step()
        results.append(emb.weight.detach())
    torch.testing.assert_close(*results)
    assert not torch.equal(results[0], weights)


@pytest.mark.parametrize("sparse", [False, True])
def test_clipping_changes_nobody_elses_tensor(sparse):
    emb = rt.Embedding(8, 3, train="all", sparse=sparse)
    bias = nn.Parameter(torch.zeros(2, 1, 3))
    rows = emb(torch.tensor([[1], [2]])) + bias
    rows.retain_grad()
    given = torch.full((2, 1, 3), 4.0)
    (rows * given).sum().backward()
    rt.clip_grad_norm_(emb.parameters(), 1.0)
    for other in (rows.grad, bias.grad, given):
        assert (other == 4).all()
