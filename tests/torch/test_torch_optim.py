"""`rowtune.torch.optim` against the naive judge, and against torch where every row is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from judge import Judge
from torch import nn
from torch.optim import lr_scheduler

import rowtune.torch as rt
from rowtune import rules

# rule of the judge: (class, arguments)
KINDS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "adagrad": ("Adagrad", {"lr": 0.1, "lr_decay": 0.3, "initial_accumulator_value": 0.2}),
    "rowwise_adagrad": ("RowwiseAdagrad", {"lr": 0.1, "lr_decay": 0.3, "eps": 1e-3}),
    "rmsprop": ("RMSprop", {"lr": 0.05, "alpha": 0.9}),
    "rmsprop_momentum": ("RMSprop", {"lr": 0.05, "alpha": 0.9, "momentum": 0.5}),
    "centered_rmsprop": ("RMSprop", {"lr": 0.05, "alpha": 0.9, "eps": 1e-2, "centered": True}),
    "adadelta": ("Adadelta", {"rho": 0.8}),
    "adam": ("Adam", {"lr": 0.1, "betas": (0.8, 0.95)}),
    "rowwise_adam": ("RowwiseAdam", {"lr": 0.1, "betas": (0.8, 0.95)}),
    "adamw": ("AdamW", {"lr": 0.1, "eps": 1e-6}),
    "amsgrad": ("Adam", {"lr": 0.1, "amsgrad": True}),
    "adamax": ("Adamax", {"lr": 0.1, "betas": (0.8, 0.95)}),
    "centered_rmsprop_momentum": ("RMSprop", {"centered": True, "momentum": 0.5, "eps": 1e-2}),
    "lion": ("Lion", {"lr": 0.01, "betas": (0.8, 0.9)}),
}
DTYPES = [torch.float32, torch.float64]
CLOSE = {torch.float32: {"rtol": 2e-5, "atol": 2e-5}, torch.float64: {"rtol": 1e-10, "atol": 1e-12}}
TRAIN = [0, 2, 3, 7, 9]

every_kind = pytest.mark.parametrize("kind", KINDS)
torchs_kinds = pytest.mark.parametrize(
    "kind", [k for k in KINDS if k not in ("rowwise_adagrad", "rowwise_adam", "lion")]
)
either_gradient = pytest.mark.parametrize("sparse", [False, True])


def optimizer_of(kind, params, module=rt.optim, **more):
    name, arguments = KINDS[kind]
    return getattr(module, name)(params, **{**arguments, **more})


def hyper_of(kind, decay):
    """What the judge is told: the arguments, over the defaults of torch's own class."""
    name, arguments = KINDS[kind]
    torch_class = getattr(rt.optim, name).torch_class
    hyper = {**torch_class([torch.zeros(1)]).defaults, **arguments, "weight_decay": decay}
    hyper["decoupled"] = name in ("AdamW", "Lion")
    if "betas" in hyper:
        hyper["beta1"], hyper["beta2"] = hyper["betas"]
    return hyper


def whole_numbers(generator, *shape):
    return torch.randint(-3, 4, shape, generator=generator).double()


def test_every_rule_has_an_optimizer():
    assert set(KINDS) == set(rules.names())


@either_gradient
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", [0.0, 0.2])
@every_kind
def test_touched_rows_move_as_the_judge_says(kind, decay, dtype, sparse):
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(10, 3, generator=draw, dtype=dtype)
    emb = rt.Embedding.from_pretrained(weights, train=TRAIN, sparse=sparse)
    optimizer = optimizer_of(kind, emb.parameters(), weight_decay=decay)
    judge = Judge(weights.tolist(), TRAIN, kind, hyper_of(kind, decay))
    for shape in [(4,), (2, 3), (), (0,), (5,), (9,), (1, 2, 2), (3,)]:
        ids = torch.randint(10, shape, generator=draw)
        grads = torch.randn(*shape, 3, generator=draw, dtype=dtype)
        optimizer.zero_grad()
        (emb(ids) * grads).sum().backward()
        optimizer.step()
        judge.update(ids.numpy(), grads.numpy())
    np.testing.assert_allclose(emb.weight.detach(), judge.matrix(), **CLOSE[dtype])
    state = optimizer.row_state(emb.block)
    assert state.pop("step").tolist() == [judge.steps[i] for i in TRAIN]
    assert all(values.dtype == dtype for values in state.values())


