"""`Embedding` in training: passes used twice, checkpointed, accumulated, and what they remember."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

import rowtune.torch as rt

N, D = 10, 4
IDS = torch.tensor([[1, 4, 7], [7, 7, 2]])


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[False, True], ids=["dense", "sparse"])
def sparse(request):
    return request.param


class Model(nn.Module):
    """A table that is looked up twice, in rows that pass through layers."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding
        self.layer = nn.Linear(D, D)
        generator = torch.Generator().manual_seed(1)
        nn.init.normal_(self.layer.weight, generator=generator)
        nn.init.zeros_(self.layer.bias)

    def forward(self, ids):
        rows = self.embedding(ids)
        return torch.tanh(self.layer(rows)) * self.embedding(ids.flip(-1)) + rows


def pair(weights, sparse, train=(1, 4, 7)):
    ours = rt.Embedding.from_pretrained(weights, train=train, sparse=sparse)
    torchs = nn.Embedding(N, D, _weight=weights.clone(), sparse=sparse)
    return Model(ours), Model(torchs)


def gradients_agree(ours, torchs, rtol=1.3e-6, atol=1e-5):
    rows = torch.from_numpy(ours.embedding.rows.ids.copy())
    expected = torchs.embedding.weight.grad.to_dense()[rows]
    grad = ours.embedding.block.grad
    torch.testing.assert_close(grad.to_dense(), expected, rtol=rtol, atol=atol)
    torch.testing.assert_close(
        ours.layer.weight.grad, torchs.layer.weight.grad, rtol=rtol, atol=atol
    )


def touched_ids(embedding):
    touched = embedding.block.touched()
    return None if touched is None else embedding.rows.ids[touched.numpy()].tolist()


def test_a_table_that_is_looked_up_twice_in_one_pass(weights, sparse):
    ours, torchs = pair(weights, sparse)
    for model in (ours, torchs):
        model(IDS).square().sum().backward()
    gradients_agree(ours, torchs)


def test_one_table_at_two_places_of_a_model(weights, sparse):
    table = rt.Embedding.from_pretrained(weights, train=[1, 4, 7], sparse=sparse)
    model = nn.ModuleDict({"source": table, "target": table})
    assert len(list(model.parameters())) == 1
    (model["source"](IDS) * model["target"](IDS)).sum().backward()
    expected = torch.zeros(N, D).index_add_(0, IDS.reshape(-1), 2 * weights[IDS.reshape(-1)])
    torch.testing.assert_close(table.block.grad.to_dense(), expected[[1, 4, 7]])


def test_gradients_accumulate_until_they_are_zeroed(weights, sparse):
    ours, torchs = pair(weights, sparse)
    for ids in (IDS, IDS[:1], torch.tensor([[2, 2]]), IDS + 1):
        for model in (ours, torchs):
            model(ids).sum().backward()
    gradients_agree(ours, torchs)
    for set_to_none in (False, True):
        for model in (ours, torchs):
            model.zero_grad(set_to_none=set_to_none)
            model(IDS).sum().backward()
        gradients_agree(ours, torchs)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_recomputes_the_same(weights, sparse, use_reentrant):
    ours, torchs = pair(weights, sparse)
    start = torch.ones(D, requires_grad=True)  # reentrant checkpoints want an input with a gradient

    def run(model):
        def part(start, ids):
            return model(ids) * start

        once = checkpoint(part, start, IDS, use_reentrant=use_reentrant)
        twice = checkpoint(part, once[0, 0], IDS[:1], use_reentrant=use_reentrant)
        (once.sum() + twice.square().sum()).backward()

    run(ours)
    run(torchs)
    gradients_agree(ours, torchs)
    assert touched_ids(ours.embedding) == [1, 4, 7]


def test_nothing_is_remembered_in_eval_or_without_gradients(weights, sparse):
    ours, torchs = pair(weights, sparse)
    expected = torchs(IDS)
    assert torch.equal(ours.eval()(IDS), expected)
    with torch.no_grad():
        out = ours(IDS)
    assert torch.equal(out, expected)
    assert not out.requires_grad
    with torch.inference_mode():
        assert torch.equal(ours(IDS), expected)
    ours.train()(IDS).sum().backward()
    torchs(IDS).sum().backward()
    gradients_agree(ours, torchs)


def test_under_autocast_as_in_torch(weights, sparse):
    ours, torchs = pair(weights, sparse)
    outs = []
    for model in (ours, torchs):
        with torch.autocast("cpu", torch.bfloat16):
            assert model.embedding(IDS).dtype == torch.float32
            outs.append(model(IDS))
            loss = outs[-1].sum()
        loss.backward()
    assert torch.equal(*outs)
    gradients_agree(ours, torchs, rtol=0.02, atol=0.02)
    assert ours.embedding.block.grad.dtype == torch.float32


def test_a_gradient_scaler_unscales_both_kinds_of_gradient(weights, sparse):
    ours, torchs = pair(weights, sparse)
    for model in (ours, torchs):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler.scale(model(IDS).sum() + model.embedding(IDS).sum()).backward()
        scaler.unscale_(optimizer)
    gradients_agree(ours, torchs)


def test_a_second_derivative_of_the_table_is_refused(weights, sparse):
    table = rt.Embedding.from_pretrained(weights, train=[1, 4, 7], sparse=sparse)
    (grad,) = torch.autograd.grad(table(IDS).pow(3).sum(), table.block, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"rowtune\.torch\.subset\(embedding, ids\)"):
        grad.to_dense().sum().backward()


