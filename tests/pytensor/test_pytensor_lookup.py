"""Looking rows up: shapes, dtypes, frozen bits, and ids that are not there."""

from __future__ import annotations

import hashlib

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import rowtune.pytensor as rp
from rowtune import Table, rules
from rowtune.errors import IdError, ShapeError

ODD = np.array([0x80000000, 0x7FC00001, 0xFFC12345, 0x7F800000, 0x00000001], np.uint32)


def odd_weights(dtype, num_rows=30, width=4):
    """Floats with -0.0, NaN of several payloads, infinity and a subnormal among them."""
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((num_rows, width)).astype(dtype)
    kind = np.dtype(f"u{weights.itemsize}")
    odd = ODD.astype(kind) << kind.type(8 * (weights.itemsize - 4))
    where = rng.random(weights.shape) < 0.3
    weights.view(kind)[where] = rng.choice(odd, int(where.sum()))
    return weights


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def looked_up(table, ids, mode="FAST_COMPILE"):
    return pytensor.function([], table[ids], mode=mode)()


@pytest.mark.parametrize(
    ("dtype", "mode"),
    [(np.float32, "FAST_COMPILE"), (np.float64, "FAST_COMPILE"), (np.float32, "NUMBA")],
)
def test_frozen_rows_keep_their_bytes(dtype, mode, stepper):
    weights = odd_weights(dtype)
    train = np.arange(30)[np.random.default_rng(4).random(30) < 0.5]
    frozen = np.setdiff1d(np.arange(30), train)
    whole, before = digest(weights), digest(weights[frozen])
    table = rp.lookup_table(weights, train=train)
    step = stepper(table, "adamw", lr=0.1, weight_decay=0.3, mode=mode, check_finite=False)
    rng = np.random.default_rng(5)
    for _ in range(6):
        step(rng.integers(0, 30, 15), rng.standard_normal((15, 4)).astype(dtype))
    assert digest(step(frozen, np.zeros((len(frozen), 4), dtype))) == before
    assert digest(table.weights[frozen]) == before
    assert digest(table.base.get_value(borrow=True)) == digest(weights) == whole
    assert digest(table.weights[train]) != digest(weights[train])


@pytest.mark.parametrize("name", rules.names())
def test_under_every_rule_the_base_is_no_shared_variable_that_is_written(name):
    table = rp.lookup_table(odd_weights(np.float32), train=[3, 1])
    ids = pt.lvector()
    rows = table[ids]
    updates = rp.updates(pt.sum(rows), rows, name, weight_decay=0.1)
    assert list(updates) == [table.block, table.steps, *table.state.values()]
    assert all(x.get_value(borrow=True).shape[0] == 2 for x in updates)
    assert [new.type.dtype for new in updates.values()] == [x.type.dtype for x in updates]


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 1, 2), (0,), (2, 0)])
@pytest.mark.parametrize("train", ["all", [5, 2], [5]])
def test_ids_of_any_shape(train, shape, stepper):
    weights = np.random.default_rng(6).standard_normal((6, 3))
    table, reference = rp.lookup_table(weights, train), Table(weights, train, "adam", lr=0.1)
    step = stepper(table, "adam", ndim=len(shape), lr=0.1)
    ids = np.random.default_rng(7).integers(0, 6, shape)
    grads = np.random.default_rng(8).standard_normal((*shape, 3))
    assert np.array_equal(step(ids, grads), weights[ids])
    reference.update(ids, grads)
    assert table.weights.tobytes() == reference.weights.tobytes()
    assert np.array_equal(looked_up(table, ids), table.weights[ids])


@pytest.mark.parametrize("train", ["all", [5, 2]])
@pytest.mark.parametrize("columns", [[3, 1], slice(1, 3), [True, False, False, True], []])
def test_columns(columns, train, stepper):
    weights = odd_weights(np.float64, 6, 4)
    weights[[2, 5]] = 1.0
    table = rp.lookup_table(weights, train, columns)
    reference = Table(weights, train, "rowwise_adagrad", lr=0.1, columns=columns)
    step = stepper(table, "rowwise_adagrad", lr=0.1)
    rng = np.random.default_rng(9)
    for _ in range(3):
        ids, grads = rng.integers(0, 6, 8), rng.standard_normal((8, 4))
        assert digest(step(ids, grads)) == digest(reference.lookup(ids))
        reference.update(ids, grads)
    assert table.weights.tobytes() == reference.weights.tobytes()
    chosen = np.zeros(4, bool)
    chosen[columns] = True
    assert digest(table.weights[:, ~chosen]) == digest(weights[:, ~chosen])


