"""The touched rows: static shapes, duplicates summed before any square, frozen ids nowhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rowtune.jax as rj
from rowtune.errors import ShapeError

WEIGHTS = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
TRAIN = [7, 2, 3, 0]
SQUARES = ["adagrad", "rmsprop", "adam", "rowwise_adagrad", "adadelta"]


@pytest.mark.parametrize("jit", [False, True])
def test_touched_rows_are_unique_ascending_and_padded(jit):
    table = rj.split(WEIGHTS, TRAIN)
    touch = jax.jit(rj.touch) if jit else rj.touch
    touched = touch(table, jnp.asarray([[7, 1, 2], [2, 7, 8]]))
    assert touched.slots.tolist() == [1, 3, 6, 7]  # slots of 2 and 7, then k + place
    assert np.array_equal(touched.rows[:2], WEIGHTS[[2, 7]])
    assert touched.positions.tolist() == [[1, 4, 0], [0, 1, 4]]
    assert touch(table, jnp.asarray([1, 8])).slots.tolist() == [4, 5]
    assert touch(table, jnp.asarray(3)).slots.tolist() == [2]
    assert touch(table, jnp.zeros((2, 0), int)).slots.shape == (0,)


def test_touched_rows_of_many_random_batches():
    rng = np.random.default_rng(1)
    table = rj.split(rng.standard_normal((60, 2)).astype(np.float32), np.arange(0, 60, 2))
    touch, block = jax.jit(rj.touch), np.asarray(table.block)
    for _ in range(50):
        ids = rng.integers(0, 60, 40)
        slots, rows, positions = map(np.asarray, touch(table, ids))
        assert (np.diff(slots) > 0).all()
        expected = np.unique(ids[ids % 2 == 0]) // 2
        assert slots[: len(expected)].tolist() == expected.tolist()
        assert (slots[len(expected) :] >= 30).all()
        trained = ids % 2 == 0
        assert np.array_equal(rows[positions[trained]], block[ids[trained] // 2])
        assert (positions[~trained] == 30).all()


@pytest.mark.parametrize("name", SQUARES)
@pytest.mark.parametrize("make", [rj.value_and_grad, None])
def test_duplicates_are_summed_before_they_are_squared(name, make):
    optimizer, table = rj.rule(name, lr=0.1), rj.split(WEIGHTS, TRAIN)
    by = np.arange(1.0, 6.0, dtype=np.float32)[:, None]
    ids = np.array([2, 7, 2, 2, 1])

    def grads_of(ids, by):
        if make is None:
            return rj.row_grads(table, ids, by * np.ones((1, 3)))
        return make(lambda rows: (rows * by).sum())(table, ids)[1]

    repeated = optimizer.update(grads_of(ids, by), optimizer.init(table), table)
    summed = np.array([1 + 3 + 4, 2, 5], np.float32)[:, None]
    once = optimizer.update(grads_of(ids[[0, 1, 4]], summed), optimizer.init(table), table)
    for left, right in zip(jax.tree.leaves(repeated), jax.tree.leaves(once), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)


@pytest.mark.parametrize("make", [lambda: rj.rule("adam"), lambda: rj.rowwise(optax.adamw(0.1))])
@pytest.mark.parametrize("ids", [[1, 4, 8, 1], [], np.zeros((2, 0, 3), int)])
def test_a_batch_without_trainable_rows_moves_nothing(make, ids):
    optimizer, table = make(), rj.split(WEIGHTS, TRAIN)
    state = optimizer.init(table)
    grads = rj.row_grads(table, [0, 2, 3, 7], np.ones((4, 3)))
    table, state = optimizer.update(grads, state, table)
    before = jax.tree.map(np.asarray, (table, state))
    for move in (rj.step(jnp.sum, optimizer), jax.jit(rj.step(jnp.sum, optimizer))):
        table, state, _ = move(table, state, ids)
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves((table, state)), strict=True):
            if np.ndim(old):  # the table's own steps go on
                assert np.array_equal(old, new)


def test_touched_means_looked_up_whatever_the_gradient():
    optimizer, table = rj.rule("sgd", lr=0.5, weight_decay=0.5), rj.split(WEIGHTS, TRAIN)
    _, grads = rj.value_and_grad(lambda rows: rows[0].sum())(table, [2, 3])
    moved, state = optimizer.update(grads, optimizer.init(table), table)
    assert state.steps.tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(moved.block[2], 0.75 * WEIGHTS[3], rtol=1e-6)
    assert np.array_equal(moved.block[3], WEIGHTS[7])


def test_gradients_with_respect_to_a_model_too():
    table, params = rj.split(WEIGHTS, TRAIN), {"w": jnp.ones(3), "b": jnp.zeros(())}

    def loss(rows, params, scale):
        return scale * ((rows @ params["w"] + params["b"]) ** 2).sum(), rows

    ids = jnp.asarray([[2, 1], [2, 7]])
    both = rj.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (value, rows), (of_rows, of_params) = jax.jit(both)(table, ids, params, 3.0)
    matrix = jnp.asarray(WEIGHTS)
    (expected, _), (dense, dense_params) = jax.value_and_grad(
        lambda m, p: loss(m[ids], p, 3.0), (0, 1), has_aux=True
    )(matrix, params)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert np.array_equal(rows, WEIGHTS[ids])
    assert of_rows.slots.tolist() == [1, 3, 6, 7]
    np.testing.assert_allclose(of_rows.values[:2], dense[jnp.asarray([2, 7])], rtol=1e-5)
    assert not of_rows.values[2:].any()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), of_params, dense_params)
    _, alone = rj.value_and_grad(lambda r, p: (r @ p["w"]).sum(), argnums=1)(table, ids, params)
    np.testing.assert_allclose(alone["w"], WEIGHTS[ids].sum((0, 1)), rtol=1e-5)
    _, (last, first) = rj.value_and_grad(loss, argnums=(-1, 0), has_aux=True)(
        table, ids, params, 3.0
    )
    np.testing.assert_allclose(last, value / 3, rtol=1e-6)
    assert isinstance(first, rj.RowGrads)


def test_one_table_looked_up_twice_has_one_gradient():
    table = rj.split(WEIGHTS, TRAIN)
    ids = {"centre": jnp.asarray([2, 7]), "context": [[0, 2], [1, 3]]}

    def loss(rows):
        return jnp.einsum("nd,ncd->", rows["centre"], rows["context"])

    value, grads = rj.value_and_grad(loss)(table, ids)
    dense = jax.grad(
        lambda m: loss({k: m[jnp.asarray(i)] for k, i in ids.items()})
    )(jnp.asarray(WEIGHTS))  # fmt: skip
    assert grads.slots.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(grads.values, dense[jnp.asarray([0, 2, 3, 7])], rtol=1e-5)
    np.testing.assert_allclose(
        value, loss({k: WEIGHTS[np.asarray(i)] for k, i in ids.items()}), rtol=1e-5
    )


def test_several_tables_at_once():
    tables = {"items": rj.split(WEIGHTS, TRAIN), "users": rj.split(WEIGHTS[:4])}
    ids = {"users": jnp.asarray([1, 1, 3]), "items": jnp.asarray([7, 1, 2])}
    optimizer = rj.rule("adam", lr=0.1)

    def loss(rows):
        return (rows["users"] * rows["items"]).sum()

    value, grads = rj.value_and_grad(loss)(tables, ids)
    assert grads["users"].slots.tolist() == [1, 3, 6]
    assert grads["items"].slots.tolist() == [1, 3, 6]
    np.testing.assert_allclose(grads["users"].values[0], WEIGHTS[7] + WEIGHTS[1], rtol=1e-6)
    state = optimizer.init(tables)
    moved, state = optimizer.update(grads, state, tables)
    assert state["users"].steps.tolist() == [0, 1, 0, 1]
    step = rj.step(loss, optimizer)
    again, _, same = step(tables, optimizer.init(tables), ids)
    np.testing.assert_allclose(same, value, rtol=1e-6)
    for name in tables:
        np.testing.assert_allclose(again[name].block, moved[name].block, rtol=1e-6)


def test_vmap_over_batches_of_gradients():
    table, ids = rj.split(WEIGHTS, TRAIN), jnp.asarray([[2, 2, 1], [0, 7, 2]])
    grads = jax.vmap(lambda i: rj.value_and_grad(jnp.sum)(table, i)[1])(ids)
    assert grads.slots.tolist() == [[1, 5, 6], [0, 1, 3]]
    assert grads.values[:, :, 0].tolist() == [[2, 0, 0], [1, 1, 1]]


def test_what_does_not_fit_is_refused():
    table = rj.split(WEIGHTS, TRAIN)
    with pytest.raises(ShapeError, match=r"gradients have shape \(3, 2\); expected \(2, 3\)"):
        rj.row_grads(table, [1, 2], np.ones((3, 2)))
    with pytest.raises(ShapeError, match=r"a table is a ndarray; expected what .*split returns"):
        rj.value_and_grad(jnp.sum)(WEIGHTS, [1])


def test_clipping():
    grads = rj.RowGrads(jnp.asarray([1, 2, 9]), jnp.asarray([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]))
    by_row = rj.clip_by_row_norm(grads, 1.0)
    np.testing.assert_allclose(by_row.values, [[0.6, 0.8], [0.3, 0.4], [0, 0]], rtol=1e-6)
    assert by_row.slots is grads.slots
    both = {"rows": grads, "model": jnp.asarray([12.0])}
    norm = np.sqrt(25 + 0.25 + 144)
    clipped = rj.clip_by_global_norm(both, 1.0)
    np.testing.assert_allclose(clipped["rows"].values, grads.values / norm, rtol=1e-6)
    np.testing.assert_allclose(clipped["model"], 12 / norm, rtol=1e-6)
    assert np.array_equal(rj.clip_by_global_norm(grads, 6.0).values, grads.values)
    zero = rj.RowGrads(grads.slots, jnp.zeros((3, 2)))
    assert not rj.clip_by_global_norm(zero, 1.0).values.any()
    assert not rj.clip_by_row_norm(zero, 1.0).values.any()
