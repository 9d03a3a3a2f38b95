"""Catch-up: a row that was absent ends where the dense optimizer would have put it."""

from __future__ import annotations

import copy
import hashlib
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowtune import Table, ledger, rules
from rowtune.errors import NonFiniteError, RuleError

N, D = 40, 5
DECAYS = [(0.0, False), (0.1, True), (0.01, False)]


def stream(rng, steps, rows=N, size=1.0):
    """Batches of Zipf ids; many are empty, so that absences are long."""
    chance = 1 / np.arange(1, rows + 1)
    for _ in range(steps):
        ids = rng.choice(rows, size=rng.integers(0, 5), p=chance / chance.sum())
        yield ids, size * rng.standard_normal((len(ids), D))


def dense(ids, grads, rows=N):
    """The batch as a dense optimizer gets it."""
    whole = np.zeros((rows, D), grads.dtype)
    np.add.at(whole, ids, grads)
    return np.arange(rows), whole


def both(name, dtype=np.float64, seed=0, **hyper):
    weights = np.random.default_rng(seed).standard_normal((N, D)).astype(dtype)
    return Table(weights, rule=name, catch_up=True, **hyper), Table(weights, rule=name, **hyper)


def agree(lazy, eager, rtol=1e-12):
    scale = np.linalg.norm(eager.weights, axis=1).mean()
    np.testing.assert_allclose(lazy.weights, eager.weights, rtol=0, atol=rtol * scale)
    for name, array in lazy.state.items():
        largest = max(1.0, np.abs(eager.state[name]).max())
        np.testing.assert_allclose(array, eager.state[name], rtol=0, atol=rtol * largest)
    assert (lazy.steps == eager.steps).all()


def run(lazy, eager, batches, rate=lambda t: 0.01, look=True):
    for t, (ids, drawn) in enumerate(batches):
        lazy.lr = eager.lr = rate(t)
        grads = drawn.astype(lazy.dtype)
        if look and t % 3:
            lazy.lookup(ids)
        lazy.update(ids, grads)
        eager.update(*dense(ids, grads))


def cosine(t, steps=400):
    return 0.01 * (1 + np.cos(np.pi * t / steps)) / 2


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("name", rules.names())
def test_catch_up_equals_dense(name, decay):
    lazy, eager = both(name, weight_decay=decay[0], decoupled=decay[1])
    run(lazy, eager, stream(np.random.default_rng(1), 400), cosine)
    assert (lazy.steps < eager.steps).any()  # there is something to pay
    agree(lazy, eager)


@pytest.mark.parametrize("name", rules.names())
def test_float32_is_no_further_from_the_truth_than_dense_float32(name):
    results = {}
    for dtype in (np.float64, np.float32):
        lazy, eager = both(name, dtype, weight_decay=0.1, decoupled=True)
        for table in (lazy, eager):
            table.weights  # noqa: B018 - flushes nothing yet
        run(lazy, eager, stream(np.random.default_rng(1), 400), cosine)
        results[dtype] = lazy.weights.astype(float), eager.weights.astype(float)
    truth = results[np.float64][1]
    ours, theirs = (np.linalg.norm(x - truth) for x in results[np.float32])
    assert ours <= 2 * theirs


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.95), (0.5, 0.9), (0.0, 0.99), (0.99, 0.9)])
@pytest.mark.parametrize("size", [1.0, 1e-5, 1e-9, 1e-170])
@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamax", "rowwise_adam"])
def test_gradients_as_small_as_epsilon_and_any_betas(name, size, betas):
    lazy, eager = both(name, betas=betas)
    rng = np.random.default_rng(2)
    batches = [
        (ids, grads * rng.choice([0.0, 1.0, 1e-3], (1, D)))
        for ids, grads in stream(rng, 150, size=size)
    ]
    run(lazy, eager, batches)
    agree(lazy, eager, 1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("eps", [1e-8, 1e-3, 0.5])
def test_any_epsilon_in_other_dtypes(dtype, eps):
    """float16 goes the plain way: rows with doubts are stepped whole."""
    lazy, eager = both("adam", dtype, eps=eps)
    run(lazy, eager, stream(np.random.default_rng(3), 60))
    agree(lazy, eager, {np.float32: 3e-6, np.float16: 2e-2}[dtype])


def test_a_ledger_that_is_full_begins_anew(monkeypatch):
    monkeypatch.setattr(ledger, "MOST_STEPS", 70)
    lazy, eager = both("adamw")
    run(lazy, eager, stream(np.random.default_rng(4), 400), cosine)
    assert len(lazy._block.debts._ledger) <= 70
    agree(lazy, eager)


@pytest.mark.parametrize("name", ["adam", "momentum", "rmsprop_momentum", "lion"])
def test_hyper_parameters_may_change_in_the_middle(name):
    lazy, eager = both(name, weight_decay=0.1, decoupled=True)
    rng = np.random.default_rng(5)
    changes = [
        {"weight_decay": 0.3},
        {"weight_decay": 0.0},
        {"weight_decay": 0.02, "decoupled": False},
        {key: 0.5 for key in ("beta1", "momentum") if key in lazy.hyper},
    ]
    for change in changes:
        run(lazy, eager, stream(rng, 60))
        lazy.set_hyper(**change)
        eager.set_hyper(**change)
    run(lazy, eager, stream(rng, 60))
    agree(lazy, eager)
    with pytest.raises(RuleError):
        lazy.set_hyper(lr=0.1, weight_decay=-1)
    agree(lazy, eager)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["adam", "adamw", "amsgrad", "adamax", "nesterov", "lion", "rmsprop"]),
    decay=st.sampled_from(DECAYS),
    seed=st.integers(0, 2**16),
    rates=st.lists(st.floats(0, 0.1), min_size=1, max_size=9),
    columns=st.sampled_from([None, [1, 3]]),
)
def test_random_streams_and_schedules(name, decay, seed, rates, columns):
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((N, D))
    hyper = {"rule": name, "weight_decay": decay[0], "decoupled": decay[1], "columns": columns}
    lazy, eager = Table(weights, catch_up=True, **hyper), Table(weights, **hyper)
    run(lazy, eager, stream(rng, 50), lambda t: rates[t % len(rates)])
    agree(lazy, eager, 1e-11)


