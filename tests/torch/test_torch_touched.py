"""Touched means looked up, whatever the gradient is and whichever form it has."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune.errors import RuleError

either_gradient = pytest.mark.parametrize("sparse", [False, True])
N, D, TRAIN = 12, 3, [1, 2, 4, 6, 7, 9, 11]


def embedding(sparse, **more):
    torch.manual_seed(0)
    return rt.Embedding(N, D, train=TRAIN, sparse=sparse, dtype=torch.float64, **more)


def momentum_of(emb):
    return rt.optim.SGD(emb.parameters(), lr=0.1, momentum=0.9)


def steps(optimizer, emb):
    return optimizer.row_state(emb.block)["step"].tolist()


@either_gradient
def test_a_row_looked_up_with_a_zero_gradient_is_stepped_and_an_absent_one_is_not(sparse):
    emb = embedding(sparse)
    optimizer = momentum_of(emb)
    emb(torch.tensor([1, 2, 4])).sum().backward()
    optimizer.step()
    before = emb.block.detach().clone()
    optimizer.zero_grad()
    (emb(torch.tensor([2, 4, 9])) * torch.tensor([[0.0], [-0.0], [1.0]])).sum().backward()
    optimizer.step()
    moved = before - emb.block.detach()
    expected = torch.tensor([0, 0.09, 0.09, 0, 0, 0.1, 0])  # 0.1 * 0.9 * velocity, and a first step
    torch.testing.assert_close(moved, expected.to(moved)[:, None].expand(7, D), rtol=1e-6, atol=0)
    assert (moved[[0, 3, 4, 6]] == 0).all()
    assert steps(optimizer, emb) == [1, 2, 2, 0, 0, 1, 0]


def integers(draw, *shape):
    """Gradients whose sums are exact in whatever order they are taken."""
    return torch.from_numpy(draw.integers(-4, 5, shape).astype(np.float64))


class Stream:
    """The same random batches for two models, one with row-sparse gradients, one with dense."""

    def __init__(self, seed, make):
        self.draw = np.random.default_rng(seed)
        self.embeddings = [embedding(sparse) for sparse in (False, True)]
        torch.manual_seed(1)
        plain = nn.Embedding(5, D, sparse=True, dtype=torch.float64)
        self.plain = [plain, nn.Embedding.from_pretrained(plain.weight.detach().clone(), False)]
        self.plain[1].sparse = True
        self.optimizers = [
            make([*emb.parameters(), *table.parameters()])
            for emb, table in zip(self.embeddings, self.plain, strict=True)
        ]

    def backward(self, loss):
        """``loss(embedding, plain table)``, with the same random numbers for both."""
        state = self.draw.bit_generator.state
        for emb, table in zip(self.embeddings, self.plain, strict=True):
            self.draw.bit_generator.state = state
            loss(emb, table).backward()

    def lookup(self, emb, table):
        size = int(self.draw.integers(0, 9))
        ids = torch.from_numpy(self.draw.integers(0, N, size))
        grads = integers(self.draw, size, D) * integers(self.draw, size, 1).clamp(0, 1)
        return (emb(ids) * grads).sum() + table(ids % 5).sum()

    def fractions(self, emb, table):
        """Duplicates add up in the order of the batch in either form."""
        ids = torch.from_numpy(self.draw.integers(0, N, 40))
        grads = torch.from_numpy(self.draw.standard_normal((40, D)))
        return (emb(ids) * grads).sum() + table(ids % 5).sum()

    def tied_head(self, emb, table):
        return self.lookup(emb, table) + (emb.weight * integers(self.draw, N, D)).sum()

    def penalty(self, emb, table):
        """A gradient from elsewhere for three slots, among them at times the ones looked up."""
        slots = self.draw.choice(len(TRAIN), 3, replace=False)
        return self.lookup(emb, table) + (emb.block[slots] * integers(self.draw, 3, D)).sum()

    def step(self, *losses):
        for loss in losses:
            self.backward(loss)
        for optimizer in self.optimizers:
            optimizer.step()

    def zero(self, whose, set_to_none):
        for emb, table, optimizer in zip(self.embeddings, self.plain, self.optimizers, strict=True):
            model = nn.ModuleList([emb, table])
            (optimizer if whose == "optimizer" else model).zero_grad(set_to_none=set_to_none)


def drop(whose, set_to_none):
    def event(stream):
        stream.backward(stream.lookup)  # a loss that was NaN, say: no step
        stream.zero(whose, set_to_none)
        stream.step(stream.lookup)

    return event


EVENTS = {
    "one batch": lambda s: s.step(s.lookup),
    "gradients of any size": lambda s: s.step(s.fractions),
    "accumulated": lambda s: s.step(s.lookup, s.lookup, s.lookup),
    "any size accumulated": lambda s: s.step(s.fractions, s.lookup, s.fractions),
    "dropped by the optimizer": drop("optimizer", True),
    "dropped by the model": drop("model", True),
    "zeroed by the optimizer": drop("optimizer", False),
    "zeroed by the model": drop("model", False),
    "a tied head": lambda s: s.step(s.tied_head),
    "a penalty": lambda s: s.step(s.penalty),
    "a penalty between": lambda s: s.step(s.lookup, s.penalty, s.lookup),
    "two steps with one gradient": lambda s: (s.step(s.lookup), s.step()),
}
RULES = {
    "momentum": lambda p: rt.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: rt.optim.Adam(p, lr=0.1),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("event", EVENTS)
def test_sparse_and_dense_gradients_give_the_same_bits_along_a_random_stream(event, rule):
    for seed in range(3):
        stream = Stream(seed, RULES[rule])
        for _ in range(10):
            EVENTS[event](stream)
            stream.zero("optimizer", True)
        dense, sparse = stream.embeddings
        assert steps(stream.optimizers[0], dense) == steps(stream.optimizers[1], sparse)
        assert dense.block.detach().numpy().tobytes() == sparse.block.detach().numpy().tobytes()
        one, other = stream.plain
        assert torch.equal(one.weight, other.weight)


@either_gradient
def test_a_zero_gradient_beside_a_gradient_from_elsewhere_still_counts(sparse):
    emb = embedding(sparse)
    optimizer = momentum_of(emb)
    ((emb(torch.tensor([4])) * 0).sum() + emb.block[5:].sum()).backward()
    optimizer.step()
    assert steps(optimizer, emb) == [0, 0, 1, 0, 0, 1, 1]
    optimizer.zero_grad()
    (emb(torch.tensor([4])) * 0).sum().backward()
    emb.block[5:].sum().backward()
    optimizer.step()
    assert steps(optimizer, emb) == [0, 0, 2, 0, 0, 2, 2]


@either_gradient
def test_a_gradient_that_was_asked_for_by_itself_touches_nothing(sparse):
    emb = embedding(sparse)
    optimizer = momentum_of(emb)
    torch.autograd.grad(emb(torch.tensor([1, 2])).sum(), emb.block)
    emb(torch.tensor([4])).sum().backward()
    optimizer.step()
    assert steps(optimizer, emb) == [0, 0, 1, 0, 0, 0, 0]


@either_gradient
def test_a_backward_pass_that_failed_touches_nothing(sparse):
    emb = embedding(sparse)
    optimizer = momentum_of(emb)

    def fail(grad):
        raise ValueError("stop")

    hook = emb.block.register_hook(fail)
    with pytest.raises(ValueError, match="stop"):
        emb(torch.tensor([1, 2])).sum().backward()
    hook.remove()
    emb(torch.tensor([4])).sum().backward()
    optimizer.step()
    assert steps(optimizer, emb) == [0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("whole", [False, True])
def test_a_dense_gradient_with_no_record_moves_exactly_its_rows_that_are_not_zero(whole):
    emb = embedding(False) if not whole else rt.Embedding(7, D, dtype=torch.float64)
    optimizer = momentum_of(emb)
    before = emb.block.detach().clone()
    grad = torch.zeros(7, D, dtype=torch.float64)
    grad[2, 1], grad[3, 0], grad[5, 2] = 1.0, -0.0, 5e-324
    emb.block.grad = grad
    optimizer.step()
    assert steps(optimizer, emb) == [0, 0, 1, 0, 0, 1, 0]
    assert (emb.block != before).any(dim=1).tolist() == [False, False, True, *[False] * 4]
    optimizer.zero_grad()
    (emb(torch.tensor([2, 4])) * torch.tensor([[1.0], [0.0]])).sum().backward()
    emb.block.grad = emb.block.grad.clone()  # another tensor, whose lookups nobody knows
    optimizer.step()
    assert sum(steps(optimizer, emb)) == 2 + 1


def test_a_record_lasts_through_what_is_done_to_the_gradient_in_place():
    emb = embedding(False)
    optimizer = momentum_of(emb)
    (emb(torch.tensor([1, 2])) * torch.tensor([[0.0], [8.0]])).sum().backward()
    emb.block.grad.mul_(0.5)
    torch.nn.utils.clip_grad_norm_(emb.parameters(), 1.0)
    torch.nn.utils.clip_grad_value_(emb.parameters(), 0.1)
    optimizer.step()
    assert steps(optimizer, emb) == [1, 1, 0, 0, 0, 0, 0]


@either_gradient
@pytest.mark.parametrize("batches", [[[0, 3], [1, 0]], [[], [2]], [[2, 2], [0]], [[1], [], [1, 2]]])
def test_gradients_accumulate_over_batches_with_few_trainable_ids_or_none(batches, sparse):
    emb = embedding(sparse)
    optimizer = momentum_of(emb)
    before = emb.weight.detach().clone()
    for ids in batches:
        emb(torch.tensor(ids, dtype=torch.int64)).sum().backward()
    optimizer.step()
    counts = np.bincount(np.concatenate(batches).astype(int), minlength=N) * emb.rows.mask
    expected = before - 0.1 * torch.from_numpy(counts)[:, None]
    torch.testing.assert_close(emb.weight.detach(), expected)
    assert steps(optimizer, emb) == (counts[TRAIN] > 0).astype(int).tolist()


def test_the_record_of_a_gradient_that_was_dropped_is_of_no_other_one():
    emb = embedding(False)
    optimizer = momentum_of(emb)
    emb(torch.tensor([1, 2])).sum().backward()
    emb.zero_grad()
    emb.block.grad = torch.zeros_like(emb.block)  # kept in one place, say, and all zero by now
    emb(torch.tensor([4])).sum().backward()
    optimizer.step()
    assert steps(optimizer, emb) == [0, 0, 1, 0, 0, 0, 0]


@either_gradient
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_rows_in_a_bag_of_no_weight_are_looked_up_and_padding_is_not(mode, sparse):
    emb = rt.EmbeddingBag(N, D, train=TRAIN, mode=mode, sparse=sparse, padding_idx=2)
    optimizer = momentum_of(emb)
    bags = emb(torch.tensor([[1, 1, 2], [4, 0, 6]]))
    (bags * torch.tensor([[0.0], [1.0]])).sum().backward()
    optimizer.step()
    assert steps(optimizer, emb) == [1, 1, 1, 0, 0, 0]  # of 1, 4 and 6; 2 does not train


@either_gradient
def test_a_graph_kept_for_a_second_pass_counts_once_in_a_step(sparse):
    emb = embedding(sparse)
    optimizer = momentum_of(emb)
    before = emb.block.detach().clone()
    loss = emb(torch.tensor([2, 2, 3])).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    optimizer.step()
    assert steps(optimizer, emb) == [0, 1, 0, 0, 0, 0, 0]
    torch.testing.assert_close(before[1] - emb.block[1], torch.full((D,), 0.4, dtype=before.dtype))


@pytest.mark.parametrize("make", [rt.optim.Adam, rt.optim.Adagrad])
def test_a_plain_sparse_table_trains_lazily_beside_blocks_and_is_saved_with_them(make):
    table = nn.Embedding(6, 2, sparse=True)
    emb = rt.Embedding(6, 2, train=[1, 3], sparse=True)
    head = nn.Linear(2, 1)
    model = nn.ModuleList([table, emb, head])
    optimizer = make(model.parameters(), lr=0.1, weight_decay=0.1)

    def train(ids, optimizer=optimizer):
        optimizer.zero_grad()
        ids = torch.tensor(ids)
        head(table(ids) + emb(ids)).sum().backward()
        optimizer.step()

    before = table.weight.detach().clone()
    train([1, 1, 2])
    train([2, 0])
    assert (table.weight != before).any(dim=1).tolist() == [True, True, True, *[False] * 3]
    assert optimizer.row_state(table.weight)["step"].tolist() == [1, 1, 2, 0, 0, 0]
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    rows = [p.detach().clone() for p in model.parameters()]
    train([2, 3])
    expected = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        for p, row in zip(model.parameters(), rows, strict=True):
            p.copy_(row)
    again = make(model.parameters(), lr=0.1, weight_decay=0.1)
    again.load_state_dict(torch.load(file, weights_only=True))
    train([2, 3], again)
    assert all(torch.equal(p, e) for p, e in zip(model.parameters(), expected, strict=True))


@pytest.mark.parametrize("order", [(True, False), (False, True)], ids=["sparse first", "dense"])
def test_a_plain_table_whose_gradient_changes_its_form_goes_on_or_says_so(order):
    table = nn.Embedding(6, 2, sparse=True)
    optimizer = rt.optim.Adam(table.parameters(), lr=0.1)
    try:
        for lookup in order:
            optimizer.zero_grad()
            (table(torch.tensor([1, 2])) if lookup else table.weight[1:3]).sum().backward()
            before = table.weight.detach().clone()
            optimizer.step()
    except RuleError as error:
        assert "sparse" in str(error)
        return
    moved = (before - table.weight.detach())[1:3]  # both times with the same gradient
    torch.testing.assert_close(moved, torch.full((2, 2), 0.1), rtol=1e-3, atol=0)
