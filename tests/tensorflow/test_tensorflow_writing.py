"""Writing rows by hand, choosing rows of a gradient, clipping: what the old recipes did."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import rowtune.tensorflow as rtf
from rowtune import Rows
from rowtune.errors import (
    FrozenRowError,
    IdError,
    NonFiniteError,
    RowtuneError,
    RuleError,
    ShapeError,
)

RNG = np.random.default_rng(0)
TRAIN = [7, 0, 3, 8]
VERBS = {"set": rtf.scatter_set, "add": rtf.scatter_add, "sub": rtf.scatter_sub}
WAYS = {
    "eager": lambda f: f,
    "graph": tf.function(reduce_retracing=True),
    "xla": tf.function(jit_compile=True),
}


def hidden(function, *first, **named):
    """A partial of which tf.function sees no tensors, which it would make its inputs."""
    return lambda *rest: function(*first, *rest, **named)


def tables():
    """An embedding and a whole variable of which the same rows may be written."""
    weights = RNG.standard_normal((9, 2)).astype(np.float32)
    emb, variable = rtf.Embedding(weights, TRAIN), tf.Variable(weights)
    mask = np.isin(np.arange(9), TRAIN)
    yield weights, emb, emb.merge, {}
    for rows in (TRAIN, mask, Rows(9, TRAIN), tf.constant(TRAIN)):
        variable = tf.Variable(weights)
        yield weights, variable, variable.read_value, {"rows": rows}


@pytest.mark.parametrize("way", ["eager", "graph"])
@pytest.mark.parametrize("verb", VERBS)
def test_rows_that_train_are_written(verb, way):
    for weights, table, whole, rows in tables():
        ids = np.array([[8, 0]]) if verb == "set" else np.array([[8, 0], [8, 7]])
        new = RNG.standard_normal((*ids.shape, 2)).astype(np.float32)
        expected = weights.copy()
        if verb == "set":
            expected[ids] = new
        else:
            np.add.at(expected, ids, new if verb == "add" else -new)
        write = VERBS[verb]
        WAYS[way](hidden(write, table, **rows))(tf.constant(ids), tf.constant(new))
        np.testing.assert_allclose(whole(), expected, rtol=1e-6)
        assert (whole().numpy() != weights).any(axis=1).nonzero()[0].tolist() == sorted(
            set(ids.flat)
        )


@pytest.mark.parametrize("verb", VERBS)
def test_a_frozen_row_is_refused(verb):
    for weights, table, whole, rows in tables():
        with pytest.raises(FrozenRowError, match=r"row 4 is frozen \(1 of 2 given are\)"):
            VERBS[verb](table, [3, 4], tf.ones((2, 2)), **rows)
        with pytest.raises(tf.errors.InvalidArgumentError, match="a row is frozen"):
            WAYS["graph"](hidden(VERBS[verb], table, **rows))(tf.constant([3, 4]), tf.ones((2, 2)))
        assert whole().numpy().tobytes() == weights.tobytes()


def test_what_else_is_refused():
    for weights, table, whole, rows in tables():
        ones = tf.ones((2, 2))
        with pytest.raises(IdError, match="row 3 is set twice"):
            rtf.scatter_set(table, [3, 3], ones, **rows)
        with pytest.raises(tf.errors.InvalidArgumentError, match="set twice"):
            WAYS["graph"](hidden(rtf.scatter_set, table, **rows))(tf.constant([3, 3]), ones)
        with pytest.raises(IdError, match="id 9 is not a row"):
            rtf.scatter_add(table, [3, 9], ones, **rows)
        with pytest.raises(ShapeError, match=r"values have shape \(2, 3\); expected \(2, 2\)"):
            rtf.scatter_add(table, [3, 7], tf.ones((2, 3)), **rows)
        with pytest.raises(NonFiniteError, match="check_finite=False"):
            rtf.scatter_sub(table, [3, 7], ones * np.nan, **rows)
        with pytest.raises(tf.errors.InvalidArgumentError, match="NaN or infinity"):
            WAYS["graph"](hidden(rtf.scatter_sub, table, [3, 7], **rows))(ones * np.nan)
        with pytest.raises(RowtuneError, match="jit_compile"):
            WAYS["xla"](hidden(rtf.scatter_set, table, [3, 7], **rows))(ones)
        assert whole().numpy().tobytes() == weights.tobytes()
        rtf.scatter_set(table, [3], ones[:1] * np.nan, check_finite=False, **rows)
        assert np.isnan(whole().numpy()[3]).all()


def test_rows_that_nobody_knows_yet_are_refused():
    variable = tf.Variable(tf.zeros((9, 2)))
    with pytest.raises(ShapeError, match="not known while the function is traced"):
        WAYS["graph"](lambda rows: rtf.scatter_set(variable, [3], tf.ones((1, 2)), rows))(
            tf.constant([3])
        )


def test_columns_are_written_alone():
    emb = rtf.Embedding(np.zeros((3, 4)), [1], columns=[0, 2])
    rtf.scatter_set(emb, 1, [1.0, 2.0])
    assert emb.merge().numpy().tolist() == [[0] * 4, [1, 0, 2, 0], [0] * 4]


@pytest.mark.parametrize("way", WAYS)
def test_stopped_rows_pass_their_values_and_no_gradient(way):
    weights = RNG.standard_normal((9, 2)).astype(np.float32)
    weights[1] = [-0.0, np.nan]
    ids = tf.constant([[8, 1], [5, 0]])
    mask = np.isin(np.arange(9), TRAIN)
    for rows in (TRAIN, mask, Rows(9, TRAIN), tf.constant(TRAIN), tf.constant(mask)):
        table = tf.Variable(weights)

        def both(ids, table=table, rows=rows):
            with tf.GradientTape() as tape:
                gathered = rtf.stop_rows(tf.gather(table, ids), ids, rows)
                cost = tf.reduce_sum(gathered * 2.0)
            return gathered, tape.gradient(cost, table)

        gathered, gradient = WAYS[way](both)(ids)
        assert gathered.numpy().tobytes() == weights[ids.numpy()].tobytes()
        assert isinstance(gradient, tf.IndexedSlices)
        assert gradient.indices.numpy().tolist() == [8, 1, 5, 0]
        assert gradient.values.numpy()[:, 0].tolist() == [2, 0, 0, 2]
        kept = rtf.sum_duplicates(WAYS[way](lambda g, r=rows: rtf.keep_rows(g, r))(gradient))
        assert dict(zip(kept.indices.numpy(), kept.values.numpy()[:, 0], strict=True)) == {
            8: 2,
            0: 2,
        }
    everything = rtf.keep_rows(gradient, Rows(9))
    assert everything.indices.numpy().tolist() == [8, 1, 5, 0]


@pytest.mark.parametrize("way", ["eager", "xla"])
def test_the_rows_that_learn_may_change_from_call_to_call(way):
    stop = WAYS[way](rtf.stop_rows)
    ids = tf.constant([1, 2, 3])
    for rows in ([3, 1], [2, 9]):
        with tf.GradientTape() as tape:
            tape.watch(gathered := tf.ones((3, 1)))
            cost = tf.reduce_sum(stop(gathered, ids, tf.constant(rows)))
        expected = np.isin([1, 2, 3], rows).astype(float)
        assert tape.gradient(cost, gathered).numpy()[:, 0].tolist() == expected.tolist()


def test_rows_of_another_kind_are_refused():
    slices = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([0]))
    with pytest.raises(IdError, match="expected ids, a boolean mask"):
        rtf.keep_rows(slices, "all")
    with pytest.raises(IdError, match="expected integers"):
        rtf.keep_rows(slices, [0.5])
    with pytest.raises(ShapeError, match=r"keep_rows takes tf\.IndexedSlices"):
        rtf.keep_rows(tf.ones((3, 2)), [0])


def test_frozen_rows_of_a_whole_variable_stay_under_decay_when_they_are_left_out():
    weights = RNG.standard_normal((9, 2))
    table, optimizer = tf.Variable(weights), rtf.RowOptimizer("adamw", lr=0.1, weight_decay=0.5)
    for _ in range(3):
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum(tf.gather(table, RNG.integers(0, 9, 12)) ** 2)
        optimizer.apply(rtf.keep_rows(tape.gradient(cost, table), TRAIN), table)
    frozen = np.setdiff1d(np.arange(9), TRAIN)
    assert table.numpy()[frozen].tobytes() == weights[frozen].tobytes()
    assert (table.numpy()[TRAIN] != weights[TRAIN]).all()


@pytest.mark.parametrize("way", WAYS)
def test_rows_are_clipped_after_their_duplicates_are_summed(way):
    values = tf.constant([[3.0, 0], [0, 0.5], [0, 4.0], [3e38, 3e38]])
    slices = tf.IndexedSlices(values, tf.constant([6, 2, 6, 1]), tf.constant([9, 2]))
    clipped = WAYS[way](lambda g: rtf.clip_row_norms(g, 2.5))(slices)
    found = rtf.sum_duplicates(clipped)
    rows = dict(zip(found.indices.numpy().tolist(), found.values.numpy(), strict=True))
    np.testing.assert_allclose(rows[6], [1.5, 2.0], rtol=1e-6)
    assert rows[2].tolist() == [0, 0.5]
    np.testing.assert_allclose(rows[1], [2.5 / 2**0.5] * 2, rtol=1e-6)
    dense = rtf.clip_row_norms(tf.constant([[3.0, 4.0], [0, 0]]), 1.0)
    np.testing.assert_allclose(dense, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    with pytest.raises(RuleError, match="max_norm=0"):
        rtf.clip_row_norms(slices, 0)


def test_the_global_norm_is_that_of_the_sums():
    slices = tf.IndexedSlices(tf.constant([[3.0], [-3.0], [4.0]]), [1, 1, 0], tf.constant([2, 1]))
    summed = rtf.sum_duplicates(slices)
    (clipped, dense), norm = tf.clip_by_global_norm([summed, tf.constant([3.0])], 1.0)
    assert float(norm) == 5.0
    assert isinstance(clipped, tf.IndexedSlices)
    rows = dict(zip(clipped.indices.numpy().tolist(), clipped.values.numpy()[:, 0], strict=True))
    np.testing.assert_allclose([rows[0], rows[1], dense[0]], [0.8, 0, 0.6], rtol=1e-6)
    assert rtf.sum_duplicates(dense) is dense


def test_capped_gradients_and_another_index_set_as_in_the_old_answer():
    emb = rtf.Embedding(np.zeros((5, 2), np.float32))
    with tf.GradientTape() as tape:
        cost = tf.reduce_sum(emb([0, 1, 2]) * [[9.0], [0.5], [-9.0]])
    gradient = tape.gradient(cost, emb.block)
    capped = tf.IndexedSlices(tf.clip_by_value(gradient.values, -1, 1), gradient.indices)
    optimizer = rtf.RowOptimizer("sgd", lr=1.0)
    optimizer.apply(capped, emb)
    assert emb.block.numpy()[:, 0].tolist() == [-1, -0.5, 1, 0, 0]
    moved = tf.IndexedSlices(gradient.values, tf.constant([3, 4, 4]))
    optimizer.apply(moved, emb)
    assert emb.block.numpy()[:, 0].tolist() == [-1, -0.5, 1, -9, 8.5]
    assert optimizer.states[0].steps.numpy().tolist() == [1, 1, 1, 1, 1]
