"""Lookups: what comes back, what is refused, what may be done to them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

import rowtune.jax as rj
from rowtune.errors import IdError, NonFiniteError, ShapeError

WEIGHTS = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
TRAIN = [5, 1, 2]
KINDS = {
    "some rows": {"train": TRAIN},
    "all rows": {},
    "no row": {"train": []},
    "columns": {"columns": [2, 0]},
    "rows and columns": {"train": TRAIN, "columns": slice(1, 3)},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def table_of(kind):
    return rj.split(WEIGHTS, **KINDS[kind])


@every_kind
@pytest.mark.parametrize("ids", [3, [1, 1, 6, 0], [[[0, 1]], [[5, 2]]], np.zeros((2, 0), int)])
def test_a_lookup_gives_the_rows(kind, ids):
    table, expected = table_of(kind), WEIGHTS[np.asarray(ids, int)]
    assert np.array_equal(rj.lookup(table, ids), expected)
    given = jnp.asarray(ids, jnp.int32)
    assert np.array_equal(jax.jit(rj.lookup)(table, given), expected)
    assert np.array_equal(rj.merge(table), WEIGHTS)


@every_kind
def test_it_gives_the_rows_of_the_block_where_they_train(kind):
    table = table_of(kind)
    table = table.replace(block=table.block + 1)
    expected = WEIGHTS.copy()
    rows = np.arange(7)[slice(None) if "train" not in KINDS[kind] else sorted(KINDS[kind]["train"])]
    columns = {"columns": [0, 2], "rows and columns": [1, 2]}.get(kind, [0, 1, 2])
    expected[np.ix_(rows.astype(int), columns)] += 1
    assert np.array_equal(rj.lookup(table, np.arange(7)), expected)
    assert np.array_equal(rj.merge(table), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint32, np.int64, np.uint64])
def test_ids_of_any_integer_dtype(dtype):
    table = rj.split(np.arange(600.0, dtype=np.float32)[:, None], train=[100])
    ids = np.array([0, 100, 127], dtype)
    assert rj.lookup(table, ids)[:, 0].tolist() == [0, 100, 127]
    assert jax.jit(rj.lookup)(table, ids)[:, 0].tolist() == [0, 100, 127]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (
            [0, -1],
            r"id -1 is not a row: expected 0 to 6 \(negative ids do not count from the end\)",
        ),
        ([7], "id 7 is not a row: expected 0 to 6"),
        ([0.0], "ids have dtype float"),
        ([True], "ids have dtype bool"),
        ([[0], [1, 2]], "ids are not one array"),
    ],
)
@pytest.mark.parametrize("as_jax", [False, True])
def test_ids_that_can_be_seen_are_checked(ids, words, as_jax):
    table, step = table_of("some rows"), rj.step(jnp.sum, rj.rule("sgd"))
    if as_jax and len(np.shape(ids[0])) == 0:
        ids = jnp.asarray(ids)
    grad = rj.value_and_grad(jnp.sum)
    state = rj.rule("sgd").init(table)
    for call in (rj.lookup, rj.touch, grad, lambda t, i: step(t, state, i)):
        with pytest.raises(IdError, match=words):
            call(table, ids)
    assert np.array_equal(rj.merge(table), WEIGHTS)  # nothing was donated


@every_kind
def test_inside_jit_a_wrong_id_is_nan_and_touches_nothing(kind):
    table = table_of(kind)
    ids = jnp.asarray([1, -1, 7, 2**31 - 1, -(2**31), 5], jnp.int32)
    rows = jax.jit(rj.lookup)(table, ids)
    assert np.isnan(rows[1:5]).all()
    assert np.array_equal(rows[::5], WEIGHTS[[1, 5]])
    optimizer = rj.rule("adam", weight_decay=0.1)

    @jax.jit
    def move(table, ids):
        grads = rj.row_grads(table, ids, jnp.ones((6, table.block.shape[1])))
        return optimizer.update(grads, optimizer.init(table), table)

    moved, state = move(table, ids)
    untouched = np.setdiff1d(np.arange(7), [1, 5])
    assert np.array_equal(rj.merge(moved)[untouched], WEIGHTS[untouched])
    assert state.steps.sum() == {"some rows": 2, "rows and columns": 2, "no row": 0}.get(kind, 2)
    gradient = jax.jit(jax.grad(lambda b, i: rj.lookup(table.replace(block=b), i).sum()))
    assert np.isfinite(gradient(table.block, ids)).all()


def test_not_integers_inside_jit():
    with pytest.raises(IdError, match="ids have dtype float32; expected integers"):
        jax.jit(rj.lookup)(table_of("all rows"), jnp.zeros(2))
    with pytest.raises(IdError, match="ids have dtype bool"):
        jax.jit(rj.lookup)(table_of("all rows"), jnp.zeros(2, bool))
    assert jax.jit(rj.lookup)(table_of("all rows"), [1, 2]).shape == (2, 3)  # a list of tracers


def test_checked_raises_out_of_compiled_programs():
    table, jitted = table_of("some rows"), jax.jit(rj.lookup)
    assert np.isnan(jitted(table, jnp.asarray([-1]))).all()  # compiled without checks before
    for wrong in (-1, 7):
        with pytest.raises(IdError, match=f"an id is out of range: {wrong}; expected 0 to 6"):
            rj.checked(jitted)(table, jnp.asarray([0, wrong]))
    assert np.array_equal(rj.checked(jitted)(table, jnp.asarray([0, 1])), WEIGHTS[:2])
    assert np.isnan(jitted(table, jnp.asarray([-1]))).all()  # and without them after


def test_a_checked_step_refuses_what_is_not_finite_and_changes_nothing():
    table, optimizer = table_of("some rows"), rj.rule("sgd", lr=1.0)
    state = optimizer.init(table)
    step = rj.checked(rj.step(lambda rows, by: (rows * by).sum(), optimizer))
    moved, _, _ = step(table, state, jnp.asarray([1, 3]), 2.0)
    np.testing.assert_allclose(rj.merge(moved)[1], WEIGHTS[1] - 2, rtol=1e-6)
    with pytest.raises(NonFiniteError, match="holds NaN or infinity; nothing was changed"):
        step(table, state, jnp.asarray([1, 3]), jnp.inf)
    with pytest.raises(IdError, match="out of range: 9"):
        step(table, state, jnp.asarray([1, 9]), 1.0)
    assert np.array_equal(rj.merge(table), WEIGHTS)


@every_kind
def test_the_gradient_is_that_of_the_block_alone(kind):
    table = table_of(kind)
    ids = np.array([[1, 5], [1, 0]])

    def loss(table):
        return (rj.lookup(table, ids) ** 2).sum() / 2

    gradient = jax.grad(loss, allow_int=True)(table)
    expected = np.zeros_like(WEIGHTS)
    np.add.at(expected, ids, WEIGHTS[ids])
    rows = np.sort(KINDS[kind].get("train", np.arange(7))).astype(int)
    columns = {"columns": [0, 2], "rows and columns": [1, 2]}.get(kind, [0, 1, 2])
    np.testing.assert_allclose(gradient.block, expected[np.ix_(rows, columns)], rtol=1e-6)
    assert gradient.base is None or not np.asarray(gradient.base).any()


def test_the_gradient_agrees_with_finite_differences_and_forward_mode(x64):
    table = rj.split(WEIGHTS.astype(np.float64), TRAIN, columns=[0, 2])

    def loss(block):
        return jnp.sin(rj.lookup(table.replace(block=block), jnp.asarray([1, 5, 1, 0]))).sum()

    check_grads(jax.jit(loss), (table.block,), order=2, modes=["fwd", "rev"])


@every_kind
def test_vmap_and_scan(kind):
    table, ids = table_of(kind), jnp.asarray([[1, 5, 0], [2, 2, 6]])
    assert np.array_equal(jax.vmap(rj.lookup, (None, 0))(table, ids), WEIGHTS[ids])
    assert np.array_equal(jax.vmap(rj.lookup, (None, 1))(table, ids), WEIGHTS[ids.T])
    tables = jax.tree.map(lambda x: jnp.stack([x, x * 2]) if x.dtype == jnp.float32 else x, table)
    axes = jax.tree.map(lambda x: 0 if x.dtype == jnp.float32 else None, table)
    both = jax.vmap(rj.lookup, (axes, None))(tables, ids)
    assert np.array_equal(both, np.stack([WEIGHTS[ids], 2 * WEIGHTS[ids]]))
    _, rows = jax.lax.scan(lambda carry, i: (carry, rj.lookup(table, i)), 0, ids)
    assert np.array_equal(rows, WEIGHTS[ids])


@pytest.mark.parametrize("kind", ["some rows", "all rows"])
def test_shard_map(kind):
    table, ids = table_of(kind), jnp.asarray([[1, 5, 0], [2, 2, 6]])
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Auto,))
    shared = jax.shard_map(rj.lookup, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P("batch"))
    assert np.array_equal(shared(table, ids), WEIGHTS[ids])
    mean = jax.jit(jax.shard_map(
        lambda t, i: jax.lax.pmean(rj.value_and_grad(jnp.sum)(t, i)[1].values, "batch"),
        mesh=mesh, in_specs=(P(), P("batch")), out_specs=P(),
    ))  # fmt: skip
    assert np.array_equal(mean(table, ids), rj.value_and_grad(jnp.sum)(table, ids)[1].values)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn"])
def test_a_base_of_half_precision(dtype):
    half = jnp.asarray(WEIGHTS).astype(dtype)
    table = rj.split(half, TRAIN, dtype=jnp.float32)
    assert table.base.dtype == dtype
    assert table.block.dtype == jnp.float32
    assert np.array_equal(rj.lookup(table, np.arange(7)), half.astype(jnp.float32))
    table, optimizer = rj.split(half, TRAIN), rj.rule("adam", lr=0.5)
    assert table.block.dtype == dtype
    state = optimizer.init(table)
    assert state.arrays["m"].dtype == jnp.float32
    _, grads = rj.value_and_grad(lambda rows: rows.astype(jnp.float32).sum())(table, [1, 1, 0])
    assert grads.values.dtype == jnp.float32
    assert grads.values[0].tolist() == [2.0] * 3
    moved, _ = optimizer.update(grads, state, table)
    assert moved.block.dtype == dtype
    expected = (half[1].astype(jnp.float32) - 0.5).astype(dtype)
    assert np.array_equal(moved.block[0], expected)


def test_sums_of_duplicates_do_not_round_in_half_precision():
    table = rj.split(jnp.zeros((2, 1), jnp.bfloat16))
    _, grads = rj.value_and_grad(lambda rows: rows.astype(jnp.float32).sum())(table, [1] * 1001)
    assert grads.values[0] == 1001  # bfloat16 stays at 256


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.zeros(3, np.float32), r"the matrix has shape \(3,\); expected a table of two"),
        (np.zeros((3, 2), int), "dtype int64 is not a float"),
        (np.zeros((3, 2)), "is float64, which JAX would round to float32"),
    ],
)
def test_a_matrix_that_is_none(matrix, words):
    with pytest.raises(ShapeError, match=words):
        rj.split(matrix)


def test_choices_are_checked():
    with pytest.raises(IdError, match="train names row 1 twice"):
        rj.split(WEIGHTS, jnp.asarray([1, 1]))
    with pytest.raises(ShapeError, match="the train mask has shape"):
        rj.split(WEIGHTS, jnp.ones(3, bool))
    assert rj.split(WEIGHTS, jnp.arange(7) > 4).slots.tolist() == [-1] * 5 + [0, 1]


def test_splitting_copies_the_block_and_only_that():
    matrix = jnp.asarray(WEIGHTS)
    some, every = rj.split(matrix, TRAIN), rj.split(matrix)
    assert some.base is matrix
    assert every.base is None
    pointers = {x.unsafe_buffer_pointer() for x in (matrix, some.block, every.block)}
    assert len(pointers) == 3
    assert rj.merge(every).unsafe_buffer_pointer() not in pointers


def test_an_empty_table():
    table = rj.split(np.zeros((0, 3), np.float32))
    assert rj.lookup(table, []).shape == (0, 3)
    assert np.isnan(jax.jit(rj.lookup)(table, jnp.asarray([0]))).all()
    with pytest.raises(IdError, match="there are none"):
        rj.lookup(table, [0])
    optimizer = rj.rule("adam")
    assert optimizer.update(rj.row_grads(table, [], np.zeros((0, 3))), optimizer.init(table), table)
