"""The compiled step: in place, compiled once, the same as its parts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rowtune.jax as rj
from rowtune import six_items

WEIGHTS = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
OPTIMIZERS = {
    "rule": lambda: rj.rule("adam", lr=0.1),
    "rule on a schedule": lambda: rj.rule("adamw", lr=optax.cosine_decay_schedule(0.1, 10)),
    "optax": lambda: rj.rowwise(optax.adam(0.1)),
    "optax on a schedule": lambda: rj.rowwise(optax.adamw(optax.cosine_decay_schedule(0.1, 10))),
    "schedule-free": lambda: rj.rowwise(optax.contrib.schedule_free_adamw(0.1)),
}
every_optimizer = pytest.mark.parametrize("kind", OPTIMIZERS)


def loss(rows):
    return (jnp.sin(rows) ** 2).sum()


def pointers(tree):
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree) if leaf.ndim]


IN_PLACE = [(kind, range(0, 50, 3)) for kind in OPTIMIZERS] + [("rule", "all"), ("optax", "all")]


@pytest.mark.parametrize(("kind", "train"), IN_PLACE)
def test_a_step_is_in_place_and_compiled_once(kind, train, caplog):
    traced = []

    def counted(rows):
        traced.append(rows.shape)
        return loss(rows)

    optimizer = OPTIMIZERS[kind]()
    table = rj.split(WEIGHTS, train)
    state, step = optimizer.init(table), rj.step(counted, optimizer)
    before = pointers((table.block, state))
    assert len(set(before)) == len(before)
    table, state, first = step(table, state, [3, 4, 3, 9])
    assert pointers((table.block, state)) == before
    with jax.log_compiles():
        for ids in ([1, 2, 3, 4], np.array([0, 0, 0, 0]), jnp.asarray([49, 3, 3, 6])):
            table, state, _ = step(table, state, ids)
    assert not [r for r in caplog.records if "ompil" in r.getMessage() and "move" in r.getMessage()]
    assert traced == [(4, 8)]
    assert pointers((table.block, state)) == before
    assert np.isfinite(first)


def test_the_log_of_compilations_sees_one(caplog):
    step = rj.step(loss, rj.rule("sgd"))
    table = rj.split(WEIGHTS)
    with jax.log_compiles():
        step(table, rj.rule("sgd").init(table), [1])
    assert [r for r in caplog.records if "ompil" in r.getMessage() and "move" in r.getMessage()]


@every_optimizer
def test_a_step_is_its_parts(kind):
    optimizer, ids = OPTIMIZERS[kind](), jnp.asarray([[3, 4], [3, 9]])
    table = rj.split(WEIGHTS, [3, 9, 11])
    state = optimizer.init(table)
    value, grads = rj.value_and_grad(loss)(table, ids)
    by_hand, after = jax.jit(optimizer.update)(grads, state, table)
    moved, new, same = rj.step(loss, optimizer)(table, state, ids)
    np.testing.assert_allclose(same, value, rtol=1e-6)
    pairs = zip(jax.tree.leaves((by_hand, after)), jax.tree.leaves((moved, new)), strict=True)
    for left, right in pairs:
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)


def test_a_model_trains_beside_the_table():
    optimizer, dense = rj.rule("adam", lr=0.1), optax.adam(0.1)
    table, params = rj.split(WEIGHTS, [3, 9]), {"w": jnp.ones(8), "none": None}

    def of_both(rows, params, by):
        return by * jnp.square(rows @ params["w"]).sum()

    def clip(grads):
        return rj.clip_by_global_norm(grads, 1.0)

    ids = jnp.asarray([3, 9, 3, 1])
    value, (of_rows, of_params) = rj.value_and_grad(of_both, (0, 1))(table, ids, params, 2.0)
    of_rows, of_params = clip((of_rows, of_params))
    moved, _ = optimizer.update(of_rows, optimizer.init(table), table)
    change, _ = dense.update(of_params, dense.init(params), params)
    expected = optax.apply_updates(params, change)

    step = rj.step(of_both, optimizer, dense=dense, clip=clip)
    both, states = (table, params), (optimizer.init(table), dense.init(params))
    before = pointers((table.block, params, states))
    both, states, same = step(both, states, ids, 2.0)
    np.testing.assert_allclose(same, value, rtol=1e-6)
    np.testing.assert_allclose(both[0].block, moved.block, rtol=1e-5)
    np.testing.assert_allclose(both[1]["w"], expected["w"], rtol=1e-5)
    assert both[1]["none"] is None
    assert both[0].base is table.base
    assert pointers((both[0].block, both[1], states)) == before


def test_arguments_auxiliary_values_and_clipping():
    optimizer, table = rj.rule("sgd", lr=1.0), rj.split(WEIGHTS)

    def scaled(rows, by, *, power=1):
        return (rows * by).sum() ** power, {"rows": rows}

    step = rj.step(
        scaled, optimizer, has_aux=True, clip=lambda grads: rj.clip_by_row_norm(grads, 1.0)
    )
    table, _, (value, aux) = step(table, optimizer.init(table), [3, 5], 10.0)
    np.testing.assert_allclose(value, 10 * WEIGHTS[[3, 5]].sum(), rtol=1e-5)
    assert np.array_equal(aux["rows"], WEIGHTS[[3, 5]])
    moved = np.linalg.norm(rj.merge(table)[jnp.asarray([3, 5])] - WEIGHTS[[3, 5]], axis=1)
    np.testing.assert_allclose(moved, 1.0, rtol=1e-5)


def test_a_step_works_inside_other_programs():
    optimizer, table = rj.rule("adam", lr=0.1), rj.split(WEIGHTS, [1, 2, 3])
    step, batches = rj.step(loss, optimizer), jnp.asarray([[1, 2], [2, 7], [3, 3]])
    state = optimizer.init(table)

    @jax.jit
    def epoch(table, state):
        def one(carry, ids):
            *carry, value = step(*carry, ids)
            return tuple(carry), value

        return jax.lax.scan(one, (table, state), batches)

    (scanned, _), values = epoch(table, state)
    one_by_one = []
    for ids in batches:
        table, state, value = step(table, state, ids)
        one_by_one.append(value)
    np.testing.assert_allclose(values, one_by_one, rtol=1e-6)
    np.testing.assert_allclose(rj.merge(scanned), rj.merge(table), rtol=1e-6)


def test_the_program_of_a_step_does_not_grow_with_the_table():
    def program(rows):
        table, optimizer = rj.split(np.zeros((rows, 8), np.float32)), rj.rule("adam")
        lowered = rj.step(loss, optimizer).lower(table, optimizer.init(table), [1, 2, 3])
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert program(100) == program(100_000)


@pytest.mark.parametrize("dim", [2, 3])
def test_six_items_go_where_numpy_takes_them(dim):
    from rowtune.jax.six_items import run

    problem, seen = six_items.Problem.draw(dim, 2050, seed=3), []
    ours, theirs = run(problem, lambda *x: seen.append(x)), six_items.run_numpy(problem)
    assert ours.engine == "jax"
    np.testing.assert_allclose(ours.trajectory, theirs.trajectory, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=0, atol=1e-9)
    assert seen[-1] == ("training six items", 2000, 2050)
    assert jnp.zeros(1).dtype == jnp.float32  # the user's setting is as it was
