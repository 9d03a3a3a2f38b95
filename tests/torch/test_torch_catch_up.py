"""catch_up=True: rows that were absent end where torch's own dense optimizer would put them."""

from __future__ import annotations

import copy
import gc
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune.errors import RuleError
from rowtune.torch.optim import block_debts, row_step

N, D = 30, 4
TRAIN = list(range(1, N, 2))
OPTIMIZERS = {
    "SGD": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "plain SGD": (torch.optim.SGD, {"weight_decay": 0.1}),
    "Adagrad": (torch.optim.Adagrad, {"lr_decay": 0.01}),
    "RMSprop": (torch.optim.RMSprop, {}),
    "RMSprop, all of it": (torch.optim.RMSprop, {"momentum": 0.8, "centered": True, "eps": 1e-3}),
    "Adadelta": (torch.optim.Adadelta, {}),
    "Adam": (torch.optim.Adam, {}),
    "Adam, L2": (torch.optim.Adam, {"weight_decay": 0.01}),
    "AdamW": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "AMSGrad": (torch.optim.Adam, {"amsgrad": True}),
    "Adamax": (torch.optim.Adamax, {}),
    "Lion": (rt.optim.Lion.torch_class, {"weight_decay": 0.1}),
}


class Model(nn.Module):
    def __init__(self, table):
        super().__init__()
        torch.manual_seed(1)
        self.table, self.linear = table, nn.Linear(D, 3, dtype=torch.float64)

    def forward(self, ids):
        return self.linear(self.table(ids))


def pair(name, sparse=False, kind=None, **more):
    """A model of ours with catch-up, and a plain one under torch's optimizer."""
    kind = kind or OPTIMIZERS[name]
    weights = torch.randn(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = Model(rt.Embedding.from_pretrained(weights.clone(), train=TRAIN, sparse=sparse))
    plain = Model(nn.Embedding(N, D, _weight=weights.clone()))
    options = {"lr": 0.02, **kind[1], **more}
    mine = getattr(rt.optim, kind[0].__name__)(ours.parameters(), catch_up=True, **options)
    return ours, mine, plain, kind[0](plain.parameters(), **options)


def batches(count, seed=0):
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, N + 1)
    for _ in range(count):
        ids = rng.choice(N, size=rng.integers(0, 5), p=chance / chance.sum())
        yield torch.from_numpy(ids)


def train(model, optimizer, steps, seed=0, schedule=True):
    rows = model.table.num_embeddings
    frozen = [i for i in range(rows) if i not in TRAIN and i < N]
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80) if schedule else None
    kept = None
    if isinstance(model.table, nn.Embedding) and not isinstance(model.table, rt.Embedding):
        kept = model.table.weight.detach()[frozen].clone()
    for ids in batches(steps, seed):
        optimizer.zero_grad(set_to_none=False)
        (model(ids).square().sum() + model.linear.weight.sum()).backward()
        optimizer.step()
        if kept is not None:
            with torch.no_grad():  # a dense optimizer decays these too
                model.table.weight[frozen] = kept
        if rates is not None:
            rates.step()


def close(one, other, atol=1e-12):
    assert one.shape == other.shape
    assert float((one.detach() - other.detach()).abs().max()) <= atol


def agree(ours, plain, atol=1e-12):
    close(ours.table.weight[:N], plain.table.weight, atol)
    close(ours.linear.weight, plain.linear.weight, atol)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_catch_up_equals_torchs_dense_optimizer(name, sparse):
    ours, mine, plain, theirs = pair(name, sparse)
    train(ours, mine, 60)
    train(plain, theirs, 60)
    agree(ours, plain)
    frozen = [i for i in range(N) if i not in TRAIN]
    assert torch.equal(ours.table.weight[frozen], plain.table.weight[frozen])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_rows_keep_their_bytes(name):
    kind, options = OPTIMIZERS[name]
    weights = torch.randn(N, D)
    weights[::2, 0] = -0.0
    weights.view(torch.int32)[2, 1] = 0x7FC12345  # NaN with a payload
    before = weights.view(torch.int32).clone()
    table = rt.Embedding.from_pretrained(weights, train=TRAIN)
    optimizer = getattr(rt.optim, kind.__name__)(table.parameters(), catch_up=True, **options)
    for ids in batches(20):
        optimizer.zero_grad()
        table(ids).nan_to_num().square().sum().backward()
        optimizer.step()
    optimizer.flush()
    frozen = [i for i in range(N) if i not in TRAIN]
    assert torch.equal(table.base.view(torch.int32), before)
    assert torch.equal(table(torch.tensor(frozen)).view(torch.int32), before[frozen])


