"""Frozen rows keep their bits under every optimizer: shown by hashing bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune.errors import NonFiniteError

OPTIMIZERS = {
    "sgd": lambda p: rt.optim.SGD(p, lr=0.1, weight_decay=0.1),
    "momentum": lambda p: rt.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: rt.optim.SGD(p, 0.1, 0.9, 0, 0.1, True),
    "adagrad": lambda p: rt.optim.Adagrad(p, lr=0.1, weight_decay=0.1),
    "rowwise": lambda p: rt.optim.RowwiseAdagrad(p, lr=0.1, weight_decay=0.1),
    "rmsprop": lambda p: rt.optim.RMSprop(p, lr=0.1, weight_decay=0.1),
    "adam": lambda p: rt.optim.Adam(p, lr=0.1, weight_decay=0.1),
    "adamw": lambda p: rt.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "amsgrad": lambda p: rt.optim.AdamW(p, lr=0.1, amsgrad=True),
    "adadelta": lambda p: rt.optim.Adadelta(p, weight_decay=0.1),
    "lion": lambda p: rt.optim.Lion(p, lr=0.1, weight_decay=0.1),
    "adamax": lambda p: rt.optim.Adamax(p, lr=0.1, weight_decay=0.1),
}
N, D, TRAIN, PADDING = 20, 4, [0, 3, 4, 11, 19], 7
FROZEN = [i for i in range(N) if i not in TRAIN]
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
# -0.0, quiet and signalling NaN with payloads, infinity, a subnormal
ODD = {
    torch.float32: (np.uint32, [0x80000000, 0x7FC00001, 0xFFA12345, 0x7F800000, 0x00000001]),
    torch.bfloat16: (np.uint16, [0x8000, 0x7FC1, 0xFFA2, 0x7F80, 0x0001]),
    torch.float16: (np.uint16, [0x8000, 0x7E01, 0xFD23, 0x7C00, 0x0001]),
    torch.float64: (np.uint64, [1 << 63, 0x7FF8 << 48 | 1, 0xFFF4 << 48 | 5, 0x7FF0 << 48, 1]),
}

every_optimizer = pytest.mark.parametrize("kind", OPTIMIZERS)
either_gradient = pytest.mark.parametrize("sparse", [False, True])


def digest(tensor):
    raw = tensor.detach().contiguous().view(INTEGERS[tensor.element_size()]).numpy()
    return hashlib.sha256(raw.tobytes()).hexdigest()


def odd_weights(dtype=torch.float32, rows=FROZEN):
    """Every frozen row, the padding row among them, holds each of the odd numbers."""
    draw = np.random.default_rng(0)
    weights = torch.from_numpy(draw.standard_normal((N, D))).to(dtype)
    kind, odd = ODD[dtype]
    bits = weights.view(INTEGERS[weights.element_size()]).numpy().view(kind)
    for i in rows:
        bits[i] = draw.permutation(np.array(odd, kind))[:D]
    return weights


def train(emb, optimizer, steps, head=None, seed=1):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ids = torch.randint(len(emb.rows.mask), (3, 4), generator=draw)
        grads = torch.randn(3, 4, emb.embedding_dim, generator=draw)
        optimizer.zero_grad()
        loss = (emb(ids) * grads.to(emb.block.dtype)).sum()
        if head is not None:
            loss = loss + head(grads).sum()
        loss.backward()
        rt.clip_grad_norm_(emb.parameters(), 2.0)
        optimizer.step()


@either_gradient
@every_optimizer
def test_frozen_rows_keep_their_bytes_for_hundreds_of_steps(kind, sparse):
    weights = odd_weights()
    whole, before = digest(weights), digest(weights[FROZEN])
    emb = rt.Embedding.from_pretrained(weights, train=TRAIN, sparse=sparse, padding_idx=PADDING)
    start = emb.block.detach().clone()
    train(emb, OPTIMIZERS[kind](emb.parameters()), 300)
    assert digest(emb(torch.tensor(FROZEN))) == before
    assert digest(emb.weight[FROZEN]) == before
    assert digest(emb.base) == digest(weights) == whole  # its trainable rows are not written either
    assert (emb.block != start).all()
    assert torch.isfinite(emb.block).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["nesterov", "adamw"])
def test_frozen_rows_of_any_float_dtype_keep_their_bytes(kind, dtype):
    weights = odd_weights(dtype)
    for sparse in (False, True):
        emb = rt.Embedding.from_pretrained(weights, train=TRAIN, sparse=sparse, padding_idx=7)
        train(emb, OPTIMIZERS[kind](emb.parameters()), 30)
        for rows in (emb(torch.tensor(FROZEN)), emb.weight[FROZEN], weights[FROZEN]):
            assert digest(rows) == digest(odd_weights(dtype)[FROZEN])
    assert digest(weights) == digest(odd_weights(dtype))


@either_gradient
@every_optimizer
def test_a_padding_row_keeps_its_bytes_where_all_others_train(kind, sparse):
    weights = odd_weights(rows=[PADDING])
    emb = rt.Embedding.from_pretrained(weights, sparse=sparse, padding_idx=PADDING)
    train(emb, OPTIMIZERS[kind](emb.parameters()), 40)
    for row in (emb(torch.tensor(PADDING)), emb.weight[PADDING], weights[PADDING]):
        assert digest(row) == digest(odd_weights(rows=[PADDING])[PADDING])
    assert len(emb.block) == N - 1
    assert emb.rows.ids.tolist() == [i for i in range(N) if i != PADDING]


@either_gradient
def test_frozen_columns_keep_their_bytes_in_rows_that_train(sparse):
    weights = odd_weights()
    weights[TRAIN, 1] = weights[1, 1]  # whatever odd number that is
    emb = rt.Embedding.from_pretrained(weights, train=TRAIN, columns=[0, 3], sparse=sparse)
    start = emb.block.detach().clone()
    train(emb, OPTIMIZERS["adamw"](emb.parameters()), 100)
    everything = torch.arange(N)
    for rows in (emb(everything), emb.weight):
        assert digest(rows[:, 1:3]) == digest(weights[:, 1:3])
        assert digest(rows[FROZEN]) == digest(weights[FROZEN])
    assert (emb.block != start).all()


def digests(emb, optimizer):
    state = optimizer.row_state(emb.block)
    return digest(emb.block), {k: hashlib.sha256(v.numpy()).hexdigest() for k, v in state.items()}


@either_gradient
@every_optimizer
def test_a_batch_of_frozen_ids_leaves_the_first_and_the_last_slot_alone(kind, sparse):
    emb = rt.Embedding.from_pretrained(odd_weights(), train=TRAIN, sparse=sparse, padding_idx=7)
    head = nn.Linear(D, 1)
    optimizer = OPTIMIZERS[kind]([*emb.parameters(), *head.parameters()])
    train(emb, optimizer, 5, head)
    before, dense = digests(emb, optimizer), digest(head.weight)
    for ids in (FROZEN, [1, 1, 2], [], [PADDING]):
        optimizer.zero_grad()
        rows = emb(torch.tensor(ids, dtype=torch.int64))
        (rows.sum() + head(torch.ones(D)).sum()).backward()
        rows.detach()[:] = 0  # what was looked up is a copy
        optimizer.step()
        optimizer.step()
    assert digests(emb, optimizer) == before
    assert digest(head.weight) != dense
    with torch.no_grad():  # trained and looked up without a gradient: no step either
        emb(torch.tensor(TRAIN))
    optimizer.zero_grad()
    optimizer.step()
    assert digests(emb, optimizer) == before


@either_gradient
@every_optimizer
def test_rows_that_are_not_touched_keep_their_bytes_state_and_steps(kind, sparse):
    touched, absent = [2, 3], [0, 1, 4]
    weights = odd_weights(rows=[0, 3, 19])  # three of the trainable rows
    emb = rt.Embedding.from_pretrained(weights, train=TRAIN, sparse=sparse)
    optimizer = OPTIMIZERS[kind](emb.parameters())
    before = digest(emb.block[absent])
    for _ in range(5):
        optimizer.zero_grad()
        emb(torch.tensor([4, 11, 4, 5])).sum().backward()
        optimizer.step()
    assert digest(emb.block[absent]) == before == digest(weights[[0, 3, 19]])
    state = optimizer.row_state(emb.block)
    assert not any(values[absent].any() for values in state.values())
    assert state["step"][touched].tolist() == [5, 5]


class TwoTables(nn.Module):
    def __init__(self, sparse, dtype):
        super().__init__()
        torch.manual_seed(2)
        self.first = rt.Embedding(6, 2, train=[1, 2], sparse=sparse, dtype=dtype)
        self.second = rt.Embedding(6, 2, train=[1, 5], sparse=sparse, dtype=dtype)
        self.head = nn.Linear(2, 1).to(dtype)

    def step(self, optimizer, ids, scale):
        optimizer.zero_grad()
        ids = torch.tensor(ids)
        rows = self.second(ids) * torch.tensor(scale, dtype=self.second.block.dtype)[:, None]
        (self.head(self.first(ids)).sum() + rows.sum()).backward()
        optimizer.step()

    def everything(self, optimizer):
        """Weights and states, by their bits and as text."""
        states = [optimizer.row_state(emb.block) for emb in (self.first, self.second)]
        states += [optimizer.state.get(p, {}) for p in self.head.parameters()]
        return [digest(p) for p in self.parameters()], str([sorted(s.items()) for s in states])


INF = float("inf")
BAD = [([1, 5], [1.0, INF]), ([2, 5], [0.0, -INF]), ([1, 5, 0], [1.0, float("nan"), 1.0])]


@either_gradient
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["momentum", "adam", "adagrad"])
def test_a_gradient_with_nan_or_infinity_changes_nothing_in_the_whole_model(kind, dtype, sparse):
    model, twin = TwoTables(sparse, dtype), TwoTables(sparse, dtype)
    optimizer, other = (OPTIMIZERS[kind](m.parameters()) for m in (model, twin))
    for ids, scale in BAD:  # before the first good step, and between others
        before = model.everything(optimizer)
        with pytest.raises(NonFiniteError, match="nothing was changed"):
            model.step(optimizer, ids, scale)
        assert model.everything(optimizer) == before
        for m, o in ((model, optimizer), (twin, other)):
            m.step(o, [1, 5, 5], [1.0, 2.0, 3.0])
        assert model.everything(optimizer) == twin.everything(other) != before


@either_gradient
def test_a_sum_over_duplicates_that_overflows_is_refused_like_infinity(sparse):
    emb = rt.Embedding(6, 2, train=[1, 5], sparse=sparse)
    optimizer = OPTIMIZERS["sgd"](emb.parameters())
    before = digest(emb.block)
    (emb(torch.tensor([5, 1, 5])) * 3e38).sum().backward()
    with pytest.raises(NonFiniteError):
        optimizer.step()
    assert digest(emb.block) == before


@either_gradient
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_check_finite_false_lets_it_through_to_the_touched_row_alone(dtype, sparse):
    model = TwoTables(sparse, dtype)
    groups = [{"params": model.first.parameters()},
              {"params": model.second.parameters(), "check_finite": False}]  # fmt: skip
    for options in ({"params": model.parameters(), "check_finite": False}, {"params": groups}):
        optimizer = rt.optim.SGD(lr=0.1, **options)
        with torch.no_grad():
            model.second.block[:] = 1
        model.step(optimizer, [1, 5], [1.0, float("nan")])
        assert torch.isnan(model.second.block).any(dim=1).tolist() == [False, True]
        assert torch.isfinite(model.first.block).all()


@either_gradient
def test_nan_in_the_gradient_of_a_frozen_row_is_no_concern_of_a_step(sparse):
    emb = rt.Embedding(6, 2, train=[1, 5], sparse=sparse)
    optimizer = OPTIMIZERS["adam"](emb.parameters())
    (emb(torch.tensor([0, 1])) * torch.tensor([[float("nan")], [1.0]])).sum().backward()
    optimizer.step()
    assert optimizer.row_state(emb.block)["step"].tolist() == [1, 0]
    assert torch.isfinite(emb.block).all()
