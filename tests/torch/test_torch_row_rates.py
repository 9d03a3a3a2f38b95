"""lr_scale, max_norm and row-wise clipping in the optimizers of the PyTorch engine."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

import rowtune.torch as rt
from rowtune import Table
from rowtune.errors import RuleError, ShapeError
from rowtune.torch.optim import block_debts

N, D = 9, 4
TRAIN = [1, 2, 5, 7]
SCALE = [1.0, 0.0, 0.5, 1.0]
OPTIMIZERS = {
    "SGD": {"momentum": 0.9},
    "Adagrad": {},
    "RMSprop": {"centered": True},
    "Adadelta": {"lr": 1.0},
    "Adam": {"weight_decay": 0.01},
    "AdamW": {"weight_decay": 0.1},
    "Adamax": {},
    "RowwiseAdagrad": {},
}
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
TIGHT = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2e-2}


def embedding(dtype=torch.float64, sparse=False):
    weights = torch.randn(N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return rt.Embedding.from_pretrained(weights.to(dtype), train=TRAIN, sparse=sparse)


def train(emb, optimizer, steps=8, look=3):
    rng = np.random.default_rng(1)
    for _ in range(steps):
        ids = torch.from_numpy(rng.integers(0, N, look))
        goal = torch.from_numpy(rng.standard_normal((look, D))).to(emb.block.dtype)
        optimizer.zero_grad()
        (emb(ids) - goal).square().sum().backward()
        optimizer.step()


def scaled(name, emb, scale, **more):
    group = {"params": [emb.block], "lr_scale": torch.tensor(scale, dtype=torch.float64)}
    return getattr(rt.optim, name)([group], **{"lr": 0.05, **OPTIMIZERS[name], **more})


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_row_moves_as_under_an_optimizer_of_its_rate(name, dtype, sparse):
    emb = embedding(dtype, sparse)
    before = emb.weight.detach().clone()
    train(emb, scaled(name, emb, SCALE))
    alone = embedding(dtype, sparse)
    halved = scaled(name, alone, [1.0] * 4)
    halved.param_groups[0]["lr"] *= 0.5
    train(alone, halved)
    tight = TIGHT[dtype]
    torch.testing.assert_close(emb.weight[5], alone.weight[5], rtol=tight, atol=tight)
    full = embedding(dtype, sparse)
    train(full, scaled(name, full, [1.0] * 4))
    assert torch.equal(emb.weight[[1, 7]], full.weight[[1, 7]])
    assert torch.equal(emb.weight[2], before[2]) and not torch.equal(emb.weight[1], before[1])
    frozen = [i for i in range(N) if i not in TRAIN]
    assert torch.equal(emb.weight[frozen], before[frozen])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_numpy_engine_agrees(name):
    emb = embedding()
    optimizer = scaled(name, emb, SCALE, max_norm=1.5)
    rule = optimizer.rule_name(emb.block)
    hyper = optimizer.rule_of(optimizer.param_groups[0])[1]
    table = Table(emb.weight.detach().numpy(), TRAIN, rule, lr_scale=SCALE, max_norm=1.5, **hyper)
    rng = np.random.default_rng(1)
    for _ in range(8):
        ids, grads = rng.integers(0, N, 3), rng.standard_normal((3, D))
        table.update(ids, grads)
        optimizer.zero_grad()
        emb(torch.from_numpy(ids)).backward(torch.from_numpy(grads))
        optimizer.step()
    np.testing.assert_allclose(emb.weight.detach(), table.weights, 1e-12, 1e-12)
    assert np.linalg.norm(table.weights, axis=1)[TRAIN].max() > 1.4  # there was something to hold


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rows_catch_up_at_their_own_rates(decay):
    pair = [embedding(), embedding()]
    for emb, catch_up in zip(pair, (True, False), strict=True):
        group = {"params": [emb.block], "lr_scale": torch.tensor(SCALE)}
        optimizer = rt.optim.AdamW([group], lr=0.05, weight_decay=decay, catch_up=catch_up)
        rng = np.random.default_rng(1)
        for t in range(30):
            group = optimizer.param_groups[0]
            group["lr"] = 0.05 / (1 + t)
            if t == 15:
                group["lr_scale"] = torch.tensor([0.2, 1.0, 0.5, 0.0])
            optimizer.zero_grad()
            ids = torch.from_numpy(rng.integers(0, N, t % 3))
            rows = emb(ids if catch_up else torch.cat([ids, torch.arange(N)]))
            rows[: len(ids)].square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(pair[0].weight, pair[1].weight, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sparse", [False, True])
def test_no_touched_row_is_longer_than_max_norm(sparse, dtype):
    emb = embedding(dtype, sparse)
    before = emb.weight.detach().clone()
    before_norms = before.double().norm(dim=1)
    optimizer = rt.optim.SGD(emb.parameters(), lr=1e-9, max_norm=1.0)
    ids = torch.tensor([1, 2, 5, 0])
    emb(ids).sum().backward()
    optimizer.step()
    norms = emb.weight.detach().double().norm(dim=1)
    assert (before_norms[[1, 2, 5]] > 1).any() and before_norms[7] > 1
    for row in (1, 2, 5):
        expected = min(1.0, before_norms[row].item())
        assert norms[row].item() == pytest.approx(expected, rel=max(TIGHT[dtype], 1e-8))
    assert torch.equal(emb.weight[[0, 3, 4, 6, 7, 8]], before[[0, 3, 4, 6, 7, 8]])


def test_dense_parameters_know_nothing_of_rows():
    torch.manual_seed(0)
    linear = torch.nn.Linear(D, 2)
    twin = copy.deepcopy(linear)
    emb = embedding(torch.float32)
    groups = [{"params": [emb.block], "lr_scale": torch.tensor(SCALE), "max_norm": 1.0}]
    ours = rt.optim.Adam([*groups, {"params": linear.parameters()}], lr=0.1)
    theirs = torch.optim.Adam(twin.parameters(), lr=0.1)
    for model, optimizer in ((linear, ours), (twin, theirs)):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(1, D)).square().sum().backward()
            optimizer.step()
    assert all(map(torch.equal, linear.parameters(), twin.parameters()))


def test_a_scale_that_is_changed_in_place_is_heard():
    emb = embedding()
    scale = torch.zeros(4)
    optimizer = rt.optim.SGD([{"params": [emb.block], "lr_scale": scale}], lr=0.1)
    before = emb.block.detach().clone()
    train(emb, optimizer)
    assert torch.equal(emb.block, before)
    scale[0] = 1
    train(emb, optimizer)
    assert torch.equal(emb.block[1:], before[1:]) and not torch.equal(emb.block[0], before[0])


def test_rows_that_are_grown_have_the_full_rate():
    emb = embedding()
    optimizer = rt.optim.SGD([{"params": [emb.block], "lr_scale": torch.zeros(4)}], lr=0.1)
    new = emb.grow(2)
    before = emb.weight.detach().clone()
    emb(torch.tensor([1, *new])).sum().backward()
    optimizer.step()
    assert torch.equal(emb.weight[1], before[1])
    torch.testing.assert_close(emb.weight[new], before[new] - 0.1)


def test_the_scale_is_saved_with_the_groups(tmp_path):
    emb = embedding()
    optimizer = scaled("Adam", emb, SCALE)
    train(emb, optimizer)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    other = copy.deepcopy(emb)
    loaded = rt.optim.Adam([{"params": [other.block]}])
    loaded.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert loaded.param_groups[0]["lr_scale"].tolist() == SCALE
    train(emb, optimizer)
    train(other, loaded)
    assert torch.equal(emb.block, other.block)


@pytest.mark.parametrize(
    ("scale", "error", "words"),
    [
        (torch.ones(5), ShapeError, "for a block of 4 rows"),
        (torch.ones(2, 2), ShapeError, "for a block of 4 rows"),
        (torch.tensor([0.5, 1.5, 1, 1]), RuleError, "holds 1.5; expected numbers from 0"),
        (np.array([1, 1, 1, np.nan]), RuleError, "holds nan"),
    ],
)
def test_what_is_no_scale_is_refused(scale, error, words):
    emb = embedding()
    with pytest.raises(error, match=words):
        rt.optim.Adam([{"params": [emb.block], "lr_scale": scale}])
    optimizer = rt.optim.Adam([emb.block])
    optimizer.param_groups[0]["lr_scale"] = scale
    before = emb.block.detach().clone()
    with pytest.raises(error, match=words):
        train(emb, optimizer, look=20)
    assert torch.equal(emb.block, before)


def test_a_scale_belongs_to_one_block():
    emb, linear = embedding(), torch.nn.Linear(2, 2)
    for params in ([emb.block, *linear.parameters()], [linear.bias]):
        with pytest.raises(RuleError, match="give that block a group of its own"):
            rt.optim.Adam([{"params": params, "lr_scale": torch.ones(2)}])
    with pytest.raises(RuleError, match="max_norm=0; expected a positive"):
        rt.optim.Adam([emb.block], max_norm=0)
    with pytest.raises(RuleError, match="max_norm cannot go with catch_up"):
        rt.optim.Adam([emb.block], max_norm=1.0, catch_up=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sparse", [False, True])
def test_rows_of_gradients_are_clipped_one_by_one(sparse, dtype):
    emb, linear = embedding(dtype, sparse), torch.nn.Linear(D, 3, dtype=dtype)
    ids = torch.tensor([1, 5, 5, 0, 5])
    upstream = torch.tensor([[0.1], [2.0], [2.0], [9.0], [3.0]], dtype=dtype).expand(5, D)
    emb(ids).backward(upstream)
    linear(torch.full((1, D), 3.0, dtype=dtype)).sum().backward()
    rt.clip_grad_row_norms_([emb.block, *linear.parameters()], 1.0)
    rows = emb.block.grad.to_dense().double()
    assert rows[0].norm().item() == pytest.approx(0.2, rel=5e-3)  # shorter than 1: as it was
    assert rows[2].norm().item() == pytest.approx(1.0, rel=5e-3)  # 7 * 2, duplicates summed
    assert rows[[1, 3]].abs().sum() == 0
    torch.testing.assert_close(
        linear.weight.grad.double().norm(dim=1), torch.ones(3).double(), rtol=5e-3, atol=0
    )
    assert linear.bias.grad.double().norm().item() == pytest.approx(1, rel=1e-2)
    assert math.isclose(rows[2, 0].item(), 0.5, rel_tol=5e-3)


def test_clipped_rows_are_still_the_rows_that_were_looked_up():
    emb = embedding()
    optimizer = rt.optim.Adam([emb.block])
    (0 * emb(torch.tensor([7]))).sum().backward()
    emb(torch.tensor([1])).sum().backward()
    rt.clip_grad_row_norms_(emb.block, 0.1)
    optimizer.step()
    assert optimizer.row_state(emb.block)["step"].tolist() == [1, 0, 0, 1]
    with pytest.raises(RuleError, match="max_norm=-1; expected a positive number"):
        rt.clip_grad_row_norms_(emb.block, -1)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("clip", [rt.clip_grad_row_norms_, rt.clip_grad_norm_])
def test_clipping_remembers_rows_whose_gradient_is_zero(clip, sparse):
    emb = embedding(sparse=sparse)
    optimizer = rt.optim.SGD([emb.block], lr=0.1, momentum=0.9)
    (0 * emb(torch.tensor([7]))).sum().backward()
    clip(emb.block, 1.0)
    optimizer.step()
    assert optimizer.row_state(emb.block)["step"].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(torch.float16, 6e4), (torch.bfloat16, 1e25), (torch.float32, 1e20), (torch.float64, 1e200)],
)
def test_norms_whose_squares_no_float_holds(dtype, size):
    parameter = torch.nn.Parameter(torch.zeros(2, 4, dtype=dtype))
    parameter.grad = torch.full((2, 4), size, dtype=dtype)
    rt.clip_grad_row_norms_(parameter, 1.0)
    torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 0.5).detach())
    emb = rt.Embedding.from_pretrained(torch.full((2, 4), size / 4, dtype=dtype))
    optimizer = rt.optim.SGD(emb.parameters(), lr=1e-9, max_norm=1.0)
    emb(torch.tensor([0])).sum().backward()
    optimizer.step()
    torch.testing.assert_close(emb.weight[0].detach(), torch.full((4,), 0.5, dtype=dtype))


def test_other_norms_and_parameters_of_no_dimension():
    matrix, scalar = torch.nn.Parameter(torch.zeros(1, 3)), torch.nn.Parameter(torch.tensor(1.0))
    matrix.grad, scalar.grad = torch.tensor([[3.0, -4.0, 1.0]]), torch.tensor(5.0)
    rt.clip_grad_row_norms_([matrix, scalar], 2.0, norm_type=float("inf"))
    assert matrix.grad.tolist() == [[1.5, -2.0, 0.5]] and scalar.grad.item() == 2.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_max_norm_leaves_rows_of_scale_zero(dtype):
    emb = rt.Embedding.from_pretrained(torch.full((2, 4), 8.0, dtype=dtype))
    group = {"params": list(emb.parameters()), "lr_scale": torch.tensor([0.0, 0.5])}
    optimizer = rt.optim.SGD([group], lr=1e-9, max_norm=1.0)
    emb(torch.tensor([0, 1])).sum().backward()
    optimizer.step()
    assert emb.weight.detach().tolist() == [[8.0] * 4, [0.5] * 4]


@pytest.mark.parametrize("catch_up", [False, True])
@pytest.mark.parametrize(("dtype", "nan"), [(torch.bfloat16, 0x7FC5), (torch.float16, 0x7E55)])
def test_rows_of_scale_zero_keep_every_bit_of_half_precision(dtype, nan, catch_up):
    weights = torch.zeros(2, 3, dtype=dtype)
    weights.view(torch.int16)[0] = torch.tensor([nan, -0x8000, 1], dtype=torch.int16)
    emb = rt.Embedding.from_pretrained(weights)
    group = {"params": list(emb.parameters()), "lr_scale": torch.tensor([0.0, 1.0])}
    optimizer = rt.optim.SGD([group], lr=0.1, momentum=0.9, catch_up=catch_up)
    for ids in ([0, 1], [1], [1]):
        optimizer.zero_grad()
        emb(torch.tensor(ids)).nan_to_num().sum().backward()
        optimizer.step()
    optimizer.flush()
    after = emb.weight.detach()
    assert torch.equal(after[0].view(torch.int16), weights[0].view(torch.int16))
    assert after[1].abs().sum() > 0


def test_copies_pay_at_the_rates_of_their_rows(monkeypatch):
    monkeypatch.setattr(block_debts, "COMPILED", ())
    ends = []
    for catch_up in (True, False):
        emb = embedding()
        group = {"params": [emb.block], "lr_scale": torch.tensor(SCALE)}
        optimizer = rt.optim.SGD([group], lr=0.05, momentum=0.9, catch_up=catch_up)
        for t in range(10):
            optimizer.zero_grad()
            ids = torch.tensor(TRAIN[: 1 + t % 4])
            emb(ids if catch_up else torch.cat([ids, torch.arange(N)]))[: len(ids)].sum().backward()
            optimizer.step()
        ends.append(emb.weight.detach().clone())
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("max_norm", -1.0, RuleError), ("max_norm", "x", RuleError), ("lr_scale", [[1]], ShapeError)],
)
def test_options_are_looked_at_when_they_change(name, value, error):
    emb, linear = embedding(), torch.nn.Linear(D, 1, dtype=torch.float64)
    optimizer = rt.optim.Adam([{"params": [emb.block]}, {"params": linear.parameters()}])
    linear(emb(torch.tensor([1, 5]))).sum().backward()
    optimizer.param_groups[0][name] = value
    before = [p.detach().clone() for p in (emb.block, *linear.parameters())]
    with pytest.raises(error, match=name):
        optimizer.step()
    assert all(map(torch.equal, before, (emb.block, *linear.parameters())))
    optimizer.param_groups[0] |= {name: None, "catch_up": True, "max_norm": 1.0}
    with pytest.raises(RuleError, match="cannot go with catch_up"):
        optimizer.step()


def test_scales_of_fewer_rows_than_there_are():
    emb = embedding()
    with pytest.raises(ShapeError, match="2 numbers for a block of 4 rows"):
        rt.optim.SGD([{"params": [emb.block], "lr_scale": [0.5, 1.0]}])
    with pytest.raises(ShapeError, match="one number for each row"):
        rt.optim.SGD([{"params": [emb.block], "lr_scale": [[1], [1, 2]]}])
