"""Every rule on TensorFlow, against the naive judge: eagerly, in graphs, and under XLA."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from judge import FORMULAS, Judge
from numpy import maximum, sign, where

import rowtune.tensorflow as rtf
from rowtune import rules

HYPER = {"lr_decay": 0.1, "initial_accumulator_value": 0.3, "momentum": 0.7, "eps": 1e-3}
TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5}
TRAIN = [7, 0, 3, 8]
WAYS = {
    "eager": lambda f: f,
    "graph": tf.function(reduce_retracing=True),
    "xla": tf.function(jit_compile=True),
}


def hyper_of(name, **more):
    rule = rules.get(name)
    given = {k: v for k, v in HYPER.items() if k in rule.defaults}
    return rule.hyper(lr=0.03, **given, **more)


def train_and_judge(name, dtype, way, hyper, steps, width=5, **choice):
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((9, width)).astype(dtype)
    emb = rtf.Embedding(weights, train=TRAIN, **choice)
    optimizer = rtf.RowOptimizer(name, **hyper)
    judge = Judge(weights, TRAIN, name, hyper, choice.get("columns"))

    @WAYS[way]
    def step(ids, upstream):
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum(emb(ids) * upstream)
        optimizer.apply(tape.gradient(cost, emb.block), emb)

    for i in range(steps):
        ids = rng.integers(0, 9, (3, 4)) if i % 5 or way == "xla" else np.zeros((0, 4), int)
        upstream = rng.standard_normal((*ids.shape, width)).astype(dtype)
        step(tf.constant(ids), tf.constant(upstream))
        judge.update(ids, upstream)
    return emb, optimizer.state_of(emb), judge


def assert_agrees(name, dtype, hyper, emb, state, judge):
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(emb.merge(), judge.matrix(), rtol=tolerance, atol=tolerance)
    assert state.steps.numpy().tolist() == [judge.steps[i] for i in (0, 3, 7, 8)]
    for array, first in rules.get(name).first_values(hyper).items():
        expected = judge.state_array(array, (0, 3, 7, 8), first)
        np.testing.assert_allclose(
            state.arrays[array].numpy(), expected, rtol=tolerance, atol=tolerance
        )


def test_the_judge_knows_every_rule():
    assert set(FORMULAS) == set(rules.names())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", rules.names())
def test_a_rule_agrees_with_the_judge_in_graphs(name, dtype):
    hyper = hyper_of(name, weight_decay=0.1, decoupled=dtype is np.float32)
    found = train_and_judge(name, dtype, "graph", hyper, 15)
    assert_agrees(name, dtype, hyper, *found)


@pytest.mark.parametrize("decay", [(0.0, False), (0.1, True)])
@pytest.mark.parametrize("name", rules.names())
def test_a_rule_agrees_with_the_judge_eagerly(name, decay):
    hyper = hyper_of(name, weight_decay=decay[0], decoupled=decay[1])
    found = train_and_judge(name, np.float64, "eager", hyper, 6)
    assert_agrees(name, np.float64, hyper, *found)


@pytest.mark.parametrize("name", ["adamw", "rowwise_adagrad", "nesterov", "centered_rmsprop"])
def test_a_rule_agrees_with_the_judge_under_xla(name):
    hyper = hyper_of(name, weight_decay=0.1)
    found = train_and_judge(name, np.float64, "xla", hyper, 8)
    assert_agrees(name, np.float64, hyper, *found)


@pytest.mark.parametrize("way", ["eager", "xla"])
@pytest.mark.parametrize("name", ["adam", "rowwise_adagrad"])
def test_columns_train_alone(name, way):
    hyper = hyper_of(name, weight_decay=0.1)
    found = train_and_judge(name, np.float64, way, hyper, 6, columns=[1, 4])
    assert_agrees(name, np.float64, hyper, *found)


@pytest.mark.parametrize("way", WAYS)
def test_duplicates_are_summed_before_they_are_squared(way):
    emb = rtf.Embedding(np.zeros((3, 1)))
    optimizer = rtf.RowOptimizer("adagrad", lr=1.0, eps=0.0)
    slices = tf.IndexedSlices(tf.constant([[3.0], [1.0], [4.0]], tf.float64), [1, 2, 1])
    WAYS[way](lambda values: optimizer.apply(tf.IndexedSlices(values, [1, 2, 1]), emb))(
        slices.values
    )
    assert optimizer.states[0].arrays["total"].numpy().tolist() == [[0], [49], [1]]
    assert emb.block.numpy().tolist() == [[0], [-1], [-1]]


def test_a_rare_row_starts_at_its_own_step_one():
    variable = tf.Variable(tf.zeros((2, 3), tf.float64))
    optimizer = rtf.RowOptimizer("adam", lr=0.01)
    optimizer.build([variable])
    often = tf.IndexedSlices(tf.ones((1, 3), tf.float64), [0])

    @tf.function
    def many(count):
        for _ in tf.range(count):
            optimizer.apply(often, variable)

    many(4999)
    optimizer.apply(tf.IndexedSlices(tf.fill((1, 3), tf.constant(5.0, tf.float64)), [1]), variable)
    np.testing.assert_allclose(variable.numpy()[1], -0.01, rtol=1e-6)  # 1.00 x lr
    np.testing.assert_allclose(variable.numpy()[0], -0.01 * 4999, rtol=1e-6)
    state = optimizer.state_of(variable)
    assert (state.steps.numpy().tolist(), int(state.iterations)) == ([4999, 1], 5000)


def moved(gradients, **hyper):
    """A row of zeros after steps of adamw under hyper-parameters of any kind."""
    variable = tf.Variable([[1.0]], dtype=tf.float64)
    optimizer = rtf.RowOptimizer("adamw", **hyper)
    step = tf.function(lambda g: optimizer.apply(tf.IndexedSlices(g[None, None], [0]), variable))
    for g in gradients:
        step(tf.constant(g, tf.float64))
        yield variable.numpy()[0, 0]


def test_variables_tensors_and_schedules_are_the_numbers_that_they_hold():
    given = {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.2}
    plain = list(moved([1.0, -2.0, 0.5], **given))
    assert abs(np.diff(plain)).min() > 1e-3
    for kind in (
        lambda x: tf.Variable(x, dtype=tf.float64),
        lambda x: tf.constant(x, tf.float64),
        lambda x: lambda iterations: tf.constant(x, tf.float64),
    ):
        for names in (["lr"], ["beta1", "beta2"], ["eps", "weight_decay"], list(given)):
            hyper = {name: kind(x) if name in names else x for name, x in given.items()}
            np.testing.assert_allclose(list(moved([1.0, -2.0, 0.5], **hyper)), plain, rtol=1e-14)
    betas = (tf.constant(0.8, tf.float64), 0.9)
    rest = {k: x for k, x in given.items() if "beta" not in k}
    np.testing.assert_allclose(list(moved([1.0, -2.0, 0.5], betas=betas, **rest)), plain)


def test_a_learning_rate_that_changes_changes_the_steps_and_traces_nothing():
    variable, traces = tf.Variable([[0.0]]), []
    schedule = rtf.RowOptimizer("sgd", lr=lambda step: tf.cast(10**step, tf.float32))
    rate = tf.Variable(1.0)
    by_hand = rtf.RowOptimizer("sgd", lr=rate)
    schedule.build([variable])
    by_hand.build([variable])

    @tf.function
    def step():
        traces.append(1)
        for optimizer in (schedule, by_hand):
            optimizer.apply(tf.IndexedSlices(tf.ones((1, 1)), [0]), variable)

    found = []
    for i in range(3):
        rate.assign(0.1**i)
        step()
        found.append(-variable.numpy()[0, 0])
    np.testing.assert_allclose(np.diff([0, *found]), [1 + 1, 10 + 0.1, 100 + 0.01], rtol=1e-4)
    assert len(traces) == 1


def test_a_clock_that_never_stands_still_is_computed():
    hyper = {"lr": 0.1, "beta1": 0.9, "beta2": 0.9999999, "eps": 0.0}
    *_, last = moved([1.0] * 5, weight_decay=0.0, **hyper)
    np.testing.assert_allclose(last, 1 - 5 * 0.1, rtol=1e-6)


def test_a_dense_gradient_moves_the_rows_that_are_not_zero():
    for way in WAYS.values():
        variable = tf.Variable(tf.ones((4, 2)))
        optimizer = rtf.RowOptimizer("adamw", lr=0.1, weight_decay=0.5)
        way(lambda g, o=optimizer, v=variable: o.apply(g, v))(
            tf.constant([[0.0, 0], [0, 3], [0, 0], [1, 1]])
        )
        assert optimizer.states[0].steps.numpy().tolist() == [0, 1, 0, 1]
        assert variable.numpy()[[0, 2]].tolist() == [[1, 1], [1, 1]]
        np.testing.assert_allclose(variable.numpy()[1], [0.95, 0.85], rtol=1e-5)


def test_a_variable_without_a_gradient_stays():
    emb = rtf.Embedding(np.ones((3, 2)), train=[1])
    optimizer = rtf.RowOptimizer("momentum")
    with tf.GradientTape() as tape:
        cost = tf.reduce_sum(emb(np.array([0, 2])))
    gradient = tape.gradient(cost, emb.block)
    assert gradient.indices.shape == (0,), "ids of frozen rows leave no slice"
    optimizer.apply_gradients([(gradient, emb), (None, emb)])
    state = optimizer.state_of(emb)
    assert (state.steps.numpy().tolist(), int(state.iterations)) == ([0], 2)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_remembers_in_float32(dtype):
    emb = rtf.Embedding(tf.ones((3, 4), dtype), train=[0, 2])
    optimizer = rtf.RowOptimizer("adam", lr=0.125)
    optimizer.apply(tf.IndexedSlices(tf.ones((2, 4), dtype), [1, 1]), emb)
    assert {x.dtype for x in optimizer.states[0].arrays.values()} == {tf.float32}
    np.testing.assert_allclose(tf.cast(emb.block, tf.float32).numpy(), [[1] * 4, [0.875] * 4])
    assert emb.block.dtype == emb([0]).dtype == dtype


def test_every_name_that_a_rule_may_use_means_what_it_means_in_numpy():

    @rules.rule(state={"seen": 0.0}, lr=1.0)
    def all_names(row, grad, seen, lr):
        return where(grad > lr, sign(grad), maximum(0.25, row)), abs(grad)

    values = np.array([np.inf, -np.inf, 0.0, -0.0, 2.5, -2.5, np.nan])
    variable = tf.Variable(np.linspace(-1, 1, 7)[None])
    start = variable.numpy()
    optimizer = rtf.RowOptimizer(all_names, lr=1e-3, check_finite=False)
    optimizer.apply(tf.IndexedSlices(tf.constant(values[None]), [0]), variable)
    expected = where(values > 1e-3, sign(values), maximum(0.25, start[0]))
    np.testing.assert_array_equal(variable.numpy()[0], expected)
    np.testing.assert_array_equal(optimizer.states[0].arrays["seen"].numpy()[0], abs(values))