@either_gradient
@pytest.mark.parametrize(("dtype", "ulp"), [(torch.float16, 2**-10), (torch.bfloat16, 2**-7)])
@every_kind
def test_a_half_precision_block_moves_by_a_float32_state(kind, dtype, ulp, sparse):
    draw = torch.Generator().manual_seed(1)
    weights = torch.randn(10, 3, generator=draw).to(dtype)
    emb = rt.Embedding.from_pretrained(weights, train=TRAIN, sparse=sparse)
    optimizer = optimizer_of(kind, emb.parameters(), weight_decay=0.2)
    judge = Judge(weights.tolist(), TRAIN, kind, hyper_of(kind, 0.2))
    for _ in range(8):
        ids = torch.randint(10, (7,), generator=draw)
        grads = whole_numbers(draw, 7, 3)
        optimizer.zero_grad()
        (emb(ids) * grads.to(dtype)).sum().backward()
        optimizer.step()
        judge.update(ids.numpy(), grads.numpy())
        rounded = emb.weight.detach().double()
        np.testing.assert_allclose(rounded, judge.matrix(), rtol=0.51 * ulp, atol=1e-5)
        judge.rows = rounded.tolist()  # only the row is rounded at every step, never the state
    state = optimizer.row_state(emb.block)
    assert state.pop("step").dtype == torch.int32
    assert all(values.dtype == torch.float32 for values in state.values())


def train_both(ours, plain, emb, table, steps, after=lambda optimizer: None):
    """The same gradients for two tables, every row in every step; some rows come twice."""
    rows, width = table.weight.shape
    ids = torch.arange(rows).repeat(2)[:-3]
    draw = torch.Generator().manual_seed(2)
    target = torch.randn(len(ids), width, generator=draw, dtype=table.weight.dtype)
    for _ in range(steps):
        for optimizer, module in ((ours, emb), (plain, table)):
            optimizer.zero_grad()
            ((module(ids) - target) ** 2).sum().backward()
            optimizer.step()
            after(optimizer)


@either_gradient
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("decay", "maximize"), [(0.0, False), (0.2, False), (0.2, True)])
@torchs_kinds
def test_rows_touched_in_every_step_move_as_torch_moves_them(kind, decay, maximize, dtype, sparse):
    weights = torch.randn(6, 3, generator=torch.Generator().manual_seed(3), dtype=dtype)
    emb = rt.Embedding.from_pretrained(weights, sparse=sparse)
    table = nn.Embedding.from_pretrained(weights.clone(), freeze=False)
    more = {"weight_decay": decay, "maximize": maximize}
    ours = optimizer_of(kind, emb.parameters(), **more)
    plain = optimizer_of(kind, table.parameters(), torch.optim, **more)
    train_both(ours, plain, emb, table, 5 if maximize else 25)
    assert not torch.equal(emb.weight.detach(), weights)
    close = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}}.get(dtype, CLOSE[dtype])
    torch.testing.assert_close(emb.weight.detach(), table.weight.detach(), **close)


def test_rowwise_adagrad_on_rows_of_one_column_is_adagrad():
    weights = torch.randn(6, 1, dtype=torch.float64)
    emb = rt.Embedding.from_pretrained(weights)
    table = nn.Embedding.from_pretrained(weights.clone(), freeze=False)
    ours = rt.optim.RowwiseAdagrad(emb.parameters(), lr=0.1, weight_decay=0.2)
    plain = torch.optim.Adagrad(table.parameters(), lr=0.1, weight_decay=0.2)
    train_both(ours, plain, emb, table, 10)
    torch.testing.assert_close(emb.weight.detach(), table.weight.detach(), **CLOSE[torch.float64])


