"""The embedding: lookups of any shape, gradients of what trains, frozen bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import tensorflow as tf

import rowtune.tensorflow as rtf
from rowtune import Rows, Table, rules

RNG = np.random.default_rng(0)
TRAIN = [7, 0, 3, 8]
WAYS = {
    "eager": lambda f: f,
    "graph": tf.function(reduce_retracing=True),
    "xla": tf.function(jit_compile=True),
}


def trap():
    """A matrix whose bits any arithmetic would change: -0.0, infinities, NaN with payloads."""
    weights = RNG.standard_normal((9, 4)).astype(np.float32)
    weights[:, 0] = -0.0
    weights.view(np.uint32)[1, 1:] = [0x7FC12345, 0xFFC00001, 0x7F800000]
    weights[TRAIN] = RNG.standard_normal((4, 4))
    return weights


def hash_of(rows):
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("choice", [{}, {"train": TRAIN}, {"train": TRAIN, "columns": [1, 3]}])
def test_ids_of_any_shape_give_rows_of_that_shape(way, choice):
    weights = RNG.standard_normal((9, 4)).astype(np.float32)
    emb = rtf.Embedding(weights, **choice)
    emb.block.assign_add(tf.ones_like(emb.block))
    whole = weights.copy()
    whole[np.ix_(choice.get("train", range(9)), choice.get("columns", range(4)))] += 1
    for shape in [(), (0,), (5,), (2, 3, 4)]:
        for dtype in (tf.int32, tf.int64):
            ids = tf.constant(RNG.integers(0, 9, shape), dtype)
            rows = WAYS[way](emb)(ids)
            assert rows.shape == (*shape, 4)
            np.testing.assert_array_equal(rows, whole[ids.numpy()])
    np.testing.assert_array_equal(emb.merge(), whole)


def test_ids_may_be_lists_arrays_and_ragged():
    emb = rtf.Embedding(np.arange(8.0).reshape(4, 2), train=[1])
    assert emb([3, 1]).numpy().tolist() == [[6, 7], [2, 3]]
    assert emb(np.uint8(3)).numpy().tolist() == [6, 7]
    assert emb([]).shape == (0, 2)
    ragged = emb(tf.ragged.constant([[0], [], [1, 2]]))
    assert ragged.to_list() == [[[0, 1]], [], [[2, 3], [4, 5]]]


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_has_a_slice_for_what_trains_and_none_for_the_rest(way):
    emb = rtf.Embedding(np.zeros((9, 2)), train=TRAIN)

    def gradient(ids):
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum(emb(ids) * tf.cast(ids, tf.float64)[:, None])
        return tape.gradient(cost, emb.trainable_variables)

    (slices,) = WAYS[way](gradient)(tf.constant([8, 1, 0, 8, 5, 3]))
    assert isinstance(slices, tf.IndexedSlices)
    assert slices.dense_shape.numpy().tolist() == [4, 2]
    found = rtf.sum_duplicates(slices)  # which drops what XLA needed to fill its shapes
    rows = dict(zip(found.indices.numpy().tolist(), found.values.numpy()[:, 0], strict=True))
    assert rows == {3: 16.0, 0: 0.0, 1: 3.0}
    if way != "xla":
        assert slices.indices.numpy().tolist() == [3, 0, 3, 1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("k", [0, 1, 9])
def test_a_batch_that_is_empty_or_all_frozen_touches_nothing(way, k):
    emb = rtf.Embedding(np.ones((9, 2)), train=range(k))
    optimizer = rtf.RowOptimizer("adamw", lr=0.1, weight_decay=0.5)

    @WAYS[way]
    def step(ids):
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum(emb(ids) ** 2)
        optimizer.apply(tape.gradient(cost, emb.block), emb)

    step(tf.zeros((0,), tf.int64))
    assert hash_of(emb.merge()) == hash_of(np.ones((9, 2)))
    if k < 9:
        step(tf.constant([8, 8, 5], tf.int64))
    state = optimizer.state_of(emb)
    assert hash_of(emb.merge()) == hash_of(np.ones((9, 2)))
    assert not state.steps.numpy().any() and not state.arrays["v"].numpy().any()


def test_only_the_block_trains():
    emb = rtf.Embedding(np.zeros((9, 2)), train=TRAIN)
    assert [v.shape.as_list() for v in emb.trainable_variables] == [[4, 2]]
    assert emb.variables == (emb.block,), "the base is a constant: no optimizer can be given it"
    held = tf.Variable(np.zeros((9, 2)), trainable=False)
    shared = rtf.Embedding(held, train=TRAIN)
    assert shared.base is held
    assert [v is shared.block for v in shared.trainable_variables] == [True]
    assert rtf.Embedding(np.zeros((9, 2))).base is None


@pytest.mark.parametrize(
    ("name", "way"), [*((name, "graph") for name in rules.names()), ("adamw", "xla")]
)
def test_frozen_rows_keep_their_bytes_under_every_rule(name, way):
    weights = trap()
    emb = rtf.Embedding(weights, train=TRAIN)
    frozen = np.setdiff1d(np.arange(9), TRAIN)
    before = hash_of(weights[frozen])
    optimizer = rtf.RowOptimizer(name, lr=0.1, weight_decay=0.5, decoupled=True)

    @WAYS[way]
    def step(ids):
        with tf.GradientTape() as tape:
            rows = emb(ids)
            cost = tf.reduce_sum(tf.where(tf.math.is_finite(rows), rows, 0.0) ** 2)
        optimizer.apply(tape.gradient(cost, emb.block), emb)

    for _ in range(4):
        step(tf.constant(RNG.integers(0, 9, 16)))
    assert hash_of(emb.merge().numpy()[frozen]) == before
    assert hash_of(emb(frozen).numpy()) == before
    assert (emb.merge().numpy()[TRAIN] != weights[TRAIN]).any()


def test_the_weights_that_were_given_stay_and_changing_them_changes_nothing():
    weights = RNG.standard_normal((9, 4))
    tensor, variable = tf.constant(weights), tf.Variable(weights, trainable=False)
    for given in (weights, tensor, variable):
        for train in ("all", TRAIN):
            emb = rtf.Embedding(given, train=train)
            optimizer = rtf.RowOptimizer("sgd", lr=1.0)
            optimizer.apply(tf.IndexedSlices(tf.ones((1, 4), tf.float64), [0]), emb)
            np.testing.assert_array_equal(emb.block.numpy()[0], weights[0] - 1)
            np.testing.assert_array_equal(tf.convert_to_tensor(given), weights)
    emb = rtf.Embedding(mine := weights.copy(), train=TRAIN)
    mine[:] = 0
    np.testing.assert_array_equal(emb.merge(), weights)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_a_base_of_any_float_dtype_under_a_block_of_another(dtype):
    base = tf.cast(RNG.standard_normal((9, 4)), dtype)
    emb = rtf.Embedding(base, train=TRAIN, dtype=tf.float32)
    assert (emb.block.dtype, emb.base.dtype, emb.merge().dtype) == (tf.float32, dtype, dtype)
    rows = emb(tf.range(9))
    assert rows.dtype == tf.float32
    np.testing.assert_array_equal(rows, tf.cast(base, tf.float32))


def test_few_rows_of_a_large_table_are_found_by_a_search():
    rows = Rows(1 << 25, [5, 1 << 24])
    assert rows.slot_map is None
    from rowtune.tensorflow.places import slots_of

    for way in WAYS.values():
        found = way(slots_of(rows))(tf.constant([0, 5, 6, 1 << 24, (1 << 25) - 1], tf.int64))
        assert found.numpy().tolist() == [-1, 0, -1, 1, -1]


def test_it_does_what_the_table_of_the_numpy_engine_does():
    weights = RNG.standard_normal((9, 4))
    table = Table(weights, TRAIN, "adam", lr=0.1)
    emb, optimizer = rtf.Embedding(weights, TRAIN), rtf.RowOptimizer("adam", lr=0.1)
    for _ in range(10):
        ids = RNG.integers(0, 9, 12)
        table.update(ids, table.lookup(ids) - 1)
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum((emb(ids) - 1) ** 2) / 2
        optimizer.apply(tape.gradient(cost, emb.block), emb)
    np.testing.assert_allclose(emb.merge(), table.weights, rtol=1e-13)
