"""Training loops without `fit`: tapes, `backward`, and gradients in hand. JAX's are elsewhere."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from judge import Judge
from keras import ops

from rowtune import rules
from rowtune.errors import NonFiniteError
from rowtune.keras import optimizers

TRAIN = [7, 0, 3, 8]
RNG = np.random.default_rng(0)
IDS = np.array([[0, 1, 7, 0], [2, 3, 3, 5]], "int32")  # 8 is absent
START = RNG.standard_normal((9, 4)).astype("float32")


def gradient_on_tensorflow(layer, upstream, scaled):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = scaled(ops.sum(layer(IDS) * upstream))
    return tape.gradient(loss, [layer.block.value])


def gradient_on_torch(layer, upstream, scaled):
    layer.block.value.grad = None
    scaled(ops.sum(layer(IDS) * ops.convert_to_tensor(upstream))).backward()
    return [layer.block.value.grad]


def gradient_on_jax(layer, upstream, scaled):
    import jax

    def loss(block):
        rows, _ = layer.stateless_call([block], [layer.base.value], IDS)
        return scaled(ops.sum(rows * upstream))

    return [jax.grad(loss)(layer.block.value)]


@pytest.mark.parametrize("scale", [True, False])
def test_a_loop_of_ones_own(scale, make, backend, state_of):
    """With `scale_loss`, and without it."""
    layer, optimizer = make(START, train=TRAIN), optimizers.Adam(0.125, epsilon=1e-3)
    judge = Judge(START, TRAIN, "adam", rules.get("adam").hyper(lr=0.125, eps=1e-3))
    optimizer.build([layer.block])
    for _ in range(3):
        upstream = RNG.standard_normal((2, 4, 4)).astype("float32")
        scaled = optimizer.scale_loss if scale else lambda loss: loss
        grads = globals()[f"gradient_on_{backend}"](layer, upstream, scaled)
        optimizer.apply(grads, [layer.block])
        judge.update(IDS, upstream)
    np.testing.assert_allclose(layer.merge(), judge.matrix(), rtol=1e-4, atol=1e-5)
    assert state_of(optimizer, layer)[0].tolist() == [3, 3, 3, 0]


def test_a_dense_gradient_moves_the_rows_that_are_not_zero(make, bits):
    layer, optimizer = make(START, train=TRAIN), optimizers.AdamW(0.125, weight_decay=0.5)
    gradient = np.zeros((4, 4), "float32")
    gradient[[1, 2], [0, 3]] = 1.0, -0.0
    for _ in range(2):
        optimizer.apply([ops.convert_to_tensor(gradient)], [layer.block])
    assert bits(np.delete(layer.merge(), 3, 0)) == bits(np.delete(START, 3, 0))
    assert (layer.merge()[3] != START[3]).all()


def test_a_variable_without_a_gradient_stays(make, bits):
    layer, dense = make(START, train=TRAIN), keras.Variable(np.ones(2, "float32"))
    optimizer = optimizers.SGD(0.5)
    optimizer.build([layer.block, dense])
    with pytest.warns(UserWarning, match="block"):
        optimizer.apply([None, ops.convert_to_tensor(np.ones(2, "float32"))])
    assert bits(layer.merge()) == bits(START)
    assert dense.numpy().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite(number, make, backend, bits):
    """It is refused; on JAX, where nothing can be, its row alone is lost."""
    layer, optimizer = make(START, train=TRAIN), optimizers.Adam(0.125)
    gradient = np.zeros((4, 4), "float32")
    gradient[1] = 1, 2, number, 3
    kept = slice(None)
    if backend == "jax":
        optimizer.apply([ops.convert_to_tensor(gradient)], [layer.block])
        assert np.isnan(layer.merge()[3]).any()
        kept = [0, 1, 2, 4, 5, 6, 7, 8]
    else:
        with pytest.raises(NonFiniteError):
            optimizer.apply([ops.convert_to_tensor(gradient)], [layer.block])
    assert bits(layer.merge(), kept) == bits(START, kept)