def test_few_trainable_rows_of_many_are_searched(stepper):
    num_rows = (1 << 26) + 5
    weights = np.lib.stride_tricks.as_strided(np.arange(2.0), (num_rows, 2), (0, 8))
    table = rp.lookup_table(weights, train=[num_rows - 1, 7])
    step = stepper(table, "sgd", lr=1.0)
    assert table.rows.slot_map is None
    step([7, 8, 0, num_rows - 1, 7, num_rows - 2], np.ones((6, 2)))
    assert table.block.get_value().tolist() == [[-2.0, -1.0], [-1.0, 0.0]]
    assert table.steps.get_value().tolist() == [1, 1]


@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
@pytest.mark.parametrize("train", ["all", [5, 2]])
def test_an_id_outside_raises_and_changes_nothing(train, mode, stepper):
    weights = np.random.default_rng(10).standard_normal((6, 3))
    table = rp.lookup_table(weights, train, name="words")
    step = stepper(table, "sgd", lr=0.1, mode=mode)
    for outside in (6, -1, -6, 1 << 40, -(1 << 63)):
        with pytest.raises(IdError, match="outside the table 'words' of 6 rows"):
            step([5, outside, 2], np.ones((3, 3)))
    assert table.weights.tobytes() == weights.tobytes()
    assert not table.steps.get_value().any()


def test_concrete_ids_are_looked_at_at_once():
    table = rp.lookup_table(np.ones((6, 3)))
    for outside in (6, -1, [0, 7]):
        with pytest.raises(IdError, match=r"out of range|outside|expected"):
            table[outside]
    for wrong in (1.0, [True, False], "a", slice(0, 2), None):
        with pytest.raises(IdError):
            table[wrong]
    with pytest.raises(IdError, match="float64; expected integers"):
        table[pt.dvector()]
    with pytest.raises(IdError, match=r"words\[ids\]"):
        list(rp.lookup_table(np.ones((2, 2)), name="words"))
    assert looked_up(table, np.uint8(3)).tolist() == [1, 1, 1]


def test_unsigned_and_narrow_ids():
    table = rp.lookup_table(np.arange(300.0)[:, None])
    for dtype in ("uint8", "int8", "uint64"):
        ids = pt.vector("ids", dtype=dtype)
        look = pytensor.function([ids], table[ids], mode="FAST_COMPILE")
        assert look(np.array([3, 100], dtype)).tolist() == [[3.0], [100.0]]
    with pytest.raises(IdError):
        look(np.array([1 << 63], np.uint64))


def test_what_a_matrix_may_be(tmp_path):
    with pytest.raises(ShapeError, match="expected float"):
        rp.lookup_table(np.ones((2, 2), np.int64))
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(3, 2).astype(">f4"))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    odd = rp.lookup_table(mapped, train=[1])
    assert odd.block.dtype == "float32"
    assert looked_up(odd, [0, 1, 2]).tolist() == mapped.tolist() == odd.weights.tolist()
    given = np.arange(6.0).reshape(3, 2)
    table = rp.lookup_table(given, train=[1])
    assert np.shares_memory(table.base.get_value(borrow=True), given)
    assert not np.shares_memory(table.block.get_value(borrow=True), given)
    whole = rp.lookup_table(given)
    assert whole.base is None
    assert not np.shares_memory(whole.block.get_value(borrow=True), given)
    assert (len(table), repr(table)) == (
        3,
        "LookupTable('table', 3 x 2 float64, 1 rows train)",
    )


def test_a_table_keeps_its_shape():
    """A block with fewer rows would have slots beyond its end, which no compiled code looks at."""
    table = rp.lookup_table(np.ones((4, 2)), train=[1, 3])
    for variable in (table.block, table.steps, table.base):
        with pytest.raises(TypeError):
            variable.set_value(variable.get_value()[:1])


def test_floatx_does_not_change_the_dtype_of_a_table(stepper):
    with pytensor.config.change_flags(floatX="float32"):
        table = rp.lookup_table(np.ones((3, 2)))
        stepper(table, "adam", lr=0.1)([0], np.ones((1, 2)))
    assert {x.get_value().dtype.name for x in table.state.values()} == {"float64"}
    narrow = rp.lookup_table(np.ones((3, 2), np.float32))
    stepper(narrow, "adam", lr=0.1)([0], np.ones((1, 2), np.float32))
    assert narrow.weights.dtype == narrow.state["m"].get_value().dtype == np.float32
