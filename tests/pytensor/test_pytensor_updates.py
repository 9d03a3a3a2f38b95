"""What `updates` makes of a cost: the trap of a second lookup, several lookups, schedules."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import rowtune.pytensor as rp
from rowtune import Table, rules
from rowtune.errors import IdError, NonFiniteError, RuleError


def table_of(num_rows=6, train="all", name="words", dtype=np.float64):
    rng = np.random.default_rng(11)
    return rp.lookup_table(rng.standard_normal((num_rows, 3)).astype(dtype), train, name=name)


def function(*arguments, **more):
    return pytensor.function(*arguments, **{"mode": "FAST_COMPILE", **more})


def test_a_second_lookup_is_refused_with_what_to_write():
    table, ids = table_of(), pt.lvector("ids")
    rows = table[ids]
    cure = r"rows = words\[ids\], keep that variable"
    with pytest.raises(RuleError, match="does not depend on words.*" + cure):
        rp.updates(pt.sum(table[ids] ** 2), rows)
    with pytest.raises(RuleError, match="not only through .*would be lost.*" + cure):
        rp.updates(pt.sum(rows * table[ids]), rows)
    with pytest.raises(RuleError, match="not only through"):
        rp.updates(pt.sum(rows**2) + 0.1 * pt.sum(table.block**2), rows)
    assert table.state == {}, "an error leaves nothing behind"


def test_a_lookup_that_passes_no_gradient_is_no_second_lookup():
    table, ids = table_of(), pt.lvector("ids")
    rows = table[ids]
    nearest = pt.argmax(rows @ table.block.T, axis=1)
    fixed = pytensor.gradient.disconnected_grad(table[nearest])
    updates = rp.updates(pt.sum(rows * fixed), rows, "sgd", lr=1.0)
    step = function([ids], fixed, updates=updates)
    before = table.weights
    expected = before[1] - step([1])[0]
    np.testing.assert_array_equal(table.weights[1], expected)


def test_rows_may_be_used_several_times():
    table, ids = table_of(), pt.lvector("ids")
    rows = table[ids]
    before = table.weights
    updates = rp.updates(pt.sum(rows**2) + pt.sum(rows.T * 3.0), rows, "sgd", lr=0.5)
    function([ids], [], updates=updates)([2, 2])
    np.testing.assert_allclose(table.weights[2], before[2] - 0.5 * 2 * (2 * before[2] + 3.0))


def test_several_lookups_of_one_table_are_one_batch():
    table, words, contexts = table_of(), pt.lvector(), pt.lmatrix()
    reference = Table(table.weights, rule="adam", lr=0.1)
    one, other = table[words], table[contexts]
    cost = pt.sum(one[:, None, :] * other)
    updates = rp.updates(cost, [one, other], "adam", lr=0.1)
    assert list(updates) == [table.block, table.steps, *table.state.values()]
    step = function([words, contexts], cost, updates=updates)
    for _ in range(3):
        a, b = reference.lookup([0, 4]), reference.lookup([[1, 4, 4], [0, 2, 1]])
        step([0, 4], [[1, 4, 4], [0, 2, 1]])
        grads = np.concatenate([b.sum(axis=1), np.repeat(a, 3, axis=0)])
        reference.update([0, 4, 1, 4, 4, 0, 2, 1], grads)
    np.testing.assert_allclose(table.weights, reference.weights, rtol=0, atol=1e-12)
    assert table.steps.get_value().tolist() == [3, 3, 3, 0, 3, 0]
    for wrong in ([one, one], []):
        with pytest.raises(RuleError, match="name each lookup once"):
            rp.updates(cost, wrong)


@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
def test_several_tables_change_together_or_not_at_all(mode):
    users, items = table_of(4, [0, 2], "users"), table_of(6, "all", "items")
    one, other = pt.lvector(), pt.lvector()
    a, b = users[one], items[other]
    scale = pt.dscalar()
    cost = pt.sum(a * b) * scale + pt.sum(b / scale)
    updates = rp.updates(cost, [a, b], "adam", lr=0.1)
    step = function([one, other, scale], cost, updates=updates, mode=mode)
    step([0, 1, 2], [5, 0, 5], 1.0)
    before = {x: x.get_value().tobytes() for x in updates}
    for bad in (([0, 4], [1, 1], 1.0), ([0, 1], [1, 6], 1.0)):
        with pytest.raises(IdError):
            step(*bad)
    for bad in (([0, 1], [1, 1], np.inf), ([1, 1], [2, 2], np.nan)):
        with pytest.raises(NonFiniteError, match="no table was changed"):
            step(*bad)
    assert {x: x.get_value().tobytes() for x in updates} == before
    step([0, 0], [1, 1], 1.0)
    assert users.steps.get_value().tolist() == [2, 1]


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_an_id_outside_of_one_table_comes_before_the_other_is_written(first, merged):
    """In place, and with nothing in the graph but this check that orders the two."""
    tables = table_of(4, name="users"), table_of(6, name="items")
    ids = pt.lvector(), pt.lvector()
    late = ids[1]
    for _ in range(6):
        late = late.reshape((2, -1)).T.ravel()
    rows = [tables[0][ids[0]], tables[1][late]]
    cost = pt.sum(rows[0] ** 2) + pt.sum(rows[1] ** 2)
    rows = [rows[first], rows[1 - first]]
    batches = rows if merged else [rows]
    updates = {}
    for batch in batches:
        updates |= rp.updates(cost, batch, "sgd", lr=0.1, check_finite=False)
    step = function(ids, [], updates=updates, mode=Mode("py", "fast_run"))
    before = [table.weights.tobytes() for table in tables]
    for bad in (([4], [1, 1]), ([1], [1, 6])):
        with pytest.raises(IdError):
            step(*bad)
        assert [table.weights.tobytes() for table in tables] == before
    step([1], [1, 1])
    assert [table.weights.tobytes() for table in tables] != before


def test_dicts_of_several_rules_merge():
    users, items = table_of(4, name="users"), table_of(6, name="items")
    one, other = pt.lvector(), pt.lvector()
    a, b = users[one], items[other]
    dense = pytensor.shared(np.ones(3), name="dense")
    cost = pt.sum(a * dense) + pt.sum(b**2)
    updates = {
        **rp.updates(cost, a, "sgd", lr=0.1),
        **rp.updates(cost, b, "rmsprop", lr=0.1),
        dense: dense - 0.1 * pt.grad(cost, dense),
    }
    step = function([one, other], cost, updates=updates)
    before = users.weights, items.weights, dense.get_value()
    step([1], [2])
    assert not np.array_equal(dense.get_value(), before[2])
    assert not np.array_equal(users.weights[1], before[0][1])
    assert not np.array_equal(items.weights[2], before[1][2])


def test_gradients_of_ones_own():
    table, ids = table_of(), pt.lvector()
    rows = table[ids]
    clipped = pt.clip(pt.grad(pt.sum(100 * rows), rows), -1, 1)
    before = table.weights
    function([ids], [], updates=rp.updates([clipped], rows, "sgd", lr=0.1))([3])
    np.testing.assert_allclose(table.weights[3], before[3] - 0.1)
    with pytest.raises(RuleError, match="one for each of the 1 lookups"):
        rp.updates([clipped, clipped], rows)
    with pytest.raises(RuleError, match="one for each of the 1 lookups"):
        rp.updates([pt.sum(rows)], rows)


def test_what_is_no_cost_or_no_lookup():
    table, ids = table_of(), pt.lvector()
    rows = table[ids]
    with pytest.raises(RuleError, match=r"expected a scalar variable \(write cost.sum"):
        rp.updates(rows**2, rows)
    with pytest.raises(RuleError, match="the cost is a float"):
        rp.updates(1.0, rows)
    for wrong in (rows.reshape((-1,)), rows[0], table, table.block, ids, None):
        with pytest.raises(RuleError, match=r"write rows = table\[ids\]"):
            rp.updates(pt.sum(rows), wrong)


def test_non_finite_gradients_pass_where_that_is_wanted(stepper):
    table = table_of()
    step = stepper(table, "sgd", lr=0.1, check_finite=False)
    step([1], [[np.nan, 1.0, 2.0]])
    assert np.isnan(table.weights[1]).tolist() == [True, False, False]


@pytest.mark.parametrize("name", ["adamw", "momentum", "rowwise_adagrad", "lion"])
def test_a_schedule_is_a_symbolic_number(name, stepper):
    """Every number of a rule as a variable: the learning rate as an input, the rest shared."""
    table = table_of(train=[1, 4, 5], dtype=np.float32)
    other = {"beta1": 0.8, "beta2": 0.95, "momentum": 0.7, "lr_decay": 0.2, "eps": 1e-3}
    other = {x: value for x, value in other.items() if x in rules.get(name).defaults}
    reference = Table(table.weights, [1, 4, 5], name, lr=0.1, weight_decay=0.3, **other)
    lr = pt.dscalar("lr")
    known = {"lr", "decoupled", "nesterov", "initial_accumulator_value"}
    hyper = {
        x: pytensor.shared(np.float64(value), name=x)
        for x, value in reference._tuned.hyper.items()
        if x not in known
    }
    step = stepper(table, name, inputs=[lr], lr=lr, **hyper)
    rng = np.random.default_rng(12)
    for i in range(1, 9):
        reference.lr = 0.1 / i
        ids, grads = rng.integers(0, 6, 5), rng.standard_normal((5, 3)).astype(np.float32)
        step(ids, grads, 0.1 / i)
        reference.update(ids, grads)
    assert table.weights.tobytes() == reference.weights.tobytes()


def test_the_range_of_a_symbolic_number_is_checked_when_it_comes(stepper):
    table, lr, beta = table_of(dtype=np.float32), pt.dscalar("lr"), pt.dscalar("beta1")
    step = stepper(table, "adam", inputs=[lr, beta], lr=lr, beta1=beta)
    grads = np.ones((1, 3), np.float32)
    before = table.weights.tobytes()
    for wrong in (-0.1, np.nan, np.inf, 1e-60, 1e60):
        with pytest.raises(RuleError, match="lr has come to be outside its range"):
            step([0], grads, wrong, 0.9)
    for wrong in (1.0, -0.5):
        with pytest.raises(RuleError, match=r"beta1 .*below 1"):
            step([0], grads, 0.1, wrong)
    assert table.weights.tobytes() == before
    step([0], grads, 0.0, 0.0)
    assert table.weights.tobytes() == before
    assert table.steps.get_value()[0] == 1


def test_hyper_parameters_that_are_refused_at_once():
    table, ids = table_of(dtype=np.float32), pt.lvector()
    rows = table[ids]
    cost, symbol = pt.sum(rows), pt.dscalar()
    for rule, hyper, message in [
        ("adam", {"lr": -1.0}, "lr=-1.0"),
        ("adam", {"beta1": 1.0}, "below 1"),
        ("adam", {"lr": pt.constant(-1.0)}, "lr="),
        ("adam", {"lr": 1e-60}, "float32, the dtype of the state"),
        ("adam", {"speed": 1.0}, "takes no hyper-parameter 'speed'"),
        ("adam", {"speed": symbol}, "takes no hyper-parameter 'speed'"),
        ("adam", {"lr": pt.dvector()}, "expected a scalar"),
        ("adam", {"lr": pt.zscalar()}, "expected a scalar"),
        ("adam", {"betas": (symbol, 0.9), "beta1": 0.5}, "give betas"),
        ("adam", {"decoupled": symbol}, "decoupled must be known"),
        ("adagrad", {"initial_accumulator_value": symbol}, "must be known"),
        ("momentum", {"nesterov": symbol}, "must be known"),
        ("adum", {}, "there is no rule 'adum'"),
    ]:
        with pytest.raises(RuleError, match=message):
            rp.updates(cost, rows, rule, **hyper)
    assert table.state == {}
    rp.updates(cost, rows, "adam", betas=(symbol, 0.9))


def test_a_table_has_one_state_and_one_rule():
    table, ids = table_of(), pt.lvector()
    rows = table[ids]
    first = rp.updates(pt.sum(rows), rows, "adagrad", lr=0.1)
    assert list(rp.updates(pt.sum(rows**2), rows, "adagrad", lr=0.2)) == list(first)
    for rule, hyper in [("adam", {}), ("adagrad", {"initial_accumulator_value": 1.0})]:
        with pytest.raises(RuleError, match="already has the state of adagrad"):
            rp.updates(pt.sum(rows), rows, rule, **hyper)


def test_state_can_be_saved_and_put_back(stepper):
    grads = np.random.default_rng(13).standard_normal((8, 4, 3))
    ids = np.random.default_rng(14).integers(0, 6, (8, 4))
    runs = []
    for breaks in (False, True):
        table = table_of()
        step = stepper(table, "adam", lr=0.1)
        for i in range(8):
            if breaks and i == 4:
                saved = [x.get_value() for x in (table.block, table.steps, *table.state.values())]
                table = table_of()
                step = stepper(table, "adam", lr=0.1)
                variables = (table.block, table.steps, *table.state.values())
                for variable, value in zip(variables, saved, strict=True):
                    variable.set_value(value)
            step(ids[i], grads[i])
        runs.append(table.weights.tobytes())
    assert runs[0] == runs[1]
