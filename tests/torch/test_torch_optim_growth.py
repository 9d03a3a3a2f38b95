"""New rows under a running optimizer: what is remembered of the old ones goes on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import rowtune.torch as rt
from rowtune.errors import NonFiniteError, RuleError, ShapeError

OPTIMIZERS = {
    "sgd": lambda p: rt.optim.SGD(p, lr=0.1),
    "momentum": lambda p: rt.optim.SGD(p, lr=0.1, momentum=0.9),
    "adagrad": lambda p: rt.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.5),
    "rowwise": lambda p: rt.optim.RowwiseAdagrad(p, lr=0.1, initial_accumulator_value=0.5),
    "rmsprop": lambda p: rt.optim.RMSprop(p, lr=0.1),
    "adam": lambda p: rt.optim.Adam(p, lr=0.1),
}
every_optimizer = pytest.mark.parametrize("kind", OPTIMIZERS)
either_gradient = pytest.mark.parametrize("sparse", [False, True])
N, D, GROWN = 8, 4, 3
TRAIN = [1, 2, 5]


def tables():
    """The first N rows, and the same with those that are added later."""
    whole = torch.randn(N + GROWN, D, generator=torch.Generator().manual_seed(0))
    return whole[:N].clone(), whole


def train(emb, optimizer, *batches):
    for ids in batches:
        optimizer.zero_grad()
        emb(torch.tensor(ids)).square().sum().backward()
        optimizer.step()


OLD = [[1, 2, 2, 0], [5, 5], [2, 3]]
NEW = [[1, N, N + 1, N], [N + 1, 0], [2, N + 2, 5]]


def embeddings(train="some", **more):
    """One that grows, and one that had all its rows from the beginning."""
    small, whole = tables()
    rows, grown = ("all", "all") if train == "all" else (TRAIN, [*TRAIN, N, N + 1, N + 2])
    return (
        rt.Embedding.from_pretrained(small, train=rows, **more),
        rt.Embedding.from_pretrained(whole, train=grown, **more),
        whole[N:],
    )


def assert_alike(one, optimizer, other, its):
    ids = torch.arange(one.num_embeddings)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one(ids), other(ids))
    assert torch.equal(one(ids), one.weight)
    theirs = its.row_state(other.block)
    for name, values in optimizer.row_state(one.block).items():
        assert torch.equal(values, theirs[name])
        assert len(values) == len(one.block) == len(one.rows)


@either_gradient
@pytest.mark.parametrize("rows", ["some", "all", "columns"])
@every_optimizer
def test_a_table_that_grew_trains_like_one_that_always_had_the_rows(kind, rows, sparse):
    more = {"columns": [0, 2]} if rows == "columns" else {}
    emb, twin, new = embeddings(rows, sparse=sparse, **more)
    block = emb.block
    optimizer, its = (OPTIMIZERS[kind](e.parameters()) for e in (emb, twin))
    for e, o in ((emb, optimizer), (twin, its)):
        train(e, o, *OLD)
        o.zero_grad()
    assert emb.grow(new).tolist() == [N, N + 1, N + 2]
    assert emb.block is block is optimizer.param_groups[0]["params"][0]
    assert emb.weight.shape == (N + GROWN, D)
    for e, o in ((emb, optimizer), (twin, its)):
        train(e, o, *NEW)
    assert_alike(emb, optimizer, twin, its)
    trained = torch.tensor(sorted({i for ids in OLD + NEW for i in ids} & set(emb.rows.ids)))
    start = tables()[1]
    assert (emb.weight[trained] != start[trained]).any(dim=1).all()


def test_growing_again_and_again_while_a_schedule_runs():
    torch.manual_seed(0)
    emb = rt.Embedding(4, D, train=[1, 3])
    head = nn.Linear(D, 1)
    optimizer = rt.optim.AdamW([*emb.parameters(), *head.parameters()], lr=0.1)
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
    for count in (1, 0, 2, 1):
        new = emb.grow(count, init="kaiming")
        ids = torch.cat([new, torch.tensor([1])])
        optimizer.zero_grad()
        head(emb(ids)).sum().backward()
        optimizer.step()
        schedule.step()
    assert optimizer.row_state(emb.block)["step"].tolist() == [4, 0, 1, 1, 1, 1]
    assert emb.weight.shape == (8, D)


@either_gradient
@pytest.mark.parametrize("kind", ["momentum", "adagrad", "rowwise", "adam"])
def test_a_state_from_before_the_growth_loads_and_new_rows_begin_afresh(kind, sparse):
    emb, twin, new = embeddings(sparse=sparse)
    optimizer, its = (OPTIMIZERS[kind](e.parameters()) for e in (emb, twin))
    for e, o in ((emb, optimizer), (twin, its)):
        train(e, o, *OLD)
    saved, rows = copy.deepcopy(optimizer.state_dict()), emb.block.detach().clone()
    train(emb, optimizer, [1], [2])  # what comes after is taken back by loading
    optimizer.zero_grad()
    emb.grow(new)
    emb.block.data[: len(rows)] = rows
    optimizer.load_state_dict(saved)
    for e, o in ((emb, optimizer), (twin, its)):
        train(e, o, *NEW)
    assert_alike(emb, optimizer, twin, its)


def test_a_state_saved_right_after_the_growth_loads_too():
    emb, twin, new = embeddings()
    optimizer, its = (OPTIMIZERS["adam"](e.parameters()) for e in (emb, twin))
    for e, o in ((emb, optimizer), (twin, its)):
        train(e, o, *OLD)
    optimizer.zero_grad()
    emb.grow(new)
    again = copy.deepcopy(emb)
    loaded = OPTIMIZERS["adam"](again.parameters())
    loaded.load_state_dict(optimizer.state_dict())  # which knows of the old rows alone
    pairs = [(again, loaded), copy.deepcopy((emb, optimizer)), (emb, optimizer)]
    for e, o in ((twin, its), *pairs):
        train(e, o, *NEW)
    for e, o in pairs:
        assert_alike(e, o, twin, its)


def test_a_state_of_more_rows_is_refused_when_it_is_loaded():
    emb, _, new = embeddings()
    optimizer = OPTIMIZERS["adam"](emb.parameters())
    train(emb, optimizer, *OLD)
    grown, later = copy.deepcopy((emb, optimizer))
    grown.grow(new)
    train(grown, later, *NEW)
    before = str(optimizer.state_dict())
    with pytest.raises(RuleError, match=r"block of 3 x 4 rows.*embedding\.grow"):
        optimizer.load_state_dict(later.state_dict())
    assert str(optimizer.state_dict()) == before
    emb.block.grad = None
    emb.grow(new)
    emb.load_state_dict(grown.state_dict())
    optimizer.load_state_dict(later.state_dict())
    for e, o in ((emb, optimizer), (grown, later)):
        train(e, o, *NEW)
    assert_alike(emb, optimizer, grown, later)


@either_gradient
def test_growing_between_backward_and_step_loses_no_gradient_or_is_refused(sparse):
    emb, twin, new = embeddings(sparse=sparse)
    optimizer, its = (OPTIMIZERS["momentum"](e.parameters()) for e in (emb, twin))
    for e in (emb, twin):
        rows = e(torch.tensor([1, 5]))
        (rows * torch.tensor([[1.0], [0.0]])).sum().backward()
    del rows
    try:
        emb.grow(new)
    except RuntimeError as error:
        assert "grad" in str(error)
        assert len(emb.block) == len(TRAIN)
        optimizer.step()  # with the gradient that was there
        optimizer.zero_grad()
        emb.grow(new)
    else:
        optimizer.step()
    its.step()
    assert_alike(emb, optimizer, twin, its)


@either_gradient
@pytest.mark.parametrize("rows", ["some", "all", "columns"])
def test_gradients_accumulate_across_the_growth_or_it_is_refused(rows, sparse):
    more = {"columns": [0, 2]} if rows == "columns" else {}
    emb, twin, new = embeddings(rows, sparse=sparse, **more)
    optimizer, its = (OPTIMIZERS["momentum"](e.parameters()) for e in (emb, twin))
    for e in (emb, twin):
        (e(torch.tensor([1, 5])) * torch.tensor([[1.0], [0.0]])).sum().backward()
    try:
        emb.grow(new)
    except RuntimeError:
        assert len(emb.block) == len(emb.rows) == len(emb.block.grad)
        return
    for e, o in ((emb, optimizer), (twin, its)):
        e(torch.tensor([2, N + 1])).sum().backward()
        o.step()
    assert_alike(emb, optimizer, twin, its)


@either_gradient
@pytest.mark.parametrize("columns", [None, [0, 2]])
def test_with_a_graph_that_waits_growing_raises_and_changes_nothing(columns, sparse):
    emb, _, new = embeddings(sparse=sparse, columns=columns)
    optimizer = OPTIMIZERS["momentum"](emb.parameters())
    train(emb, optimizer, *OLD)
    optimizer.zero_grad()
    emb(torch.tensor([1, 2])).sum().backward()  # a gradient for a later step
    waiting = emb(torch.tensor([1, 5])).sum()
    untouched, other = copy.deepcopy((emb, optimizer))
    grad = emb.block.grad.to_dense().clone()
    with pytest.raises(RuntimeError, match="cannot grow now"):
        emb.grow(new)
    assert (emb.num_embeddings, len(emb.block), len(emb.rows)) == (N, 3, 3)
    assert emb.weight.shape == (N, D)
    assert emb.block.grad is not None
    assert torch.equal(emb.block.grad.to_dense(), grad)
    waiting.backward()
    optimizer.step()
    untouched(torch.tensor([1, 2, 1, 5])).sum().backward()
    other.step()
    assert_alike(emb, optimizer, untouched, other)
    del waiting
    optimizer.zero_grad()
    emb.grow(new)
    train(emb, optimizer, *NEW)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (torch.zeros(2, D + 1), ShapeError),
        (torch.zeros(D), ShapeError),
        (-1, ShapeError),
        (torch.full((2, D), float("nan")), NonFiniteError),
        ("two", Exception),
    ],
)
def test_rows_that_make_no_sense_change_nothing(wrong, error):
    emb, _, _ = embeddings()
    optimizer = OPTIMIZERS["adam"](emb.parameters())
    train(emb, optimizer, *OLD)
    before, state = emb.weight.detach().clone(), str(optimizer.state_dict())
    grad = emb.block.grad.clone()
    with pytest.raises(error):
        emb.grow(wrong)
    assert torch.equal(emb.weight, before)
    assert str(optimizer.state_dict()) == state
    assert torch.equal(emb.block.grad, grad)


def test_a_loss_that_was_dropped_does_not_hinder_growth():
    emb, _, new = embeddings()
    optimizer = OPTIMIZERS["adam"](emb.parameters())
    loss = emb(torch.tensor([1, 2])).sum() + emb.weight.sum()
    del loss
    with torch.no_grad():
        kept = emb(torch.tensor([1]))
    emb.grow(new)
    assert not kept.requires_grad
    train(emb, optimizer, [N + 2, N + 2, 1])
    assert optimizer.row_state(emb.block)["step"].tolist() == [1, 0, 0, 0, 0, 1]


@either_gradient
def test_what_a_batch_touched_before_the_growth_is_not_touched_after_it(sparse):
    emb, _, new = embeddings(sparse=sparse)
    optimizer = OPTIMIZERS["momentum"](emb.parameters())
    emb(torch.tensor([1, 2])).sum().backward()
    optimizer.zero_grad()
    emb.grow(new)
    (emb(torch.tensor([5, N])) * 0).sum().backward()
    optimizer.step()
    assert optimizer.row_state(emb.block)["step"].tolist() == [0, 0, 1, 1, 0, 0]


def test_a_block_that_is_frozen_for_a_while_grows():
    emb, _, new = embeddings()
    emb.block.requires_grad_(False)
    emb.grow(new)
    emb.block.requires_grad_(True)
    optimizer = OPTIMIZERS["adam"](emb.parameters())
    train(emb, optimizer, [N])
    assert optimizer.row_state(emb.block)["step"].tolist() == [0, 0, 0, 1, 0, 0]