def test_rowwise_adam_on_rows_of_one_column_is_adam():
    weights = torch.randn(6, 1, dtype=torch.float64)
    emb = rt.Embedding.from_pretrained(weights)
    table = nn.Embedding.from_pretrained(weights.clone(), freeze=False)
    ours = rt.optim.RowwiseAdam(emb.parameters(), lr=0.1, weight_decay=0.2)
    plain = torch.optim.Adam(table.parameters(), lr=0.1, weight_decay=0.2)
    train_both(ours, plain, emb, table, 10)
    torch.testing.assert_close(emb.weight.detach(), table.weight.detach(), **CLOSE[torch.float64])
    with pytest.raises(rules.RuleError, match="amsgrad"):
        rt.optim.RowwiseAdam(emb.parameters(), amsgrad=True)


SCHEDULES = {
    "step": lambda o: lr_scheduler.StepLR(o, 3, 0.5),
    "cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=12, base_momentum=0.6),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "cosine to zero": lambda o: lr_scheduler.CosineAnnealingLR(o, 12),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", ["momentum", "adagrad", "adam", "adamw"])
def test_schedules_of_learning_rate_and_momentum_work_as_with_torch(kind, schedule):
    if kind == "adagrad" and schedule == "cycle":
        schedule = "lambda"  # it has no momentum to cycle
    weights = torch.randn(6, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    emb = rt.Embedding.from_pretrained(weights)
    table = nn.Embedding.from_pretrained(weights.clone(), freeze=False)
    ours = optimizer_of(kind, emb.parameters(), weight_decay=0.1)
    plain = optimizer_of(kind, table.parameters(), torch.optim, weight_decay=0.1)
    schedules = {o: SCHEDULES[schedule](o) for o in (ours, plain)}
    train_both(ours, plain, emb, table, 12, lambda optimizer: schedules[optimizer].step())
    torch.testing.assert_close(emb.weight.detach(), table.weight.detach(), **CLOSE[torch.float64])
    for name in ("lr", "momentum", "betas"):
        assert ours.param_groups[0].get(name) == plain.param_groups[0].get(name)


def test_a_tensor_serves_as_learning_rate_and_follows_a_schedule():
    weights = torch.randn(6, 3, dtype=torch.float64)
    emb = rt.Embedding.from_pretrained(weights)
    table = nn.Embedding.from_pretrained(weights.clone(), freeze=False)
    ours, plain = (
        module.Adam(x.parameters(), lr=torch.tensor(0.1, dtype=torch.float64))
        for module, x in ((rt.optim, emb), (torch.optim, table))
    )
    schedules = {o: lr_scheduler.LambdaLR(o, lambda step: 0.8**step) for o in (ours, plain)}
    train_both(ours, plain, emb, table, 10, lambda optimizer: schedules[optimizer].step())
    assert isinstance(ours.param_groups[0]["lr"], torch.Tensor)
    torch.testing.assert_close(emb.weight.detach(), table.weight.detach(), **CLOSE[torch.float64])


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_learning_rate_that_decays_to_nothing_ends_no_run(kind):
    emb = rt.Embedding(4, 3, train=[1, 2])
    optimizer = optimizer_of(kind, emb.parameters(), weight_decay=0.1)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.1)
    for _ in range(50):  # 1e-51 is 0 in float32
        optimizer.zero_grad()
        emb(torch.tensor([1, 2])).sum().backward()
        optimizer.step()
        schedule.step()
    assert torch.isfinite(emb.block).all()