def test_without_catch_up_absent_rows_wait():
    ours, _, plain, theirs = pair("Adam")
    lazy = rt.optim.Adam(ours.parameters(), lr=0.02)
    train(ours, lazy, 60)
    train(plain, theirs, 60)
    assert not torch.allclose(ours.table.weight, plain.table.weight, atol=1e-3)


READERS = {
    "eval": lambda model, _: model.eval().table.block,
    "state_dict": lambda model, _: model.state_dict()["table.block"],
    "optimizer.state_dict": lambda model, optimizer: [optimizer.state_dict(), model.table.block][1],
    "merge": lambda model, _: model.table.merge().weight[TRAIN],
    "weight": lambda model, _: model.table.weight[TRAIN],
    "flush": lambda model, optimizer: [optimizer.flush(), model.table.block][1],
    "deepcopy": lambda model, _: copy.deepcopy(model).table.block,
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)).table.block,
    "subset": lambda model, _: rt.subset(model.table, torch.tensor(TRAIN)).values,
    "lookup": lambda model, _: model.table(torch.tensor(TRAIN)),
    "double": lambda model, _: model.double().table.block,
}


@pytest.mark.parametrize("how", READERS)
def test_nobody_reads_a_stale_row(how):
    ours, mine, plain, theirs = pair("AdamW")
    train(ours, mine, 40)
    train(plain, theirs, 40)
    assert not torch.allclose(ours.table.block, plain.table.weight[TRAIN], atol=1e-9)
    rows = READERS[how](ours, mine)
    close(rows, plain.table.weight[TRAIN])
    train(ours, mine, 20, seed=1, schedule=False)
    train(plain, theirs, 20, seed=1, schedule=False)
    agree(ours, plain)


def test_a_graph_that_saved_the_block_hears_of_a_payment():
    ours, mine, _, _ = pair("AdamW")
    train(ours, mine, 40)
    before = ours.table.block.square().sum()
    ours.eval()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        before.backward()
    again = ours.table.block.square().sum()
    ours.table(torch.tensor(TRAIN))  # nothing is owed any more, and nothing is written
    again.backward()


def test_patches_hold_rows_that_owe_nothing(tmp_path):
    ours, mine, plain, theirs = pair("Adam")
    train(ours, mine, 40)
    train(plain, theirs, 40)
    rt.save_patch(ours, tmp_path / "p.safetensors", optimizer=mine)
    other, opt, _, _ = pair("Adam")
    rt.load_patch(other, tmp_path / "p.safetensors", optimizer=opt)
    other.linear.load_state_dict(ours.linear.state_dict())
    close(other.table.weight, plain.table.weight)


def test_a_checkpoint_in_the_middle_changes_nothing():
    ours, mine, plain, theirs = pair("Adam")
    train(ours, mine, 40, schedule=False)
    other, opt, _, _ = pair("Adam")
    other.load_state_dict(ours.state_dict())
    opt.load_state_dict(mine.state_dict())
    train(other, opt, 40, seed=1, schedule=False)
    for seed in (0, 1):
        train(plain, theirs, 40, seed=seed, schedule=False)
    agree(other, plain)


def test_copies_of_model_and_optimizer_go_on_by_themselves():
    ours, mine, plain, theirs = pair("AdamW")
    train(ours, mine, 40, schedule=False)
    other, opt = copy.deepcopy((ours, mine))
    train(ours, mine, 7, seed=5, schedule=False)
    train(other, opt, 40, seed=1, schedule=False)
    for seed in (0, 1):
        train(plain, theirs, 40, seed=seed, schedule=False)
    agree(other, plain)


def test_options_may_change_between_steps():
    ours, mine, plain, theirs = pair("AdamW")
    changes = [{"weight_decay": 0.3}, {"betas": (0.8, 0.99)}, {"eps": 1e-4}, {"lr": 0.001}, {}]
    for seed, change in enumerate(changes):
        train(ours, mine, 15, seed, schedule=False)
        train(plain, theirs, 15, seed, schedule=False)
        for optimizer in (mine, theirs):
            for group in optimizer.param_groups:
                group.update(change)
    agree(ours, plain)