def test_a_lookup_sees_what_the_dense_optimizer_would_show():
    lazy, eager = both("momentum", momentum=0.9)
    for ids, grads in stream(np.random.default_rng(6), 100):
        lazy.update(ids, grads)
        eager.update(*dense(ids, grads))
        seen = np.random.default_rng(len(ids)).integers(0, N, (2, 3))
        np.testing.assert_allclose(lazy.lookup(seen), eager.lookup(seen), atol=1e-13)


def test_frozen_rows_keep_their_bits_and_others_owe():
    weights = np.random.default_rng(7).standard_normal((N, D))
    weights[::2, 0] = -0.0
    weights[2, 1] = np.nan
    frozen = np.arange(0, N, 2)
    before = hashlib.sha256(weights[frozen].tobytes()).digest()
    for name in rules.names():
        table = Table(
            weights, np.arange(1, N, 2), name, catch_up=True, weight_decay=0.1, decoupled=True
        )
        for ids, grads in stream(np.random.default_rng(8), 30):
            table.update(ids, grads)
        assert hashlib.sha256(table.weights[frozen].tobytes()).digest() == before


def test_a_batch_of_nothing_and_one_of_frozen_rows_are_steps_too():
    weights = np.ones((3, 2))
    lazy = Table(weights, [0, 1], "momentum", lr=0.1, momentum=0.5, catch_up=True)
    lazy.update([0], np.ones((1, 2)))
    lazy.update([], np.ones((0, 2)))
    lazy.update([2], np.ones((1, 2)))
    np.testing.assert_allclose(lazy.weights[0], 1 - 0.1 * (1 + 0.5 + 0.25))
    assert lazy.steps.tolist() == [3, 3]


def test_a_step_that_is_refused_is_no_step():
    lazy, eager = both("adam")
    batches = list(stream(np.random.default_rng(9), 20))
    run(lazy, eager, batches)
    with pytest.raises(NonFiniteError):
        lazy.update([0], np.full((1, D), np.nan))
    run(lazy, eager, batches)
    agree(lazy, eager)


def test_writing_growing_copying_and_files(tmp_path):
    lazy, eager = both("adam", weight_decay=0.1, decoupled=True)
    rng = np.random.default_rng(10)
    run(lazy, eager, stream(rng, 50))
    for table in (lazy, eager):
        table.add([3, 30], np.ones((2, D)))
        table.set([4], np.zeros((1, D)))
    twin = copy.deepcopy(lazy)
    rest = list(stream(rng, 50))
    run(lazy, eager, rest)
    agree(lazy, eager)
    twin.update(*rest[0])
    assert not np.array_equal(twin.weights, lazy.weights)
    lazy.save_patch(tmp_path / "p.safetensors", state=True)
    again = Table(lazy.base, rule="adam", catch_up=True, weight_decay=0.1, decoupled=True)
    again.load_patch(tmp_path / "p.safetensors")
    more = list(stream(rng, 50))
    run(lazy, eager, more)
    again.lr = lazy.lr
    for ids, grads in more:
        again.update(ids, grads)
    agree(again, eager)
    first = lazy.weights
    new = lazy.grow(np.ones((2, D)))
    lazy.update([0], np.zeros((1, D)))
    lazy.flush()
    assert lazy.steps[new].tolist() == [lazy.steps[0]] * 2
    np.testing.assert_allclose(lazy.weights[new], 1 - lazy.lr * 0.1)  # one step of decay
    assert len(first) == N


