"""What an optimizer remembers: its size and dtype, saved, loaded, copied and pickled."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import rowtune.torch as rt
from rowtune.errors import RuleError

OPTIMIZERS = {
    "sgd": lambda p: rt.optim.SGD(p, lr=0.1),
    "momentum": lambda p: rt.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adagrad": lambda p: rt.optim.Adagrad(p, 0.1, lr_decay=0.2, initial_accumulator_value=0.5),
    "rowwise": lambda p: rt.optim.RowwiseAdagrad(p, lr=0.1, initial_accumulator_value=0.5),
    "rmsprop": lambda p: rt.optim.RMSprop(p, lr=0.1),
    "adam": lambda p: rt.optim.Adam(p, lr=0.1),
    "adamw": lambda p: rt.optim.AdamW(p, lr=0.1),
}
every_optimizer = pytest.mark.parametrize("kind", OPTIMIZERS)
either_gradient = pytest.mark.parametrize("sparse", [False, True])
N, D, TRAIN = 1000, 4, [0, 3, 500, 999]
K = len(TRAIN)


def new_model(sparse=False, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    emb = rt.Embedding(N, D, train=TRAIN, sparse=sparse, dtype=dtype)
    return nn.Sequential(emb, nn.Linear(D, 3).to(dtype), nn.Tanh(), nn.Linear(3, 1).to(dtype))


BATCHES = [[0, 3, 3, 7], [500], [7, 8], [3, 500, 500]]


def train(model, optimizer, batches=BATCHES):
    for ids in batches:
        optimizer.zero_grad()
        model(torch.tensor(ids)).sum().backward()
        optimizer.step()


def bits(model):
    return [p.detach().float().numpy().tobytes() for p in model.parameters()]


def through_a_file(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every_optimizer
def test_state_is_as_large_as_the_block_never_as_the_table(kind):
    model = new_model()
    optimizer = OPTIMIZERS[kind](model.parameters())
    train(model, optimizer)
    state = optimizer.row_state(model[0].block)
    assert state["step"].tolist() == [1, 2, 2, 0]
    for values in state.values():
        assert values.shape in {(K,), (K, 1), (K, D)}
    assert all(values.dtype == torch.float32 for name, values in state.items() if name != "step")
    saved = optimizer.state_dict()["state"]
    assert all(value.numel() <= K * D for values in saved.values() for value in values.values())


@either_gradient
@every_optimizer
def test_training_goes_on_bit_for_bit_after_a_reload_into_new_objects(kind, sparse):
    model = new_model(sparse)
    optimizer = OPTIMIZERS[kind](model.parameters())
    schedule = lr_scheduler.StepLR(optimizer, 1, 0.9)
    train(model, optimizer)
    schedule.step()
    saved = through_a_file([x.state_dict() for x in (model, optimizer, schedule)])
    again = new_model(sparse, seed=1)
    other = OPTIMIZERS[kind](again.parameters())
    other.param_groups[0]["lr"] = 7.0
    later = lr_scheduler.StepLR(other, 1, 0.9)
    for thing, state in zip((again, other, later), saved, strict=True):
        thing.load_state_dict(state)
    assert str(other.state_dict()) == str(optimizer.state_dict())
    for m, o, s in ((model, optimizer, schedule), (again, other, later)):
        train(m, o)
        s.step()
        train(m, o, [[0, 999]])
    assert bits(again) == bits(model)
    assert str(other.state_dict()) == str(optimizer.state_dict())


@every_optimizer
def test_a_state_saved_before_the_first_step_loads(kind):
    model, again = new_model(), new_model()
    optimizer, other = (OPTIMIZERS[kind](m.parameters()) for m in (model, again))
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    train(model, optimizer)
    train(again, other)
    assert bits(again) == bits(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["momentum", "adam", "rowwise"])
def test_the_state_of_a_half_precision_block_stays_float32_when_it_is_loaded(kind, dtype):
    model = new_model(dtype=dtype)
    optimizer = OPTIMIZERS[kind](model.parameters())
    train(model, optimizer)
    again = new_model(dtype=dtype)
    again.load_state_dict(through_a_file(model.state_dict()))
    other = OPTIMIZERS[kind](again.parameters())
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    ours, loaded = (o.row_state(m[0].block) for o, m in ((optimizer, model), (other, again)))
    assert loaded.pop("step").dtype == torch.int32
    for name, values in loaded.items():
        assert values.dtype == torch.float32
        assert torch.equal(values, ours[name])
        assert not torch.equal(values, values.to(dtype).float())  # it has digits to lose
    train(model, optimizer)
    train(again, other)
    assert bits(again) == bits(model)


@pytest.mark.parametrize("lately", [False, True])
def test_a_row_goes_on_from_its_own_step_count_however_high(lately):
    emb = rt.Embedding(N, 1, train=TRAIN)
    optimizer = rt.optim.Adagrad(emb.parameters(), lr=0.1, lr_decay=0.5)
    if lately:  # it has known lower counts before
        train(emb, optimizer, [[0], [3]])
    state = {
        "step": torch.tensor([0, 10, 1000, 100_000], dtype=torch.int32),
        "total": torch.ones(K, 1),
    }
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": {0: state}, "param_groups": groups})
    before = emb.block.detach().clone()
    train(emb, optimizer, [TRAIN])
    slowed = 0.1 / (1 + 0.5 * state["step"])[:, None]
    torch.testing.assert_close(before - emb.block.detach(), slowed / 2**0.5, rtol=1e-3, atol=1e-7)


def test_a_loaded_state_is_a_copy_of_what_was_given():
    model = new_model()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    other = OPTIMIZERS["adam"](model.parameters())
    other.load_state_dict(saved)
    before = str(saved["state"][0])
    train(model, other)
    assert str(saved["state"][0]) == before


def everything(model, optimizer):
    return bits(model), str(optimizer.state_dict())


def test_a_state_that_does_not_fit_is_refused_early_and_changes_nothing():
    model = new_model()
    adam, momentum = (OPTIMIZERS[kind](model.parameters()) for kind in ("adam", "momentum"))
    plain = torch.optim.Adam(model.parameters(), lr=0.1)
    for optimizer in (adam, momentum, plain):
        train(model, optimizer)
    before = everything(model, adam)
    with pytest.raises(RuleError, match="'velocity'"):
        adam.load_state_dict(momentum.state_dict())
    with pytest.raises(RuleError, match="exp_avg"):
        adam.load_state_dict(plain.state_dict())
    larger = copy.deepcopy(adam.state_dict())
    larger["state"][0] = {k: torch.cat([v, v]) for k, v in larger["state"][0].items()}
    with pytest.raises(RuleError, match=r"8.* for a block of 4 x 4 rows.*grow"):
        adam.load_state_dict(larger)
    wider = copy.deepcopy(adam.state_dict())
    wider["state"][0]["m"] = torch.zeros(K, D + 1)
    with pytest.raises(RuleError, match="'m' has shape"):
        adam.load_state_dict(wider)
    short = copy.deepcopy(adam.state_dict())
    short["param_groups"][0]["params"].pop()
    with pytest.raises(ValueError, match="doesn't match the size"):
        adam.load_state_dict(short)
    assert everything(model, adam) == before
    train(model, adam)


@either_gradient
@every_optimizer
def test_copies_and_pickles_train_on_alike_and_independently(kind, sparse):
    model = new_model(sparse)
    optimizer = OPTIMIZERS[kind](model.parameters())
    train(model, optimizer)
    file = io.BytesIO()
    torch.save((model, optimizer), file)
    file.seek(0)
    pairs = [
        copy.deepcopy((model, optimizer)),
        pickle.loads(pickle.dumps((model, optimizer))),
        torch.load(file, weights_only=False),
    ]
    for m, o in pairs:
        assert o.param_groups[0]["params"][0] is m[0].block
    before = bits(model)
    for i, (m, o) in enumerate(pairs):
        train(m, o)
        assert bits(model) == before  # nobody else has moved
        assert (bits(m) == before) is False
        assert all(bits(other) == before for other, _ in pairs[i + 1 :])
    train(model, optimizer)
    for m, o in pairs:
        assert everything(m, o) == everything(model, optimizer)


def test_a_copy_is_made_between_backward_and_step_as_torch_makes_it():
    model = new_model()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    model(torch.tensor([0, 3])).sum().backward()
    twin, other = copy.deepcopy((model, optimizer))
    other.step()  # a copied parameter has no gradient yet, in torch as here
    assert bits(twin) == bits(model)
    train(twin, other)
    optimizer.step()
    assert optimizer.row_state(model[0].block)["step"].tolist() == [1, 1, 0, 0]


def test_a_copied_optimizer_alone_has_parameters_of_its_own():
    model = new_model()
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    train(model, optimizer)
    twin = copy.deepcopy(optimizer)
    block = twin.param_groups[0]["params"][0]
    assert isinstance(block, rt.RowParameter)
    before = bits(model)
    block.grad = torch.ones_like(block)
    twin.step()
    assert bits(model) == before
    assert twin.row_state(block)["step"].tolist() == [2, 3, 3, 1]


@pytest.mark.parametrize("kind", ["adam", "rowwise"])
def test_a_loaded_state_takes_the_precision_that_the_block_needs_by_now(kind):
    model = new_model()
    optimizer = OPTIMIZERS[kind](model.parameters())
    train(model, optimizer)
    for dtype, wide in [
        (torch.float64, torch.float64),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
    ]:
        steps = optimizer.row_state(model[0].block)["step"].clone()
        saved = through_a_file(optimizer.state_dict())
        model.to(dtype)
        optimizer = OPTIMIZERS[kind](model.parameters())
        optimizer.load_state_dict(saved)
        train(model, optimizer, [[3, 3]])
        state = optimizer.row_state(model[0].block)
        assert (state.pop("step") - steps).tolist() == [0, 1, 0, 0]
        assert all(values.dtype == wide for values in state.values())
        assert torch.isfinite(model[0].block).all()


def test_states_of_unknown_blocks_are_refused():
    model, stranger = new_model(), rt.Embedding(4, 2)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    for ask in (optimizer.row_state, optimizer.rule_name):
        with pytest.raises(RuleError, match=r"model\.parameters\(\)"):
            ask(stranger.block)
    assert optimizer.rule_name(model[0].block) == "adam"
