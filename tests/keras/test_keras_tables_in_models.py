"""Tables that a model reads more than once, and ids that no table has."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from judge import Judge
from keras import ops

from rowtune import rules
from rowtune.errors import IdError
from rowtune.keras import Embedding, optimizers

TRAIN = [7, 0, 3, 8]
RNG = np.random.default_rng(0)
IDS = np.array([[0, 1, 7, 0], [2, 3, 3, 5]], "int32")  # 8 is absent


def adam_and_judge(weights):
    hyper = rules.get("adam").hyper(lr=0.125, eps=1e-3)
    return optimizers.Adam(0.125, epsilon=1e-3), Judge(weights, TRAIN, "adam", hyper)


def test_a_table_looked_up_twice_has_the_sum_of_both(trap, make, upstream_loss, how, state_of):
    layer = make(trap, train=TRAIN)
    optimizer, judge = adam_and_judge(trap)
    left, right = keras.Input((4,), dtype="int32"), keras.Input((2,), dtype="int32")
    both = keras.layers.Concatenate(axis=1)([layer(left), layer(right)])
    model = keras.Model([left, right], both)
    model.compile(optimizer, upstream_loss(), **how)
    for _ in range(2):
        more = RNG.integers(0, 8, (2, 2))
        upstream = RNG.standard_normal((2, 6, 4)).astype("float32")
        model.train_on_batch([IDS, more], upstream)
        judge.update(np.concatenate([IDS, more], 1), upstream)
    np.testing.assert_allclose(layer.merge()[TRAIN], judge.matrix()[TRAIN], rtol=1e-4, atol=1e-5)
    assert state_of(optimizer, layer)[0].tolist() == [judge.steps[i] for i in (0, 3, 7, 8)]


class Tied(keras.Model):
    """Its scores are those of the trainable rows, which it looks up, too."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def call(self, ids):
        return ops.matmul(self.table(ids), ops.transpose(self.table.block))


def test_a_block_that_is_read_densely_has_the_whole_gradient(make, upstream_loss, how):
    weights = RNG.standard_normal((6, 3))
    layer = make(weights.astype("float32"), train=[1, 2, 4, 5])
    model = Tied(layer)
    model.compile(optimizers.SGD(0.25), upstream_loss(), **how)
    ids, upstream = np.array([[1, 0, 1], [2, 3, 5]]), RNG.standard_normal((2, 3, 4))
    model.train_on_batch(ids, upstream.astype("float32"))
    block = weights[[1, 2, 4, 5]]
    gradient = np.einsum("bls,bld->sd", upstream, weights[ids])
    for i, row in zip(ids.ravel().tolist(), (upstream @ block).reshape(-1, 3), strict=True):
        if i in (1, 2, 5):
            gradient[[1, 2, 4, 5].index(i)] += row
    np.testing.assert_allclose(layer.block.numpy(), block - 0.25 * gradient, rtol=1e-4, atol=1e-5)


def test_a_regularizer_and_a_constraint_see_the_block_alone(make, rows_model, bits):
    weights = np.full((4, 2), 2.0, np.float32)
    layer = make(
        weights,
        train=[1, 3],
        embeddings_regularizer=keras.regularizers.L2(0.5),
        embeddings_constraint=keras.constraints.MaxNorm(1.0, axis=1),
    )
    model = rows_model(layer, optimizers.SGD(0.25), length=2)
    upstream = np.array([[[2.0, 0.0], [5.0, 5.0]]], "float32")
    loss = model.train_on_batch(np.array([[1, 2]]), upstream)
    np.testing.assert_allclose(loss, 4 + 20 + 0.5 * 4 * 2**2, rtol=1e-5)
    moved = np.array([[2 - 0.25 * (2 + 2), 2 - 0.25 * 2], [2 - 0.25 * 2, 2 - 0.25 * 2]])
    moved /= np.sqrt((moved**2).sum(1, keepdims=True))
    np.testing.assert_allclose(layer.block.numpy(), moved, rtol=1e-5)
    assert bits(layer.base) == bits(weights)


def test_nothing_trains(trap, bits, make, rows_model, upstream_loss, compiled):
    layer = make(trap, train=[])
    assert layer.trainable_weights == []
    ids = keras.Input((4,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(2)(layer(ids)))
    model.compile(optimizers.Adam(0.1), upstream_loss(), **compiled)
    model.fit(IDS, np.ones((2, 4, 2)), verbose=0)
    assert bits(layer.merge()) == bits(trap)


@pytest.mark.parametrize("given", [True, False])
def test_all_of_it_trains(given, make, rows_model):
    weights = RNG.standard_normal((6, 3)).astype("float32")
    layer = make(weights) if given else Embedding(6, 3)
    model = rows_model(layer, optimizers.SGD(0.5))
    assert layer.base is None
    before = layer.merge()
    model.train_on_batch(np.array([[0, 1, 1, 5]]), np.ones((1, 4, 3)))
    expected = before.copy()
    expected[[0, 1, 5]] -= np.array([[0.5], [1.0], [0.5]], "float32")
    np.testing.assert_allclose(layer.merge(), expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [-1, 9])
def test_an_id_that_is_not_there(bad, trap, bits, make, rows_model, backend):
    layer = make(trap, train=TRAIN)
    with pytest.raises(IdError, match=str(bad)):
        layer(np.array([0, bad]))
    model = rows_model(layer, optimizers.AdamW(0.1))
    batch = np.array([[0, 1, bad, 2]]), np.ones((1, 4, 4), "float32")
    if backend == "torch":
        with pytest.raises(IdError, match=str(bad)):
            model.train_on_batch(*batch)
    elif backend == "tensorflow":
        import tensorflow as tf

        with pytest.raises(tf.errors.InvalidArgumentError, match=str(bad)):
            model.train_on_batch(*batch)
    else:
        rows = model.predict(batch[0], verbose=0)[0]
        assert np.isnan(rows).all(1).tolist()[2]
        assert bits(rows[[0, 3]]) == bits(trap[[0, 2]])
        model.train_on_batch(*batch)
    moved = [0] if backend == "jax" else []
    assert bits(np.delete(layer.merge(), moved, 0)) == bits(np.delete(trap, moved, 0))
    assert (layer.merge()[0] != trap[0]).all() == bool(moved)
