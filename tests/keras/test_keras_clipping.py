"""Clipping, accumulation, loss scales and averages, with rows that are absent."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from judge import Judge

from rowtune import rules
from rowtune.keras import optimizers

RNG = np.random.default_rng(0)
TRAIN = [1, 3, 4, 5]
IDS = np.array([[1, 0, 3, 1], [2, 3, 3, 5]], "int32")  # 4 is absent
OTHER = np.array([[1, 0, 5, 5], [2, 2, 0, 0]], "int32")  # 3 and 4 are absent
UPSTREAM = RNG.standard_normal((2, 4, 2)).astype("float32")
START = RNG.standard_normal((6, 2)).astype("float32")


def dense_gradient(ids, upstream):
    """Of the block, by a loop."""
    gradient = np.zeros((len(TRAIN), 2))
    for i, row in zip(ids.ravel().tolist(), upstream.reshape(-1, 2), strict=True):
        if i in TRAIN:
            gradient[TRAIN.index(i)] += row
    return gradient


def norm(x):
    return np.sqrt((x**2).sum())


class Two(keras.Model):
    """A table and a dense variable, both of whose gradients are the labels'."""

    def __init__(self, table):
        super().__init__()
        self.table = table
        self.bias = self.add_weight(shape=(2,), initializer="zeros", name="bias")

    def call(self, ids):
        return self.table(ids) + self.bias


CLIPS = {
    "clipnorm": lambda grads: [g * min(1, 0.75 / norm(g)) for g in grads],
    "clipvalue": lambda grads: [np.clip(g, -0.75, 0.75) for g in grads],
    "global_clipnorm": lambda grads: [
        g * min(1, 0.75 / norm(np.concatenate([x.ravel() for x in grads]))) for g in grads
    ],
}


@pytest.mark.parametrize("clip", CLIPS)
def test_clipping_is_that_of_the_dense_gradient(clip, make, upstream_loss, bits, compiled):
    model = Two(make(START, train=TRAIN))
    model.compile(optimizers.SGD(0.5, **{clip: 0.75}), upstream_loss(), **compiled)
    model.train_on_batch(IDS, UPSTREAM)
    grads = [dense_gradient(IDS, UPSTREAM), UPSTREAM.sum((0, 1))]
    clipped = CLIPS[clip](grads)
    assert all(abs(c - g).max() > 0.01 for c, g in zip(clipped, grads, strict=True))
    expected = START.copy()
    expected[TRAIN] -= 0.5 * clipped[0]
    np.testing.assert_allclose(model.table.merge(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.bias.numpy(), -0.5 * clipped[1], rtol=1e-5)
    assert bits(model.table.merge(), [0, 2, 4]) == bits(START, [0, 2, 4])


MOMENTS = {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}


def test_accumulated_gradients_are_averaged(make, rows_model, state_of, bits, how):
    """A row is touched where its average is not zero; weight decay comes with that alone."""
    layer = make(START, train=TRAIN)
    given = {**MOMENTS, "weight_decay": 0.25, "gradient_accumulation_steps": 2}
    optimizer = optimizers.AdamW(0.125, **given)
    model = rows_model(layer, optimizer, **how)
    optimizer.build(model.trainable_variables)
    hyper = rules.get("adamw").hyper(lr=0.125, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.25)
    judge = Judge(START, TRAIN, "adamw", hyper)
    # 4 is absent from all, 3 from the third and fourth.
    for first, second in ((IDS, OTHER), (OTHER, OTHER)):
        before = bits([layer.merge(), *state_of(optimizer, layer)[1].values()])
        model.train_on_batch(first, UPSTREAM)
        assert bits([layer.merge(), *state_of(optimizer, layer)[1].values()]) == before
        model.train_on_batch(second, 2 * UPSTREAM)
        judge.update(np.stack([first, second]), np.stack([UPSTREAM, 2 * UPSTREAM]) / 2)
    np.testing.assert_allclose(layer.merge(), judge.matrix(), rtol=1e-5, atol=1e-6)
    steps, arrays = state_of(optimizer, layer)
    assert steps.tolist() == [judge.steps[i] for i in TRAIN] == [2, 1, 0, 2]
    for name in ("m", "v"):
        expected = judge.state_array(name, TRAIN, 0.0)
        np.testing.assert_allclose(arrays[name], expected, rtol=1e-5, atol=1e-7)
    assert bits(layer.merge(), [0, 2, 4]) == bits(START, [0, 2, 4])


@pytest.mark.parametrize("clip", [{}, {"global_clipnorm": 0.75}])
def test_a_loss_scale_changes_nothing(clip, make, rows_model, state_of, how):
    found = []
    for scale in (None, 1024.0):
        layer = make(START, train=TRAIN)
        optimizer = optimizers.Adam(0.125, **MOMENTS, **clip, loss_scale_factor=scale)
        model = rows_model(layer, optimizer, **how)
        for ids in (IDS, OTHER):
            model.train_on_batch(ids, UPSTREAM)
        found.append([layer.merge(), *state_of(optimizer, layer)[1].values()])
    for plain, scaled in zip(*found, strict=True):
        np.testing.assert_allclose(scaled, plain, rtol=1e-5, atol=1e-7)
    assert abs(found[0][0] - START)[[1, 3, 5]].min() > 0.01


@pytest.mark.parametrize("every", [None, 1])
def test_averages_over_steps_are_keras_own(every, make, rows_model, bits):
    layer = make(START, train=TRAIN)
    given = {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": every}
    model = rows_model(layer, optimizers.SGD(0.5, **given))
    block, average = START.astype(float), None
    for ids in (IDS, OTHER, IDS):
        model.train_on_batch(ids, UPSTREAM)
        block[TRAIN] -= 0.5 * dense_gradient(ids, UPSTREAM)
        average = block.copy() if average is None else 0.75 * average + 0.25 * block
        block = block if every is None else average.copy()
    np.testing.assert_allclose(layer.merge(), block, rtol=1e-5, atol=1e-6)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    np.testing.assert_allclose(layer.merge(), average, rtol=1e-5, atol=1e-6)
    assert bits(layer.merge(), [0, 2]) == bits(START, [0, 2])