def test_rmsprop_forgets_during_a_thousand_absences_only_if_asked():
    """The rare words of Theano's FAQ: by default a statistic waits for its row."""
    lazy, waiting = (Table(np.zeros((2, 1)), rule="rmsprop", catch_up=c) for c in (True, False))
    for table in (lazy, waiting):
        table.update([1], [[2.0]])
        for _ in range(1000):
            table.update([0], [[1.0]])
        table.lookup([1])
    np.testing.assert_allclose(waiting.state["square"][1], 0.01 * 4.0, rtol=1e-14)
    np.testing.assert_allclose(lazy.state["square"][1], 0.01 * 4.0 * 0.99**1000, rtol=1e-12)


def test_a_rule_without_an_absent_step_is_refused():
    @rules.rule(lr=0.5)
    def halving(row, grad, lr):
        return row - lr * grad

    with pytest.raises(RuleError, match="'halving' cannot catch up"):
        Table(np.ones((3, 2)), rule=halving, catch_up=True)
    Table(np.ones((3, 2)), rule=halving)


@pytest.mark.parametrize(
    "hyper", [{}, {"eps": 1.0}, {"beta1": 0.9, "beta2": 0.95}, {"eps": 0.0, "beta2": 0.95}]
)
@pytest.mark.parametrize("size", [1e-2, 1e-9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("name", ["adam", "amsgrad"])
def test_absences_longer_than_any_drift_end_where_dense_ends(name, dtype, size, hyper):
    lazy = Table(np.ones((2, 2), dtype), rule=name, lr=0.01, catch_up=True, **hyper)
    eager = Table(np.ones((2, 2)), rule=name, lr=0.01, **hyper)
    for t in range(1500):
        grads = np.full((2, 2), size if t < 3 else 0.0)
        lazy.update([0, 1] if t < 3 else [0], grads if t < 3 else grads[:1])
        eager.update([0, 1], grads)
    tight = 2e-3 if dtype is np.float16 else 2e-5
    np.testing.assert_allclose(lazy.weights[1], eager.weights[1], rtol=0, atol=tight)


@pytest.mark.parametrize("beta1", [0.9, 0.0])
def test_lion_goes_on_for_ever_unless_nothing_is_left(beta1):
    tables = [
        Table(np.ones((3, 2), np.float32), rule="lion", lr=1e-4, beta1=beta1, beta2=0.6, catch_up=x)
        for x in (True, False)
    ]
    for t in range(1200):  # 0.6^300 is below every float32
        ids = [0] if t % 400 else [0, 1]
        whole = np.zeros((3, 2))
        whole[ids] = 1
        tables[0].update(ids, whole[ids])
        tables[1].update([0, 1, 2], whole)
    # Float32 steps are rounded one by one in the second.
    np.testing.assert_allclose(tables[0].weights, tables[1].weights, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "hyper", "words"),
    [
        ("adam", {"beta2": 0.0}, "not defined with these hyper-parameters"),
        ("adamax", {"beta2": 0.0}, "not defined with these hyper-parameters"),
        ("lion", {"beta2": 0.5}, "with beta2=0.5 its m ends"),
    ],
)
def test_hyper_parameters_that_leave_no_absent_step_are_refused(name, hyper, words):
    with pytest.raises(RuleError, match=words):
        Table(np.ones((2, 2)), rule=name, catch_up=True, **hyper)
    table = Table(np.ones((2, 2)), rule=name, catch_up=True)
    with pytest.raises(RuleError, match=words):
        table.set_hyper(**hyper)
    assert table.hyper["beta2"] != hyper["beta2"]
    table.update([0], np.ones((1, 2)))


def test_copies_of_a_table_pay_with_the_same_kernel():
    from rowtune.kernels.absence import _compiled

    table = Table(np.ones((2, 2)), rule="rmsprop", catch_up=True)
    for _ in range(3):
        table.update([0], np.ones((1, 2)))
        table.lookup([1])
        before = _compiled.cache_info().currsize
        table = copy.deepcopy(pickle.loads(pickle.dumps(table)))
    table.lookup([1])
    table.flush()
    assert _compiled.cache_info().currsize == before > 0
