"""Every rule on this engine, against the naive judge, and what depends on step counts."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from judge import Judge

import rowtune.jax as rj
from rowtune import Table, numpy_engine, rules
from rowtune.errors import RuleError
from rowtune.jax.clock import ClockReader
from rowtune.rules.tuned import Tuned
from rowtune.step import Trained

HYPER = {"lr_decay": 0.1, "initial_accumulator_value": 0.3, "momentum": 0.7, "eps": 1e-3}
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
TRAIN = [7, 0, 3, 8]


def hyper_of(name, **more):
    rule = rules.get(name)
    return rule.hyper(lr=0.03, **{k: v for k, v in HYPER.items() if k in rule.defaults}, **more)


@partial(jax.jit, static_argnums=0)
def update(optimizer, table, state, ids, grads):
    return optimizer.update(rj.row_grads(table, ids, grads), state, table)


DECAYS = {"none": (0.0, False), "coupled": (0.1, False), "decoupled": (0.1, True)}
CASES = [("float64", kind) for kind in DECAYS] + [("float32", "decoupled")]


def trained(weights, hypers, batches, columns=None):
    """The rules of ``hypers`` over all batches, in one program: name -> (table, state)."""
    optimizers = {name: rj.rule(name, **hyper) for name, hyper in hypers.items()}
    tables = dict.fromkeys(hypers, rj.split(weights, TRAIN, columns))
    states = {name: optimizer.init(tables[name]) for name, optimizer in optimizers.items()}

    def one(carry, batch):
        grads = rj.row_grads(tables["sgd"], *batch)
        return {
            name: optimizer.update(grads, *reversed(carry[name]))
            for name, optimizer in optimizers.items()
        }, None

    start = {name: (tables[name], states[name]) for name in hypers}
    return jax.jit(lambda start: jax.lax.scan(one, start, batches)[0])(start)


def drawn(rng, count, width, dtype):
    grads = rng.standard_normal((count, 3, 4, width)).astype(dtype)
    return rng.integers(0, 9, (count, 3, 4)), grads


@pytest.mark.parametrize(("dtype", "kind"), CASES, indirect=["dtype"])
def test_every_rule_agrees_with_the_judge(dtype, kind):
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((9, 5)).astype(dtype)
    decay, decoupled = DECAYS[kind]
    hypers = {n: hyper_of(n, weight_decay=decay, decoupled=decoupled) for n in rules.names()}
    batches = drawn(rng, 25, 5, dtype)
    found, tight = trained(weights, hypers, batches), TOLERANCE[dtype]
    for name, (table, state) in found.items():
        judge = Judge(weights, TRAIN, name, hypers[name])
        for ids, grads in zip(*batches, strict=True):
            judge.update(ids, grads)
        agree = partial(np.testing.assert_allclose, rtol=tight, atol=tight, err_msg=name)
        agree(rj.merge(table), judge.matrix())
        assert state.steps.tolist() == [judge.steps[i] for i in (0, 3, 7, 8)]
        assert int(state.table_steps) == 25
        for key, first in rules.get(name).first_values(hypers[name]).items():
            assert state.arrays[key].dtype == dtype
            agree(state.arrays[key], judge.state_array(key, (0, 3, 7, 8), first))


def test_columns_too():
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((9, 5)).astype(np.float32)
    some = ("sgd", "nesterov", "adam", "rowwise_adagrad")
    hypers = {name: hyper_of(name, weight_decay=0.1) for name in some}
    ids, grads = drawn(rng, 5, 5, np.float32)
    found = trained(weights, hypers, (ids, grads[..., [1, 4]]), columns=[4, 1])
    for name, (table, _) in found.items():
        judge = Judge(weights, TRAIN, name, hypers[name], columns=[1, 4])
        for batch in zip(ids, grads, strict=True):
            judge.update(*batch)
        np.testing.assert_allclose(rj.merge(table), judge.matrix(), rtol=2e-5, atol=2e-5)
        assert np.array_equal(rj.merge(table)[:, [0, 2, 3]], weights[:, [0, 2, 3]])


# Optimizers of optax that a rule equals where every row is touched in every step.
OPTAX = {
    "sgd": lambda h: optax.sgd(h["lr"]),
    "momentum": lambda h: optax.sgd(h["lr"], momentum=h["momentum"]),
    "nesterov": lambda h: optax.sgd(h["lr"], momentum=h["momentum"], nesterov=True),
    "adam": lambda h: optax.adam(h["lr"], h["beta1"], h["beta2"], h["eps"]),
    "adamw": lambda h: optax.adamw(
        h["lr"], h["beta1"], h["beta2"], h["eps"], weight_decay=h["weight_decay"]
    ),
    "lion": lambda h: optax.lion(h["lr"], h["beta1"], h["beta2"], weight_decay=0.0),
    "rmsprop": lambda h: optax.rmsprop(h["lr"], h["alpha"], h["eps"], eps_in_sqrt=False),
    "adadelta": lambda h: optax.adadelta(h["lr"], h["rho"], h["eps"]),
}


@pytest.mark.parametrize("name", OPTAX)
def test_touching_every_row_in_every_step_equals_optax(name, dtype):
    rng = np.random.default_rng(3)
    weights, hyper = rng.standard_normal((8, 5)).astype(dtype), hyper_of(name)
    table, optimizer, dense = rj.split(weights), rj.rule(name, **hyper), OPTAX[name](hyper)
    state, matrix = optimizer.init(table), jnp.asarray(weights)
    of_dense = dense.init(matrix)
    for _ in range(30):
        grads = jnp.asarray(rng.standard_normal((8, 5)).astype(dtype))
        table, state = update(optimizer, table, state, np.arange(8), grads)
        change, of_dense = dense.update(grads, of_dense, matrix)
        matrix = optax.apply_updates(matrix, change)
    tight = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(table.block, matrix, rtol=tight, atol=tight)


@pytest.mark.parametrize("kind", ["rule", "rowwise"])
def test_a_rare_row_starts_at_its_own_step_one(kind):
    optimizer = rj.rule("adam", 0.01) if kind == "rule" else rj.rowwise(optax.adam(0.01))
    table = rj.split(np.zeros((2, 3), np.float32))
    state = optimizer.init(table)

    @jax.jit
    def many(table, state):
        def one(carry, _):
            table, state = carry
            return update(optimizer, table, state, jnp.zeros(1, int), jnp.ones((1, 3))), None

        return jax.lax.scan(one, (table, state), length=5000)[0]

    table, state = many(table, state)
    table, state = update(optimizer, table, state, [1], np.full((1, 3), 5.0))
    # 1.00 x lr; optax takes 1 - beta2 in float32
    np.testing.assert_allclose(table.block[1], -0.01, rtol=1e-6 if kind == "rule" else 1e-5)


def test_a_schedule_follows_the_steps_of_the_table():
    table, optimizer = rj.split(np.zeros((2, 1), np.float32)), rj.rule("sgd", lr=lambda t: 10.0**t)
    state = optimizer.init(table)
    for ids in ([0], [0], [], [0, 1]):
        table, state = update(optimizer, table, state, ids, np.full((len(ids), 1), -1.0))
    assert table.block.tolist() == [[1011.0], [1000.0]]  # row 1 comes at step 3, not at its first


def test_a_schedule_reaches_decoupled_weight_decay():
    optimizer = rj.rule("sgd", lr=lambda t: 0.5 * (t + 1), weight_decay=0.5, decoupled=True)
    table = rj.split(np.ones((1, 1), np.float32))
    state = optimizer.init(table)
    for _ in range(2):
        table, state = update(optimizer, table, state, [0], np.zeros((1, 1)))
    assert table.block.tolist() == [[0.75 * 0.5]]


def test_it_equals_the_table_of_numpy_with_a_rule_of_the_users_own():
    @rules.rule(state={"seen": 0.0, "each": rules.per_row(2.0)}, lr=0.5)
    def own(row, grad, seen, each, lr):
        """All names that a rule may use."""
        return (
            where(grad > lr, sign(grad), maximum(row, 0.1)) - lr * row_norm(abs(grad)),  # noqa: F821
            sqrt(seen + 1.0) + grad,  # noqa: F821
            each + row_mean(grad),  # noqa: F821
        )

    rng = np.random.default_rng(4)
    weights = rng.standard_normal((6, 4)).astype(np.float32)
    table, optimizer = rj.split(weights, [1, 4]), rj.rule(own, lr=0.25)
    state, plain = optimizer.init(table), Table(weights, [1, 4], own, lr=0.25)
    for _ in range(4):
        ids, grads = rng.integers(0, 6, 9), np.abs(rng.standard_normal((9, 4))).astype(np.float32)
        table, state = update(optimizer, table, state, ids, grads)
        trained = Trained(plain.block, tuple(plain.state.values()), plain._block.steps)
        numpy_engine.update_plain(plain._tuned, trained, plain.rows.slots(ids), grads, True)
    np.testing.assert_allclose(table.block, plain.block, rtol=1e-5)
    np.testing.assert_allclose(state.arrays["each"], plain.state["each"], rtol=1e-5)


CLOCKS = [
    ("adam", {}),
    ("adam", {"beta2": 0.99999}),
    ("adamax", {"beta1": 0.999999}),
    ("adagrad", {"lr_decay": 1e-4}),
    ("adagrad", {"lr_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "hyper"), CLOCKS)
def test_clocks_keep_their_digits_at_any_step_count(name, hyper, dtype):
    tuned = Tuned(name, dtype, **hyper)
    rule = tuned.rule
    t = np.unique(np.geomspace(1, 2**31 - 1, 3000).astype(np.int32))
    edges = 2 ** np.arange(1, 31)
    t = np.unique(np.concatenate([t, edges - 1, edges, edges + 1])).astype(np.int32)
    ours = np.stack(jax.jit(ClockReader(tuned))(jnp.asarray(t)), axis=1)[..., 0]
    given = {name: tuned.hyper[name] for name in rule.clock_takes}
    exact = np.stack(rule.clock(t.astype(np.float64), **given), axis=1)
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, exact, rtol=1e-10 if dtype == "float64" else 2e-7)


def test_nothing_is_promoted_where_float64_is_on(x64):
    table = rj.split(np.zeros((3, 2), np.float32))
    for optimizer in (rj.rule("adamw", lr=lambda t: 0.1), rj.rowwise(optax.adamw(lambda t: 0.1))):
        state = optimizer.init(table)
        moved, after = update(optimizer, table, state, [1], np.ones((1, 2)))
        assert moved.block.dtype == jnp.float32
        assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)
        assert not any(x.dtype == jnp.float64 for x in jax.tree.leaves(after))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rj.rule("adma"), "there is no rule 'adma'; expected one of sgd"),
        (lambda: rj.rule("sgd", beta1=0.9), "'sgd' takes no hyper-parameter 'beta1'"),
        (lambda: rj.rule("sgd", lr=-1), "lr=-1; expected at least 0"),
        (lambda: rj.rule("adam", lr=lambda t: 0.1, beta2=1.0), "beta2=1.0"),
        (lambda: rj.rowwise(0.1), "rowwise was given a float; expected an optax transformation"),
        (lambda: rj.rowwise(rj.rule("sgd")), "is an optimizer of rows already"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(make, words):
    with pytest.raises(RuleError, match=words):
        make()


def test_a_clock_of_the_learning_rate_takes_no_schedule():
    def rate(t, lr):
        return (lr / t,)

    @rules.rule(clock=(rate, "rate"), lr=1.0)
    def falling(row, grad, rate):
        return row - rate * grad

    with pytest.raises(RuleError, match="does not take lr as a number of its own"):
        rj.rule(falling, lr=lambda t: 0.1)
    table, optimizer = rj.split(np.zeros((1, 1), np.float32)), rj.rule(falling, lr=1.0)
    state = optimizer.init(table)
    for _ in range(2):
        table, state = update(optimizer, table, state, [0], [[1.0]])
    assert table.block.tolist() == [[-1.5]]
