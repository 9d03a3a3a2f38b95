"""Every rule in PyTensor's graph against the naive judge and, to the bit, the NumPy engine."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from judge import Judge

import rowtune.pytensor as rp
from rowtune import Table, rules
from rowtune.rules.operations import row_norm

HYPER = {"lr_decay": 0.1, "initial_accumulator_value": 0.3, "momentum": 0.7, "eps": 1e-3}
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
TRAIN, FROZEN = [7, 0, 3, 8], [1, 2, 4, 5, 6]


def hyper_of(name, **more):
    rule = rules.get(name)
    given = {k: v for k, v in HYPER.items() if k in rule.defaults}
    return rule.hyper(lr=0.03, **given, **more)


def batches(dtype, count=25, shape=(12,)):
    rng = np.random.default_rng(1)
    for i in range(count):
        ids = rng.integers(0, 9, shape) if i % 5 else np.zeros((0, *shape[1:]), int)
        yield ids, rng.standard_normal((*ids.shape, 5)).astype(dtype)


def weights_of(dtype):
    return np.random.default_rng(2).standard_normal((9, 5)).astype(dtype)


@pytest.mark.parametrize("decay", [(0.0, False), (0.1, False), (0.1, True)])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", rules.names())
def test_a_rule_agrees_with_the_judge(name, dtype, decay, stepper):
    hyper = hyper_of(name, weight_decay=decay[0], decoupled=decay[1])
    table = rp.lookup_table(weights_of(dtype), train=TRAIN)
    step = stepper(table, name, **hyper)
    judge = Judge(weights_of(dtype), TRAIN, name, hyper)
    for ids, grads in batches(dtype):
        step(ids, grads)
        judge.update(ids, grads)
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    np.testing.assert_allclose(table.weights, judge.matrix(), **tolerance)
    assert table.steps.get_value().tolist() == [judge.steps[i] for i in (0, 3, 7, 8)]
    for state, first in rules.get(name).first_values(hyper).items():
        value = table.state[state].get_value()
        expected = judge.state_array(state, (0, 3, 7, 8), first)
        assert value.dtype == table.weights.dtype == table.block.dtype == dtype
        np.testing.assert_allclose(value, expected, **tolerance)


def test_in_numba_mode_rules_have_the_bits_of_the_numpy_engine():
    """One of each form: no state, several, one number per row; a clock that never stands still."""
    dtype = np.float32
    ids, grads = pt.lvector("ids"), pt.matrix("grads", dtype=dtype)
    tables, references, cost, updates = [], [], 0, {}
    for i, name in enumerate(["sgd", "adamw", "rowwise_adagrad", "centered_rmsprop_momentum"]):
        hyper = hyper_of(name, weight_decay=0.1, decoupled=bool(i % 2))
        tables.append(rp.lookup_table(weights_of(dtype), train=TRAIN, name=name))
        references.append(Table(weights_of(dtype), train=TRAIN, rule=name, **hyper))
        rows = tables[-1][ids]
        updates |= rp.updates(pt.sum(rows * grads), rows, name, **hyper)
        cost += pt.sum(rows * grads)
    step = pytensor.function([ids, grads], cost, updates=updates, mode="NUMBA")
    for batch in batches(dtype):
        step(*batch)
        for reference in references:
            reference.update(*batch)
    for table, reference in zip(tables, references, strict=True):
        assert table.weights.tobytes() == reference.weights.tobytes(), table.name
        assert table.steps.get_value().tolist() == reference.steps.tolist()
        for name, array in reference.state.items():
            assert table.state[name].get_value().tobytes() == array.tobytes(), (table.name, name)


def test_a_long_group_of_duplicates_is_summed_before_squares(stepper):
    table = rp.lookup_table(np.zeros((3, 2)), train=[1, 2])
    step = stepper(table, "adagrad", lr=1.0, eps=0.0, mode="NUMBA")
    step(np.ones(1000, int), np.full((1000, 2), 0.5))
    assert table.state["total"].get_value().tolist() == [[250_000.0] * 2, [0.0, 0.0]]
    assert table.block.get_value().tolist() == [[-1.0, -1.0], [0.0, 0.0]]


def test_a_row_that_first_comes_at_step_5000_moves_by_the_learning_rate(stepper):
    table = rp.lookup_table(np.zeros((2, 1)))
    step = stepper(table, "adam", lr=0.01, eps=0.0)
    for _ in range(4999):
        step([0], [[1.0]])
    step([0, 1], [[1.0], [0.3]])
    np.testing.assert_allclose(table.block.get_value()[1], -0.01, rtol=1e-12)
    assert table.steps.get_value().tolist() == [5000, 1]


def test_an_all_frozen_batch_leaves_first_and_last_slot(stepper):
    table = rp.lookup_table(weights_of("float64"), train=TRAIN)
    step = stepper(table, "adam", lr=0.1, weight_decay=0.1)
    variables = [table.block, table.steps, *table.state.values()]
    before = [x.get_value().tobytes() for x in variables]
    step(FROZEN, np.full((5, 5), np.nan))  # gradients of frozen ids are ignored, whatever they are
    step(np.zeros(0, int), np.zeros((0, 5)))
    assert [x.get_value().tobytes() for x in variables] == before
    step([8, 1], np.ones((2, 5)))
    assert table.steps.get_value().tolist() == [0, 0, 0, 1]


def test_where_nothing_trains_nothing_is_updated():
    table = rp.lookup_table(np.ones((3, 2)), train=[])
    ids = pt.lvector()
    rows = table[ids]
    assert rp.updates(pt.sum(rows), rows, "adam") == {}
    assert pytensor.function([ids], rows, mode="FAST_COMPILE")([0, 2]).tolist() == [[1, 1]] * 2
    assert table.weights.tolist() == [[1, 1]] * 3


def test_a_rule_of_ones_own():
    @rules.rule(state={"size": rules.per_row(0.0)}, clock=(falling, "rate"), lr=1.0)
    def own(row, grad, size, rate):
        size = size + row_norm(grad)
        return row - rate * grad / size, size

    table = rp.lookup_table(np.zeros((2, 2), np.float32))
    ids = pt.lvector()
    rows = table[ids]
    updates = rp.updates(pt.sum(rows * [3.0, 4.0]), rows, own, lr=2.0)
    step = pytensor.function([ids], [], updates=updates, mode="NUMBA")
    step([1, 1])
    step([1])
    assert table.state["size"].get_value().tolist() == [[0.0], [15.0]]
    expected = -np.array([3.0, 4.0]) * (2 * 2 / 10 + 1 / 15)
    np.testing.assert_allclose(table.block.get_value()[1], expected, rtol=1e-6)


def falling(t, lr):
    return (lr / t,)


def test_a_clock_goes_on_where_its_table_ends(stepper):
    for name, hyper, factor in [
        ("adagrad", {"lr_decay": 0.1, "eps": 0.0}, 1 / 50_001.0),  # never stands still
        ("adam", {"eps": 0.0}, 0.1 / 0.001**0.5),  # no correction is left
    ]:
        table = rp.lookup_table(np.zeros((2, 1)), name=name)
        step = stepper(table, name, lr=1.0, **hyper)
        table.steps.set_value(np.array([0, 500_000], np.int32))
        step([1], [[2.0]])
        np.testing.assert_allclose(table.weights[1], -factor, rtol=1e-9)
        assert table.steps.get_value().tolist() == [0, 500_001]
