"""One optimizer for the whole model: groups, names, closures, hooks, and the options it refuses."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune.errors import RuleError

CLASSES = ["SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "Adamax"]
OPTIONS = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Adagrad": {"lr_decay": 0.1, "initial_accumulator_value": 0.3},
    "RMSprop": {"alpha": 0.9, "momentum": 0.5, "centered": True},
    "Adadelta": {"rho": 0.8},
    "Adam": {"betas": (0.8, 0.9)},
    "AdamW": {"betas": (0.8, 0.9), "amsgrad": True},
    "Adamax": {"betas": (0.8, 0.9)},
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Model(nn.Module):
    """Two row blocks and dense layers; ids[..., 0] for one table, ids[..., 1] for the other."""

    def __init__(self, sparse=False):
        super().__init__()
        self.words = rt.Embedding(9, 3, train=[1, 3, 5, 8], sparse=sparse)
        self.tags = rt.Embedding(5, 3, train=[0, 4])
        self.dense = nn.Embedding(4, 3)
        self.head = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, ids):
        return self.head(self.words(ids) + self.tags(ids % 5) + self.dense(ids % 4)).sum()

    def dense_parameters(self):
        return [p for p in self.parameters() if not isinstance(p, rt.RowParameter)]


def bits(tensor):
    return tensor.detach().numpy().tobytes()


@pytest.mark.parametrize("more", [{}, {"foreach": True}, {"foreach": False}, {"fused": True}],
                         ids=["", "foreach", "no foreach", "fused"])  # fmt: skip
@pytest.mark.parametrize("name", CLASSES)
def test_dense_parameters_get_torchs_own_result_bit_for_bit(name, more):
    if name in ("RMSprop", "Adadelta", "Adamax") and "fused" in more:
        more = {"capturable": False}  # torch has no fused one
    options = {"lr": 0.1, "weight_decay": 0.1, **OPTIONS[name], **more}
    model = Model(sparse=True)
    optimizer = getattr(rt.optim, name)(model.parameters(), **options)
    twins = [p.detach().clone().requires_grad_() for p in model.dense_parameters()]
    plain = getattr(torch.optim, name)(twins, **options)
    before = model.words.block.detach().clone()
    for ids in ([1, 2], [3], [], [1, 1, 3, 7], [0]):
        optimizer.zero_grad()
        model(torch.tensor(ids, dtype=torch.int64)).backward()
        for twin, parameter in zip(twins, model.dense_parameters(), strict=True):
            twin.grad = parameter.grad.clone()
        for either in (optimizer, plain):
            either.step()
            either.param_groups[0]["lr"] *= 0.7  # as a schedule does
            either.param_groups[0]["weight_decay"] += 0.1
    for twin, parameter in zip(twins, model.dense_parameters(), strict=True):
        assert bits(parameter) == bits(twin)
        for key, value in plain.state[twin].items():
            assert torch.equal(optimizer.state[parameter][key], value)
    assert (model.words.block != before).any(dim=1).tolist() == [True, True, False, False]
    assert optimizer.row_state(model.words.block)["step"].tolist() == [2, 2, 0, 0]


@pytest.mark.parametrize("sparse", [False, True])
def test_every_group_has_its_own_learning_rate_and_decay(sparse):
    model = Model(sparse)
    optimizer = rt.optim.SGD(
        [
            {"params": [model.words.block], "lr": 0.25},
            {"params": model.head.parameters(), "lr": 0.0},
            {"params": [model.tags.block, model.dense.weight], "weight_decay": 0.5},
        ],
        lr=0.125,
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(torch.tensor([1, 4])).backward()
    grads = {
        name: p.grad.to_dense() if p.grad.is_sparse else p.grad
        for name, p in model.named_parameters()
    }
    optimizer.step()
    after = dict(model.named_parameters())
    expected = before["words.block"] - 0.25 * grads["words.block"]
    torch.testing.assert_close(after["words.block"].detach(), expected)
    decayed = before["tags.block"] - 0.125 * (grads["tags.block"] + 0.5 * before["tags.block"])
    torch.testing.assert_close(after["tags.block"][1].detach(), decayed[1])
    assert bits(after["tags.block"][0]) == bits(before["tags.block"][0])  # absent: no decay either
    assert bits(after["head.0.weight"]) == bits(before["head.0.weight"])


def test_blocks_of_one_group_and_dtype_keep_their_own_states():
    one, two = rt.Embedding(4, 3, train=[1, 2]), rt.Embedding(6, 3, train=[0, 1, 5])
    optimizer = rt.optim.Adam([*one.parameters(), *two.parameters()], lr=0.1)
    start = two.block.detach().clone()
    for _ in range(3):
        one(torch.tensor([1])).sum().backward()
        optimizer.step()
    two(torch.tensor([5])).sum().backward()
    optimizer.step()
    assert optimizer.row_state(one.block)["step"].tolist() == [4, 0]  # its gradient was kept
    assert optimizer.row_state(two.block)["step"].tolist() == [0, 0, 1]
    torch.testing.assert_close(start[2] - two.block.detach()[2], torch.full((3,), 0.1))


@pytest.mark.parametrize("first", ["head", "words"])
def test_a_group_may_be_added_while_training(first):
    model = Model()
    second = {"head": "words", "words": "head"}[first]
    parts = {"head": list(model.head.parameters()), "words": [model.words.block]}
    optimizer = rt.optim.Adam(parts[first], lr=0.1)
    model(torch.tensor([1, 2])).backward()
    optimizer.step()
    state = {k: v.clone() for k, v in optimizer.state[parts[first][0]].items()}
    before = [p.detach().clone() for p in parts[second]]
    optimizer.add_param_group({"params": parts[second], "lr": 0.5})
    assert all(torch.equal(state[k], v) for k, v in optimizer.state[parts[first][0]].items())
    optimizer.step()
    assert optimizer.param_groups[1]["betas"] == (0.9, 0.999)
    moved = (parts[second][0].detach() - before[0]).abs().max()
    torch.testing.assert_close(moved, torch.tensor(0.5), rtol=1e-4, atol=0)  # Adam's first step
    assert optimizer.row_state(model.words.block)["step"][0] == (2 if first == "words" else 1)
    with pytest.raises(ValueError, match="appear in more than one parameter group"):
        optimizer.add_param_group({"params": parts[second]})


def test_a_group_that_is_refused_is_not_there_afterwards():
    model = Model()
    optimizer = rt.optim.Adam(model.head.parameters(), lr=0.1)
    for wrong in ({"differentiable": True}, {"lr": -1.0}):
        with pytest.raises(RuleError):
            optimizer.add_param_group({"params": [model.words.block], **wrong})
    assert len(optimizer.param_groups) == 1
    model(torch.tensor([1])).backward()
    optimizer.step()
    optimizer.add_param_group({"params": [model.words.block]})
    optimizer.step()
    assert optimizer.row_state(model.words.block)["step"].tolist() == [1, 0, 0, 0]


def test_named_parameters_give_the_same_bits_and_their_names_are_saved():
    model = Model()
    twin = Model()
    twin.load_state_dict(model.state_dict())
    optimizers = [
        rt.optim.AdamW(model.named_parameters(), lr=0.1),
        rt.optim.AdamW(twin.parameters(), lr=0.1),
    ]
    for _ in range(3):
        for m, optimizer in zip((model, twin), optimizers, strict=True):
            optimizer.zero_grad()
            m(torch.tensor([1, 3, 4])).backward()
            optimizer.step()
    for ours, others in zip(model.parameters(), twin.parameters(), strict=True):
        assert bits(ours) == bits(others)
    names = [name for name, _ in model.named_parameters()]
    assert optimizers[0].state_dict()["param_groups"][0]["param_names"] == names


def test_a_closure_is_called_once_with_gradients_and_its_loss_returned():
    model, losses = Model(), []
    optimizer = rt.optim.SGD(model.parameters(), lr=0.01)

    def closure():
        optimizer.zero_grad()
        losses.append(model(torch.tensor([1, 3])))
        losses[-1].backward()
        return losses[-1]

    before = model.words.block.detach().clone()
    with torch.no_grad():
        assert optimizer.step(closure) is losses[0]
    assert len(losses) == 1
    assert (model.words.block != before).any(dim=1).tolist() == [True, True, False, False]
    optimizer.step(closure)
    assert losses[1] < losses[0]


def test_hooks_of_a_step_run_once():
    model, calls = Model(), []
    optimizer = rt.optim.Adam(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    model(torch.tensor([1])).backward()
    optimizer.step()
    assert calls == ["before", "after"]


def test_a_block_that_is_frozen_for_a_while_waits():
    model = Model()
    optimizer = rt.optim.Adam(model.parameters(), lr=0.1)
    for trains in (True, False, True):
        model.words.block.requires_grad_(trains)
        before = bits(model.words.block)
        optimizer.zero_grad()
        model(torch.tensor([3])).backward()
        optimizer.step()
        assert (bits(model.words.block) != before) == trains
    assert optimizer.row_state(model.words.block)["step"].tolist() == [0, 2, 0, 0]


UNSUPPORTED = [
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
    *((name, {"differentiable": True}) for name in CLASSES),
]


@pytest.mark.parametrize(("name", "options"), UNSUPPORTED)
def test_an_option_that_rows_have_not_is_refused_at_once_and_only_for_rows(name, options):
    model = Model()
    make = getattr(rt.optim, name)
    with pytest.raises(RuleError, match=f"{list(options)[-1]}="):
        make(model.parameters(), lr=0.1, **options)
    groups = [{"params": model.head.parameters()}, {"params": [model.tags.block], **options}]
    with pytest.raises(RuleError, match=f"{list(options)[-1]}="):
        make(groups, lr=0.1)
    results = []
    for module in (rt.optim, torch.optim):
        start = [torch.linspace(-1, 1, 6, requires_grad=True) for _ in range(2)]
        weights = [w.clone() for w in start]
        for w in weights:
            w.retain_grad()  # they are no leaves, which only differentiable=True takes
        leaves = weights if "differentiable" in options else start
        optimizer = getattr(module, name)(leaves, lr=0.1, **options)
        for _ in range(3):
            for w in leaves:
                w.grad = torch.arange(6.0) / 6
            optimizer.step()
        results.append([(bits(w), w.grad_fn is None) for w in leaves])
    assert results[0] == results[1]


WRONG = [
    ("SGD", {"lr": -1.0}),
    ("SGD", {"momentum": -0.1}),
    ("SGD", {"nesterov": True}),
    ("SGD", {"weight_decay": -1.0}),
    ("Adagrad", {"lr_decay": -1.0}),
    ("Adagrad", {"initial_accumulator_value": -1.0}),
    ("RMSprop", {"alpha": -0.5}),
    ("Adam", {"eps": -1.0}),
    ("Adam", {"betas": (1.0, 0.9)}),
    ("AdamW", {"betas": (0.9, -0.1)}),
    ("AdamW", {"lr": torch.tensor([0.1, 0.2])}),
    ("Adam", {"learning_rate": 0.1}),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_a_wrong_hyper_parameter_is_torchs_own_error(name, wrong):
    model = Model()
    caught = []
    for module in (rt.optim, torch.optim):
        with pytest.raises((ValueError, TypeError)) as error:
            getattr(module, name)(model.parameters(), **wrong)
        caught.append((error.type, str(error.value)))
    assert caught[0] == caught[1]


@pytest.mark.parametrize("name", CLASSES)
def test_arguments_and_their_order_are_torchs(name):
    ours = inspect.signature(getattr(rt.optim, name)).parameters
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    own = {"check_finite": True, "catch_up": False, "max_norm": None, "lr_scale": None}
    names = [*own, "state_folder"]  # the last is the optimizer's, and no option of a group
    assert list(ours.values())[: -len(names)] == list(theirs.values())
    assert list(ours)[-len(names) :] == names
    model = Model()
    given = (0.5, 0.9, 0, 0.1, True) if name == "SGD" else (0.5,)
    optimizer = getattr(rt.optim, name)(model.parameters(), *given)
    plain = getattr(torch.optim, name)(model.parameters(), *given)
    assert optimizer.defaults == {**plain.defaults, **own}
    for wrong in ([], "words", [1.0]):
        caught = []
        for module in (rt.optim, torch.optim):
            with pytest.raises((ValueError, TypeError)) as error:
                getattr(module, name)(wrong)
            caught.append((error.type, str(error.value)))
        assert caught[0] == caught[1]
