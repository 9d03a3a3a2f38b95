"""Checkpoints: rows, state and counts come back, and only onto the table that they belong to."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import rowtune.tensorflow as rtf
from rowtune.errors import PatchError

WEIGHTS = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
TRAIN = [7, 0, 3, 8]


def trained(emb, optimizer, seed, steps=3):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        ids = rng.integers(0, 9, 8)
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum((emb(ids) - 1) ** 2)
        optimizer.apply(tape.gradient(cost, emb.block), emb)
    return emb.merge().numpy()


def pair(weights=WEIGHTS, train=TRAIN, **choice):
    emb = rtf.Embedding(weights, train, **choice)
    optimizer = rtf.RowOptimizer("adam", lr=0.1)
    return emb, optimizer, tf.train.Checkpoint(emb=emb, optimizer=optimizer)


@pytest.mark.parametrize("built", [True, False])
def test_training_goes_on_where_it_was(tmp_path, built):
    emb, optimizer, checkpoint = pair()
    trained(emb, optimizer, 1)
    path = checkpoint.save(str(tmp_path / "c"))
    expected = trained(emb, optimizer, 2)
    emb, optimizer, checkpoint = pair()
    if built:
        optimizer.build([emb])
    status = checkpoint.restore(path)
    np.testing.assert_array_equal(trained(emb, optimizer, 2), expected)
    status.assert_consumed()
    assert int(optimizer.states[0].iterations) == 6


def test_a_checkpoint_holds_the_rows_that_train_and_not_the_base(tmp_path):
    emb, optimizer, checkpoint = pair()
    optimizer.build([emb])
    checkpoint.save(str(tmp_path / "c"))
    shapes = {}
    for name, shape in tf.train.list_variables(str(tmp_path)):
        if "VARIABLE_VALUE" in name and "save_counter" not in name:
            shapes[name.split("/.ATT")[0]] = shape
    assert shapes == {
        "emb/block": [4, 4],
        "optimizer/states/0/arrays/m": [4, 4],
        "optimizer/states/0/arrays/v": [4, 4],
        "optimizer/states/0/steps": [4],
        "optimizer/states/0/iterations": [],
    }


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"train": [7, 0, 3, 6]}, "other rows than"),
        ({"weights": WEIGHTS + 1}, "another base"),
        ({"weights": -0.0 * WEIGHTS}, "another base"),
        ({"columns": [0, 1, 2, 3]}, "other columns"),
    ],
)
def test_another_table_is_refused_before_a_row_is_read(tmp_path, other, words):
    emb, optimizer, checkpoint = pair()
    trained(emb, optimizer, 1)
    path = checkpoint.save(str(tmp_path / "c"))
    emb, optimizer, checkpoint = pair(**other)
    before = emb.block.numpy()
    with pytest.raises(PatchError, match=words):
        checkpoint.restore(path)
    np.testing.assert_array_equal(emb.block.numpy(), before)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float64])
def test_a_base_of_any_dtype_has_a_fingerprint(tmp_path, dtype):
    *_, checkpoint = pair(tf.cast(WEIGHTS, dtype))
    path = checkpoint.save(str(tmp_path / "c"))
    pair(tf.cast(WEIGHTS, dtype))[2].restore(path).assert_existing_objects_matched()
    with pytest.raises(PatchError, match="another base"):
        pair(tf.cast(WEIGHTS + 1, dtype))[2].restore(path)


def test_a_base_that_is_a_variable_is_in_the_checkpoint(tmp_path):
    emb, optimizer, checkpoint = pair(tf.Variable(WEIGHTS, trainable=False))
    expected = trained(emb, optimizer, 1)
    path = checkpoint.save(str(tmp_path / "c"))
    other, _, checkpoint = pair(tf.Variable(WEIGHTS + 1, trainable=False))
    checkpoint.restore(path).expect_partial()
    np.testing.assert_array_equal(other.merge(), expected)


def test_a_saved_model_looks_rows_up(tmp_path):
    emb, optimizer, _ = pair()
    expected = trained(emb, optimizer, 1)
    module = tf.Module()
    module.emb = emb
    module.look = tf.function(emb, input_signature=[tf.TensorSpec([None], tf.int64)])
    tf.saved_model.save(module, str(tmp_path / "m"))
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    np.testing.assert_array_equal(loaded.look(tf.range(9, dtype=tf.int64)), expected)
