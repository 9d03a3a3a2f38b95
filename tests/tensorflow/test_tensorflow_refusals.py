"""What is refused, and how it is said: eagerly, in graphs, and under XLA."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import rowtune.tensorflow as rtf
from rowtune.errors import IdError, NonFiniteError, RuleError, ShapeError

TRAIN = [7, 0, 3, 8]
WAYS = {
    "graph": tf.function(reduce_retracing=True),
    "xla": tf.function(jit_compile=True),
}


@pytest.mark.parametrize("ids", [[0, 9], [-1], [[2], [1 << 40]], np.array([-9], np.int8)])
@pytest.mark.parametrize("train", ["all", TRAIN])
def test_an_id_that_is_no_row(ids, train):
    emb = rtf.Embedding(np.zeros((9, 2)), train=train)
    for given in (ids, tf.constant(ids, tf.int64)):
        with pytest.raises(IdError, match="is not a row: expected 0 to 8"):
            emb(given)
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected 0 to 8"):
        WAYS["graph"](emb)(tf.constant(ids, tf.int64))


@pytest.mark.parametrize("choice", [{}, {"train": TRAIN}, {"columns": [1]}])
def test_under_xla_an_id_that_is_no_row_is_nan_and_moves_nothing(choice):
    emb = rtf.Embedding(np.ones((9, 2)), **choice)
    optimizer = rtf.RowOptimizer("momentum", lr=1.0, weight_decay=0.5, check_finite=False)

    @WAYS["xla"]
    def step(ids):
        with tf.GradientTape() as tape:
            rows = emb(ids)
            cost = tf.reduce_sum(rows)
        optimizer.apply(tape.gradient(cost, emb.block), emb)
        return rows

    rows = step(tf.constant([9, -1, 3, 1 << 40])).numpy()
    assert np.isnan(rows).all(axis=1).tolist() == [True, True, False, True]
    expected = np.zeros(len(emb.rows), int)
    expected[emb.rows.slots([3])] = 1
    assert optimizer.state_of(emb).steps.numpy().tolist() == expected.tolist()


def test_ids_that_are_no_integers():
    emb = rtf.Embedding(np.zeros((9, 2)))
    for ids in ([0.5], tf.constant([1.0]), [True], tf.constant([True])):
        with pytest.raises(IdError, match="expected integers"):
            emb(ids)
    with pytest.raises(IdError, match="expected integers"):
        WAYS["graph"](emb)(tf.constant([1.0]))
    with pytest.raises(IdError, match="SparseTensor; expected a tensor"):
        emb(tf.sparse.from_dense([1]))


@pytest.mark.parametrize(
    ("weights", "choice", "error", "words"),
    [
        (np.zeros(3), {}, ShapeError, "expected a table of two dimensions"),
        (np.zeros((3, 2), int), {}, ShapeError, "dtype int64; expected one of float16"),
        ([[1.0], [1.0, 2.0]], {}, ShapeError, "not one matrix"),
        (np.zeros((3, 2)), {"train": [3]}, IdError, "train: id 3 is not a row"),
        (np.zeros((3, 2)), {"train": [1, 1]}, IdError, "names row 1 twice"),
        (np.zeros((3, 2)), {"columns": [2]}, IdError, "columns: id 2 is not a column"),
        (np.zeros((3, 2)), {"train": [True]}, ShapeError, "mask has shape"),
    ],
)
def test_weights_or_choices_that_make_no_sense(weights, choice, error, words):
    with pytest.raises(error, match=words):
        rtf.Embedding(weights, **choice)


def test_a_trainable_variable_is_no_base():
    with pytest.raises(ShapeError, match="trainable=False"):
        rtf.Embedding(tf.Variable(np.zeros((3, 2))), train=[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    emb = rtf.Embedding(np.ones((3, 2)))
    optimizer = rtf.RowOptimizer("adam")
    values = np.array([[1, 1], [1, bad], [1, 1]])
    slices = tf.IndexedSlices(tf.constant(values), tf.constant([0, 2, 1]))
    with pytest.raises(NonFiniteError, match="gradient of row 2 of the variable"):
        optimizer.apply(slices, emb)
    with pytest.raises(NonFiniteError, match="gradient of row 1 of the variable"):
        optimizer.apply(tf.constant(values), emb)  # dense
    with pytest.raises(tf.errors.InvalidArgumentError, match="nothing was changed"):
        tf.function(optimizer.apply)(slices, emb)
    tf.function(optimizer.apply, jit_compile=True)(slices, emb)  # where nothing can be raised
    state = optimizer.state_of(emb)
    assert (emb.block.numpy() == 1).all() and not state.steps.numpy().any()
    assert not state.arrays["m"].numpy().any()
    assert int(state.iterations) == 1  # of XLA
    trusting = rtf.RowOptimizer("sgd", check_finite=False)
    trusting.apply(slices, emb)
    assert not np.isfinite(emb.block.numpy()).all()


def test_a_sum_over_duplicates_that_overflows_changes_nothing():
    emb = rtf.Embedding(np.ones((2, 1), np.float32))
    slices = tf.IndexedSlices(tf.fill((2, 1), 3e38), [1, 1])
    with pytest.raises(NonFiniteError, match="sum over duplicates"):
        rtf.RowOptimizer("sgd").apply(slices, emb)


def test_a_gradient_for_a_row_that_is_not_there():
    emb = rtf.Embedding(np.ones((3, 2)))
    optimizer = rtf.RowOptimizer("sgd", lr=1.0)
    for index in (3, -1):
        slices = tf.IndexedSlices(tf.ones((2, 2), tf.float64), tf.constant([1, index]))
        with pytest.raises(IdError, match="expected 0 to 2"):
            optimizer.apply(slices, emb)
        with pytest.raises(tf.errors.InvalidArgumentError, match="expected 0 to 2"):
            tf.function(optimizer.apply)(slices, emb)
        assert (emb.block.numpy() == 1).all()
        tf.function(optimizer.apply, jit_compile=True)(slices, emb)
        assert emb.block.numpy().tolist() == [[1, 1], [0, 0], [1, 1]]
        emb.block.assign(tf.ones((3, 2), tf.float64))


@pytest.mark.parametrize(
    ("rule", "hyper", "words"),
    [
        ("adamax2", {}, "there is no rule 'adamax2'"),
        ("sgd", {"beta1": 0.9}, "takes no hyper-parameter 'beta1'"),
        ("sgd", {"beta1": tf.constant(0.9)}, "takes no hyper-parameter 'beta1'"),
        ("adam", {"lr": -1.0}, "lr=-1.0; expected at least 0"),
        ("adam", {"betas": 0.9}, "expected two numbers"),
        ("adam", {"decoupled": tf.constant(True)}, "decoupled must be True or False"),
    ],
)
def test_a_rule_or_hyper_parameter_that_makes_no_sense(rule, hyper, words):
    with pytest.raises(RuleError, match=words):
        rtf.RowOptimizer(rule, **hyper)


def test_a_state_or_variable_that_does_not_fit():
    variable = tf.Variable(tf.zeros((3, 2)))
    slices = tf.IndexedSlices(tf.ones((1, 2)), [0])
    state = rtf.RowState("adam", variable)
    with pytest.raises(ShapeError, match=r"write RowState\('sgd', variable\)"):
        rtf.apply_rows("sgd", variable, slices, state)
    with pytest.raises(ShapeError, match=r"rule 'adam' on a variable of shape \(4, 2\)"):
        rtf.apply_rows("adam", tf.Variable(tf.zeros((4, 2))), slices, state)
    with pytest.raises(ShapeError, match="Tensor is not a"):
        rtf.RowState("adam", tf.zeros((3, 2)))
    with pytest.raises(ShapeError, match="expected a table"):
        rtf.RowState("adam", tf.Variable(tf.zeros(3)))
    with pytest.raises(ShapeError, match=r"gradient has shape \(1, 3\)"):
        rtf.apply_rows("adam", variable, tf.IndexedSlices(tf.ones((1, 3)), [0]), state)
    assert not variable.numpy().any() and not state.steps.numpy().any()