def test_rows_that_are_added_owe_nothing_for_the_time_before():
    ours, mine, plain, theirs = pair("AdamW")
    train(ours, mine, 20, schedule=False)
    train(plain, theirs, 20, schedule=False)
    ours.table.grow(torch.ones(2, D, dtype=torch.float64))
    close(ours.table.weight[N:], torch.ones(2, D, dtype=torch.float64))
    ours(torch.tensor([1, N]))
    train(ours, mine, 20, 1, schedule=False)
    train(plain, theirs, 20, 1, schedule=False)
    agree(ours, plain)
    shrunk = (1 - 0.02 * 0.1) ** 20
    expected = torch.full((2, D), shrunk, dtype=torch.float64)
    close(ours.table.weight[N:].detach(), expected)


def test_bags_pay_too():
    weights = torch.randn(N, D, dtype=torch.float64)
    ours = rt.EmbeddingBag.from_pretrained(weights.clone(), mode="sum", sparse=True)
    plain = nn.EmbeddingBag(N, D, mode="sum", _weight=weights.clone())
    mine = rt.optim.Adam(ours.parameters(), lr=0.1, catch_up=True)
    theirs = torch.optim.Adam(plain.parameters(), lr=0.1)
    rng = torch.Generator().manual_seed(3)
    for _ in range(30):
        ids = torch.randint(0, N, (2, 2), generator=rng)
        for table, optimizer in ((ours, mine), (plain, theirs)):
            optimizer.zero_grad(set_to_none=False)
            table(ids).square().sum().backward()
            optimizer.step()
    close(ours.weight, plain.weight)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_that_no_kernel_reaches_are_paid_by_copies(name, monkeypatch):
    """As on another device; float64, so that what is compared is not rounding."""
    monkeypatch.setattr(block_debts, "COMPILED", ())
    monkeypatch.setattr(row_step, "COMPILED", ())
    ours, mine, plain, theirs = pair(name)
    train(ours, mine, 40)
    train(plain, theirs, 40)
    agree(ours, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_half_precision_catches_up_with_state_in_float32(name, dtype):
    """Closer to the dense run in float64 than a few roundings of each step would leave it."""
    kind, options = OPTIMIZERS[name]
    weights = torch.randn(N, D, generator=torch.Generator().manual_seed(0)).to(dtype)
    lr = {"Adagrad": 0.3, "Adadelta": 30.0}.get(name, 0.02)  # beside which a rounding is small
    rows = {}
    for catch_up, wide in ((True, dtype), (False, torch.float64)):
        table = rt.Embedding.from_pretrained(weights.to(wide), train=TRAIN, sparse=True)
        optimizer = getattr(rt.optim, kind.__name__)(
            table.parameters(), lr=lr, catch_up=catch_up, **options
        )
        for ids in batches(40):
            looked_up = ids if catch_up else torch.cat([ids, torch.arange(N)])
            optimizer.zero_grad()
            table(looked_up)[: len(ids)].sum().backward()
            optimizer.step()
        rows[catch_up] = table.weight.detach().double()
        if catch_up:
            kept = optimizer.row_state(table.block)
            assert all(array.dtype == torch.float32 for n, array in kept.items() if n != "step")
            assert (kept["step"] == 40).all()
    way = (rows[False] - weights.double()).norm()
    rounding = torch.finfo(dtype).eps * weights.double().norm()
    assert (rows[True] - rows[False]).norm() < 4 * rounding and way > 4 * rounding


def test_what_cannot_catch_up_is_refused_before_anything_moves():
    plain = nn.Embedding(N, D, sparse=True)
    before = plain.weight.detach().clone()
    optimizer = rt.optim.Adam(plain.parameters(), catch_up=True)
    plain(torch.tensor([1])).sum().backward()
    with pytest.raises(RuleError, match=r"rowtune\.torch\.Embedding"):
        optimizer.step()
    assert torch.equal(plain.weight, before)
    ours, mine, _, _ = pair("Adam")
    train(ours, mine, 3)
    with pytest.raises(Exception, match="cannot be compiled"):
        torch.compile(ours, backend="aot_eager", fullgraph=True)(torch.tensor([1]))


def test_what_is_owed_outlives_its_optimizer():
    ours, mine, plain, theirs = pair("Adam")
    for model, optimizer in ((ours, mine), (plain, theirs)):
        train(model, optimizer, 20)
    del mine, optimizer
    gc.collect()
    agree(ours, plain)


@pytest.mark.parametrize("catch_up", [False, True])
def test_another_optimizer_takes_over_rows_that_owe_nothing(catch_up):
    ours, mine, plain, theirs = pair("SGD")
    for model, optimizer in ((ours, mine), (plain, theirs)):
        train(model, optimizer, 20)
    del mine, optimizer
    second = rt.optim.SGD(ours.parameters(), lr=0.0, catch_up=catch_up)
    train(ours, second, 1)
    owner = ours.table.block.payer
    assert owner is None if not catch_up else owner.__self__ is second
    agree(ours, plain)


def test_blocks_of_two_dtypes_in_one_group():
    weights = torch.randn(6, D, dtype=torch.float64)
    both = [rt.Embedding.from_pretrained(w) for w in (weights.clone(), weights.float())]
    plain = nn.Embedding(6, D, _weight=weights.clone())
    mine = rt.optim.SGD([p for table in both for p in table.parameters()], 0.1, 0.9, catch_up=True)
    theirs = torch.optim.SGD(plain.parameters(), 0.1, 0.9)
    for t in range(12):
        if t == 6:
            mine.load_state_dict(mine.state_dict())
        if t == 9:
            for group in mine.param_groups + theirs.param_groups:
                group["weight_decay"] = 0.1
        ids = torch.tensor([0, 1, 2] if t < 6 else [0])
        for tables, optimizer in ((both, mine), ([plain], theirs)):
            optimizer.zero_grad(set_to_none=False)
            sum(table(ids).double().sum() for table in tables).backward()
            optimizer.step()
    close(both[0].weight, plain.weight)
    close(both[1].weight, plain.weight, 1e-5)


def test_two_optimizers_take_turns():
    """The lazy one takes over rows that owe nothing; the other goes on from there."""
    ours, mine, plain, theirs = pair("SGD")
    nothing = rt.optim.SGD(ours.parameters(), lr=0.0)
    for turn in range(4):
        train(ours, mine, 10, seed=turn, schedule=False)
        train(plain, theirs, 10, seed=turn, schedule=False)
        if turn < 3:
            train(ours, nothing, 1, schedule=False)
    agree(ours, plain)


def test_a_look_in_inference_mode_leaves_the_optimizer_sound():
    ours, mine, plain, theirs = pair("Adam")
    train(ours, mine, 10)
    train(plain, theirs, 10)
    ours.table.grow(2)
    with torch.inference_mode():
        ours.table(torch.arange(N))
    train(ours, mine, 10, seed=1)
    train(plain, theirs, 10, seed=1)
    agree(ours, plain)


def test_threads_that_look_the_same_rows_up_pay_once():
    ours, mine, plain, theirs = pair("SGD")
    train(ours, mine, 40)
    train(plain, theirs, 40)
    threads = [threading.Thread(target=ours.table, args=(torch.arange(N),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    agree(ours, plain)


def test_catch_up_that_is_switched_off_leaves_the_clock_right():
    table = rt.Embedding(2, D, dtype=torch.float64)
    optimizer = rt.optim.Adam(table.parameters(), lr=0.01)
    plain = torch.optim.Adam([table.weight.detach().clone().requires_grad_()], lr=0.01)
    for t in range(400):
        optimizer.param_groups[0]["catch_up"] = 3 <= t < 390
        if t == 390:
            for each in (optimizer, plain):
                each.param_groups[0]["betas"] = (0.8, 0.99)
        optimizer.zero_grad()
        table(torch.tensor([0, 1])).square().sum().backward()
        plain.param_groups[0]["params"][0].grad = table.weight.grad.clone()
        optimizer.step()
        plain.step()
    close(table.weight, plain.param_groups[0]["params"][0])


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lion_moves_dense_parameters_by_its_formula(decay, maximize):
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    optimizer = rt.optim.Lion([parameter], lr=0.01, weight_decay=decay, maximize=maximize)
    x, m = parameter.detach().clone(), torch.zeros(3, dtype=torch.float64)
    for t in range(5):
        parameter.grad = torch.tensor([1.0, -1.0, (-1.0) ** t], dtype=torch.float64)
        grad = -parameter.grad if maximize else parameter.grad
        x = x * (1 - 0.01 * decay) - 0.01 * torch.sign(0.9 * m + 0.1 * grad)
        m = 0.99 * m + 0.01 * grad
        optimizer.step()
    close(parameter, x)
    with pytest.raises(ValueError, match="lr=-1"):
        rt.optim.Lion([parameter], lr=-1)
