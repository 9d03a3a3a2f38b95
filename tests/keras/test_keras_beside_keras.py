"""Beside Keras's own optimizers: the same for dense variables, and where every row is touched."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from rowtune.keras import Embedding, optimizers

TINY = {"epsilon": 1e-30}  # Keras adds it elsewhere
CASES = {
    "sgd": ("SGD", {"weight_decay": 0.1}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", TINY),
    "amsgrad": ("Adam", {"amsgrad": True, **TINY}),
    "adamw": ("AdamW", {"weight_decay": 0.1, **TINY}),
    "adamax": ("Adamax", TINY),
    "lion": ("Lion", {}),
    "adagrad": ("Adagrad", TINY),
    "adadelta": ("Adadelta", {}),
    "rmsprop": ("RMSprop", {"momentum": 0.9, **TINY}),
    "centered": ("RMSprop", {"centered": True, **TINY}),
}
RNG = np.random.default_rng(0)


def variable(value):
    return keras.Variable(value, dtype="float32")


@pytest.mark.parametrize("case", CASES)
def test_rows_touched_in_every_step_and_dense_variables(case, make, bits):
    """A dense gradient without zeros touches every row."""
    name, given = CASES[case]
    rows, kernel = RNG.standard_normal((6, 3)), RNG.standard_normal((3, 2))
    layer, dense = make(rows.astype("float32")), variable(kernel)
    theirs = [variable(rows), variable(kernel)]
    ours = getattr(optimizers, name)(0.0625, **given)
    reference = getattr(keras.optimizers, name)(0.0625, **given)
    for _ in range(4):
        grads = [RNG.uniform(1, 3, w.shape).astype("float32") for w in (rows, kernel)]
        ours.apply([ops.convert_to_tensor(g) for g in grads], [layer.block, dense])
        reference.apply([ops.convert_to_tensor(g) for g in grads], theirs)
    moved, expected = layer.merge() - rows, theirs[0].numpy() - rows
    assert abs(expected).min() > 1e-4
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-6)
    assert bits(dense) == bits(theirs[1])


def tower(table):
    return keras.Sequential(
        [keras.Input((3,), dtype="int32"), table, keras.layers.Flatten(), keras.layers.Dense(1)]
    )


def trained(table, optimizer, kernel, batches, compiled):
    model = tower(table)
    model.layers[-1].set_weights([kernel, np.zeros(1, "float32")])
    model.compile(optimizer, "mse", **compiled)
    for ids, labels in batches:
        model.train_on_batch(ids, labels)
    return model


def test_with_keras_adam_the_block_trains_as_keras_embedding_does(make, compiled):
    weights, kernel = RNG.standard_normal((9, 4)), RNG.standard_normal((12, 1))
    weights, kernel = weights.astype("float32"), kernel.astype("float32")
    batches = [(RNG.permutation(9).reshape(3, 3), RNG.standard_normal(3)) for _ in range(4)]
    layer = make(weights)
    ours = trained(layer, keras.optimizers.Adam(0.01), kernel, batches, compiled)
    own = keras.layers.Embedding(9, 4, weights=[weights])
    theirs = trained(own, keras.optimizers.Adam(0.01), kernel, batches, compiled)
    np.testing.assert_allclose(layer.merge(), own.embeddings.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        ours.layers[-1].kernel.numpy(), theirs.layers[-1].kernel.numpy(), rtol=1e-5
    )
    assert abs(layer.merge() - weights).min() > 1e-4


def test_a_model_may_change_to_keras_own_optimizer_and_back(make, rows_model):
    """What one optimizer asks of a block, the next one does not have to understand."""
    layer = make(np.zeros((4, 2), np.float32), train=[1, 3])
    batch = np.array([[0, 1, 1, 2]]), np.ones((1, 4, 2), "float32")
    rows_model(layer, optimizers.SGD(0.5)).train_on_batch(*batch)
    assert layer.merge()[:, 0].tolist() == [0, -1, 0, 0]
    for kind in ("SGD", "Adam", "RMSprop"):
        before = layer.merge()
        rows_model(layer, getattr(keras.optimizers, kind)(1.0)).train_on_batch(*batch)
        assert before[1, 0] - layer.merge()[1, 0] > 0.5
    before = layer.merge()
    rows_model(layer, optimizers.SGD(0.5)).train_on_batch(*batch)
    np.testing.assert_allclose((before - layer.merge())[:, 0], [0, 1, 0, 0], rtol=1e-6)


def test_weight_decay_leaves_out_what_is_excluded(make, rows_model):
    for by_name in (False, True):
        layer = make(np.ones((3, 2), np.float32), train=[1, 2])
        optimizer = optimizers.SGD(0.5, weight_decay=0.5)
        names = {"var_names": ["block"]} if by_name else {"var_list": [layer.block]}
        optimizer.exclude_from_weight_decay(**names)
        model = rows_model(layer, optimizer, length=1)
        model.train_on_batch(np.array([[1]]), np.full((1, 1, 2), 0.5))
        assert layer.merge()[:, 0].tolist() == [1, 0.75, 1]


def test_dense_weights_decay_and_absent_rows_do_not(make):
    layer, dense = make(np.ones((3, 2), np.float32)), variable(np.ones(2))
    optimizer = optimizers.SGD(0.5, weight_decay=0.5)
    gradient = np.array([[0, 0], [1, 1], [0, 0]], "float32")
    pair = [ops.convert_to_tensor(gradient), ops.convert_to_tensor(np.zeros(2, "float32"))]
    optimizer.apply(pair, [layer.block, dense])
    assert layer.merge().tolist() == [[1, 1], [0.25, 0.25], [1, 1]]
    assert dense.numpy().tolist() == [0.75, 0.75]


def test_a_wrong_hyper_parameter_is_refused_when_the_state_is_made(make):
    layer = make(np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"beta1=1\.5; expected"):
        optimizers.Adam(0.1, beta_1=1.5).build([layer.block])


def test_optimizers_are_made_again_from_their_configuration():
    for name in optimizers.__all__:
        made = getattr(optimizers, name)(0.25, clipnorm=1.0)
        again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
        assert type(again) is type(made)
        assert again.get_config() == made.get_config()
        assert again.get_config()["learning_rate"] == 0.25


def test_a_small_state_is_all_that_there_is(make):
    """k numbers for a rule of rows, none of Keras's own beside them."""
    layer = Embedding(100, 8, train=[1, 2, 3])
    layer.build()
    dense = variable(np.zeros(5))
    optimizer = optimizers.RowwiseAdagrad()
    optimizer.build([layer.block, dense])
    shapes = sorted(tuple(v.shape) for v in optimizer.variables)
    assert shapes == [(), (), (3,), (3, 1), (5,)]
