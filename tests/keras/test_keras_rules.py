"""Every rule through the optimizer that reaches it, against the naive judge, by train_on_batch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from judge import Judge

from rowtune import rules
from rowtune.keras import optimizers

TRAIN = [7, 0, 3, 8]
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
MOMENTS = {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}
OURS = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3}
LION = {"beta_1": 0.8, "beta_2": 0.95}
SQUARES = {"rho": 0.9, "epsilon": 1e-3}
ADAGRAD = {"initial_accumulator_value": 0.3, "epsilon": 1e-3}
BY_ADAGRAD = {"initial_accumulator_value": 0.3, "eps": 1e-3}
DECAY = 0.125

# The rule: the class that reaches it, the class's arguments, and the rule's for the same.
REACHED = {
    "sgd": ("SGD", {}, {}),
    "momentum": ("SGD", {"momentum": 0.7}, {"momentum": 0.7}),
    "nesterov": ("SGD", {"momentum": 0.7, "nesterov": True}, {"momentum": 0.7}),
    "adam": ("Adam", MOMENTS, OURS),
    "amsgrad": ("Adam", {**MOMENTS, "amsgrad": True}, OURS),
    "rowwise_adam": ("RowwiseAdam", MOMENTS, OURS),
    "adamw": ("AdamW", {**MOMENTS, "weight_decay": DECAY}, OURS),
    "adamax": ("Adamax", MOMENTS, OURS),
    "lion": ("Lion", LION, {"beta1": 0.8, "beta2": 0.95}),
    "adagrad": ("Adagrad", ADAGRAD, BY_ADAGRAD),
    "rowwise_adagrad": ("RowwiseAdagrad", ADAGRAD, BY_ADAGRAD),
    "adadelta": ("Adadelta", SQUARES, {"rho": 0.9, "eps": 1e-3}),
    "rmsprop": ("RMSprop", SQUARES, {"alpha": 0.9, "eps": 1e-3}),
    "rmsprop_momentum": (
        "RMSprop",
        {**SQUARES, "momentum": 0.7},
        {"alpha": 0.9, "eps": 1e-3, "momentum": 0.7},
    ),
    "centered_rmsprop": (
        "RMSprop",
        {**SQUARES, "centered": True},
        {"alpha": 0.9, "eps": 1e-3},
    ),
    "centered_rmsprop_momentum": (
        "RMSprop",
        {**SQUARES, "centered": True, "momentum": 0.7},
        {"alpha": 0.9, "eps": 1e-3, "momentum": 0.7},
    ),
}


def optimizer_of(name, learning_rate=0.03125, weight_decay=None, **more):
    class_name, arguments, _ = REACHED[name]
    given = {**arguments, **({"weight_decay": weight_decay} if weight_decay else {}), **more}
    return getattr(optimizers, class_name)(learning_rate, **given)


def hyper_of(name, weight_decay=None):
    decay = DECAY if name == "adamw" else weight_decay or 0.0
    decays = {"weight_decay": decay, "decoupled": True}
    return rules.get(name).hyper(lr=0.03125, **REACHED[name][2], **decays)


def batches(steps, width=5, shape=(3, 4)):
    """Ids with repeats and of frozen rows; in every third batch, of frozen rows alone."""
    rng = np.random.default_rng(1)
    for i in range(steps):
        ids = rng.integers(0, 9, shape) if i % 3 != 1 else rng.choice([1, 2, 4, 5, 6], shape)
        yield ids.astype("int32"), rng.standard_normal((*shape, width))


def assert_agrees(layer, judge, state, name, tolerance):
    steps, arrays = state
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(layer.merge(), judge.matrix(), **close)
    assert steps.tolist() == [judge.steps[i] for i in (0, 3, 7, 8)]
    assert 0 < min(steps) < max(steps) or layer.rows.trains_all
    first = rules.get(name).first_values(judge.hyper)
    assert set(arrays) == set(first)
    for array, value in first.items():
        expected = judge.state_array(array, (0, 3, 7, 8), value)
        np.testing.assert_allclose(arrays[array], expected, **close)


@pytest.fixture
def begin(make, rows_model):
    def start(name, dtype, optimizer, hyper, columns=None, **how):
        weights = np.random.default_rng(2).standard_normal((9, 5)).astype(dtype)
        layer = make(weights, train=TRAIN, columns=columns)
        judge = Judge(weights, TRAIN, name, hyper, columns)
        return layer, rows_model(layer, optimizer, **how), judge

    return start


def test_every_rule_is_reached_by_the_class_that_says_so():
    assert set(REACHED) == set(rules.names())
    for name in REACHED:
        found, _ = optimizer_of(name)._row_rule()
        assert found == ("adam" if name == "adamw" else name)
    assert {class_name for class_name, *_ in REACHED.values()} == set(optimizers.__all__)


@pytest.mark.parametrize("name", REACHED)
def test_a_rule_agrees_with_the_judge(name, begin, floatx, state_of):
    """In float64, with a learning rate that changes between steps."""
    floatx("float64")
    optimizer = optimizer_of(name)
    layer, model, judge = begin(name, "float64", optimizer, hyper_of(name))
    for i, (ids, upstream) in enumerate(batches(7)):
        optimizer.learning_rate = judge.hyper["lr"] = 0.03125 / (1 + i % 2)
        model.train_on_batch(ids, upstream)
        judge.update(ids, upstream)
    assert_agrees(layer, judge, state_of(optimizer, layer), name, TOLERANCE["float64"])


@pytest.mark.parametrize("name", REACHED)
def test_a_rule_agrees_with_the_judge_in_float32(name, begin, state_of):
    """With decoupled weight decay, of which absent rows pay nothing."""
    optimizer, hyper = optimizer_of(name, weight_decay=DECAY), hyper_of(name, DECAY)
    layer, model, judge = begin(name, "float32", optimizer, hyper)
    for ids, upstream in batches(7):
        model.train_on_batch(ids, upstream.astype("float32"))
        judge.update(ids, upstream)
    assert_agrees(layer, judge, state_of(optimizer, layer), name, TOLERANCE["float32"])


@pytest.mark.parametrize("name", ["adamw", "rowwise_adagrad"])
def test_columns_train_alone(name, begin, floatx, state_of):
    floatx("float64")
    optimizer, hyper = optimizer_of(name), hyper_of(name)
    layer, model, judge = begin(name, "float64", optimizer, hyper, [1, 4])
    for ids, upstream in batches(4):
        model.train_on_batch(ids, upstream)
        judge.update(ids, upstream)
    assert_agrees(layer, judge, state_of(optimizer, layer), name, TOLERANCE["float64"])


def test_a_schedule_follows_the_steps_of_the_optimizer(begin, floatx, state_of, how):
    floatx("float64")
    name = "adamw"
    rates = [0.5, 0.5, 0.25, 0.25, 0.125]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.5, 0.25, 0.125])
    optimizer, hyper = optimizer_of(name, schedule), hyper_of(name)
    layer, model, judge = begin(name, "float64", optimizer, hyper, **how)
    for rate, (ids, upstream) in zip(rates, batches(5), strict=True):
        judge.hyper["lr"] = rate
        model.train_on_batch(ids, upstream)
        judge.update(ids, upstream)
    assert_agrees(layer, judge, state_of(optimizer, layer), name, TOLERANCE["float64"])


def test_repeated_ids_are_summed_before_they_are_squared(make, rows_model, state_of, how):
    layer = make(np.zeros((3, 1), np.float32))
    optimizer = optimizers.Adagrad(1.0, initial_accumulator_value=0.0, epsilon=0.0)
    model = rows_model(layer, optimizer, length=3, **how)
    model.train_on_batch(np.array([[1, 2, 1]]), np.array([[[3.0], [1.0], [4.0]]]))
    steps, arrays = state_of(optimizer, layer)
    assert arrays["total"].tolist() == [[0], [49], [1]]
    assert layer.merge().tolist() == [[0], [-1], [-1]]
    assert steps.tolist() == [0, 1, 1]


def test_a_rare_row_starts_at_its_own_step_one(make, rows_model):
    layer = make(np.zeros((2, 1), np.float32))
    model = rows_model(layer, optimizers.Adam(0.125, epsilon=0.0), length=1)
    for i in (0, 0, 0, 0, 0, 1):
        model.train_on_batch(np.array([[i]]), np.array([[[5.0]]]))
    np.testing.assert_allclose(layer.merge(), [[-0.625], [-0.125]], rtol=1e-5)