def test_a_second_derivative_of_what_was_looked_up_is_torchs_own(weights, sparse):
    """A gradient penalty on the rows, as in adversarial training of text models."""
    grads = []
    for model in pair(weights, sparse):
        rows = model.embedding(IDS)
        (slope,) = torch.autograd.grad(rows.pow(3).sum(), rows, create_graph=True)
        slope.square().sum().backward()
        weight = model.embedding.weight
        grads.append((weight if weight.is_leaf else model.embedding.block).grad.to_dense())
    torch.testing.assert_close(grads[0], grads[1][[1, 4, 7]])


def test_rows_given_from_outside_take_the_gradient(weights):
    table = rt.Embedding.from_pretrained(weights, train=[1, 4, 7])
    other = torch.zeros(3, D, requires_grad=True)
    out = functional_call(table, {"block": other}, (IDS,))
    assert torch.equal(out[1], torch.stack([other[0], other[0], weights[2]]))
    out.sum().backward()
    assert other.grad[:, 0].tolist() == [1.0, 1.0, 3.0]
    assert table.block.grad is None
    assert not table.block.pending.any()


@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
def test_a_row_is_touched_when_it_is_looked_up_whatever_its_gradient_is(weights, kind, sparse):
    table = kind.from_pretrained(weights, train=[1, 4, 7, 9], sparse=sparse)
    (table(torch.tensor([[1, 2]])) * 0).sum().backward()
    assert touched_ids(table) == [1]
    (table(torch.tensor([[4, 4]])).sum() + table(torch.tensor([[7, 0]])).sum()).backward()
    assert touched_ids(table) == [1, 4, 7]
    table.zero_grad()
    assert touched_ids(table) is None
    table(torch.tensor([[0, 2]])).sum().backward()
    assert touched_ids(table) == []


def test_a_lookup_that_never_reached_the_gradient_does_not_count(weights, sparse):
    for kind in (rt.Embedding, rt.EmbeddingBag):
        table = kind.from_pretrained(weights, train=[1, 4, 7], sparse=sparse)
        table(torch.tensor([[1]]))  # no backward pass
        (grad,) = torch.autograd.grad(table(torch.tensor([[4]])).sum(), table.block)
        assert grad.sum() == D
        table(torch.tensor([[7]])).sum().backward()
        assert touched_ids(table) == [7]


def test_a_backward_pass_that_fails_halfway_leaves_no_trace(weights):
    table = rt.Embedding.from_pretrained(weights, train=[1, 4, 7])

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, rows):
            return rows.clone()

        @staticmethod
        def backward(ctx, grads):
            raise ArithmeticError("halfway")

    failing = Fails.apply(table(torch.tensor([1])))  # of two branches, the last made goes first
    whole = table(torch.tensor([4]))
    with pytest.raises(ArithmeticError, match="halfway"):
        (failing.sum() + whole.sum()).backward()
    table.zero_grad()
    table(torch.tensor([7])).sum().backward()
    assert touched_ids(table) == [7]


def test_a_gradient_that_is_used_and_kept_keeps_its_record(weights):
    table = rt.Embedding.from_pretrained(weights, train=[1, 4, 7])
    loss = table(torch.tensor([4])).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert touched_ids(table) == [4]
    assert table.block.grad[1].tolist() == [2.0] * D


def test_ids_that_change_after_the_lookup_change_nothing(weights, sparse):
    """As a loader does that fills one buffer again and again."""
    table = rt.Embedding.from_pretrained(weights, train=[1, 4, 7], sparse=sparse)
    ids = torch.tensor([1, 4, 4])
    out = table(ids)
    ids.fill_(7)
    out.sum().backward()
    assert table.block.grad.to_dense()[:, 0].tolist() == [1.0, 2.0, 0.0]


LARGE = torch.arange(4000.0).repeat_interleave(128).view(4000, 128)  # several pieces of work


def test_two_threads_look_up_and_go_back_at_once(sparse):
    results = {}

    def work(name):
        table = rt.Embedding.from_pretrained(LARGE, train=slice(0, 3000), sparse=sparse)
        for step in range(8):
            ids = torch.arange(4000).roll(37 * step + name)
            out = table(ids)
            good = torch.equal(out, LARGE[ids])
            out.backward(LARGE)
            grad = table.block.grad.to_dense()
            good &= torch.equal(grad, LARGE.roll(-37 * step - name, 0)[:3000])
            results.setdefault(name, []).append(good)
            table.block.grad = None

    threads = [threading.Thread(target=work, args=(name,)) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {name: [True] * 8 for name in range(2)}


class LooksUp(torch.utils.data.Dataset):
    """Whose items are made with a table, in the worker."""

    def __init__(self, table):
        self.table = table

    def __len__(self):
        return 4

    def __getitem__(self, index):
        with torch.no_grad():
            return self.table(torch.full((4000,), index))[:, 0].sum()


def test_workers_that_fork_after_a_step_look_up_too():
    table = rt.Embedding.from_pretrained(LARGE, train=slice(0, 3000))
    table(torch.arange(4000)).sum().backward()
    loader = DataLoader(LooksUp(table), num_workers=2, multiprocessing_context="fork")
    assert [float(batch) for batch in loader] == [0.0, 4000.0, 8000.0, 12000.0]
    table(torch.arange(4000)).sum().backward()
    assert (table.block.grad == 2).all()