def test_momentum_may_begin_at_zero_and_be_raised_later():
    weights = torch.randn(6, 3, dtype=torch.float64)
    emb = rt.Embedding.from_pretrained(weights)
    table = nn.Embedding.from_pretrained(weights.clone(), freeze=False)
    ours, plain = (
        module.SGD(x.parameters(), lr=0.01) for module, x in ((rt.optim, emb), (torch.optim, table))
    )
    steps = dict.fromkeys((ours, plain), 0)

    def raise_momentum(optimizer):
        steps[optimizer] += 1
        optimizer.param_groups[0]["momentum"] = 0.3 * (steps[optimizer] // 2)

    train_both(ours, plain, emb, table, 6, raise_momentum)
    torch.testing.assert_close(emb.weight.detach(), table.weight.detach(), **CLOSE[torch.float64])


@pytest.mark.parametrize(("module", "first"), [(rt.optim, 1.0), (torch.optim, 3.1516)])
def test_the_first_step_of_a_row_is_one_learning_rate_however_late_it_comes(module, first):
    late = 5000
    if module is rt.optim:
        emb = rt.Embedding(3, 2, train=[0, 1], sparse=True, dtype=torch.float64)
        optimizer, rows = rt.optim.Adam(emb.parameters(), lr=0.01), emb.block
    else:
        emb = nn.Embedding(3, 2, sparse=True, dtype=torch.float64)
        optimizer, rows = torch.optim.SparseAdam(emb.parameters(), lr=0.01), emb.weight
    emb(torch.tensor([0])).sum().backward()
    for _ in range(late - 1):
        optimizer.step()
    optimizer.zero_grad()
    before = rows.detach().clone()
    emb(torch.tensor([1])).sum().backward()
    optimizer.step()
    moved = (before - rows.detach())[1]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01 * first), rtol=1e-4, atol=0)


def test_a_plain_optimizer_moves_the_block_too_but_also_the_absent_rows():
    emb = rt.Embedding(6, 2, train=[1, 2, 4])
    lazy = rt.Embedding.from_pretrained(emb.weight.detach().clone(), train=[1, 2, 4])
    plain = torch.optim.Adam(emb.parameters(), lr=0.1)
    ours = rt.optim.Adam(lazy.parameters(), lr=0.1)
    for ids in ([1, 2], [2, 4], [4]):
        for optimizer, module in ((plain, emb), (ours, lazy)):
            optimizer.zero_grad()
            module(torch.tensor(ids)).sum().backward()
            before = module.block.detach().clone()
            optimizer.step()
    assert (emb.block != before).any(dim=1).tolist() == [True, True, True]
    assert (lazy.block != before).any(dim=1).tolist() != [True, True, True]
    sparse = rt.Embedding(6, 2, train=[1, 2, 4], sparse=True)
    before = sparse.block.detach().clone()
    optimizer = torch.optim.SparseAdam(sparse.parameters(), lr=0.1)
    sparse(torch.tensor([2, 2, 0])).sum().backward()
    optimizer.step()
    assert (sparse.block != before).any(dim=1).tolist() == [False, True, False]


@either_gradient
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_kind
def test_half_precision_rows_have_state_in_float32(kind, dtype, sparse):
    """Every number is that of a float32 run; the row alone is rounded, once a step."""
    weights = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    half = rt.Embedding.from_pretrained(weights, train=TRAIN, sparse=sparse)
    optimizer = optimizer_of(kind, half.parameters(), weight_decay=0.1)
    for step in range(6):
        ids = torch.tensor([[3, 9, step % 4], [3, 5, 11]])
        grads = whole_numbers(torch.Generator().manual_seed(step), 2, 3, 4)
        wide = rt.Embedding.from_pretrained(
            half.weight.detach().float(), train=TRAIN, sparse=sparse
        )
        other = optimizer_of(kind, wide.parameters(), weight_decay=0.1)
        if step:
            before = {name: x.clone() for name, x in optimizer.row_state(half.block).items()}
            other.set_row_states({wide.block: before})
        for emb, each in ((half, optimizer), (wide, other)):
            each.zero_grad()
            emb(ids).backward(grads.to(emb.block.dtype))
            each.step()
        ours, expected = optimizer.row_state(half.block), other.row_state(wide.block)
        assert torch.equal(half.block, wide.block.to(dtype))
        for name, array in ours.items():
            assert array.dtype == (torch.int32 if name == "step" else torch.float32)
            torch.testing.assert_close(array, expected[name], rtol=3e-6, atol=1e-7)
