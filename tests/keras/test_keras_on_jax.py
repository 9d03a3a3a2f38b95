"""JAX alone: compiled steps touch only rows, and whatever else is done with gradients is right."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from judge import Judge
from keras import ops

from rowtune import rules
from rowtune.keras import Embedding, optimizers

TRAIN = [7, 0, 3, 8]
RNG = np.random.default_rng(0)
IDS = np.array([[0, 1, 7, 0], [2, 3, 3, 5]], "int32")  # 8 is absent
UPSTREAM = RNG.standard_normal((2, 4, 4)).astype("float32")
START = RNG.standard_normal((9, 4)).astype("float32")


def arguments_of(model):
    model.optimizer.build(model.trainable_variables)
    lists = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    return tuple([v.value for v in variables] for variables in lists)


@pytest.fixture
def program():
    """The text of a model's training step, optimized and compiled."""
    jax.config.update("jax_disable_most_optimizations", False)

    def of(model, data):
        step = jax.jit(model.train_step, donate_argnums=0)
        return step.lower(arguments_of(model), data).compile().as_text()

    yield of
    jax.config.update("jax_disable_most_optimizations", True)


COUNT = 100_003
AT_ALL_ROWS = re.compile(
    rf"f32\[{COUNT},8\]\S* (broadcast|add|subtract|multiply|divide|sqrt|select|compare|convert)\("
)
CLIPPED = {"global_clipnorm": 1.0, "loss_scale_factor": 8.0}


@pytest.mark.parametrize("twice", [False, True])
def test_a_compiled_step_does_nothing_to_all_rows(twice, upstream_loss, program):
    for optimizer, is_sparse in (
        (optimizers.AdamW(0.1, weight_decay=0.1, **CLIPPED), True),
        (keras.optimizers.Adam(0.1), False),
    ):
        layer = Embedding(COUNT, 8)
        ids = keras.Input((4,), dtype="int32")
        rows = layer(ids) * layer(ids + 1) if twice else layer(ids)
        model = keras.Model(ids, rows)
        model.compile(optimizer, upstream_loss(), jit_compile=True)
        text = program(model, (jnp.asarray(IDS), jnp.ones((2, 4, 8), "float32")))
        assert f"f32[{COUNT},8]" in text
        assert (AT_ALL_ROWS.search(text) is None) is is_sparse


def train(model):
    model.train_on_batch(IDS, UPSTREAM)


def assert_agrees(layer, loss, model_of=keras.Sequential, **how):
    """Two steps of a model, beside those of the judge."""
    hyper = rules.get("adam").hyper(lr=0.125, eps=1e-3)
    judge = Judge(START, TRAIN, "adam", hyper)
    model = model_of([keras.Input((4,), dtype="int32"), layer])
    model.compile(optimizers.Adam(0.125, epsilon=1e-3), loss, **{"jit_compile": True, **how})
    for _ in range(2):
        train(model)
        judge.update(IDS, UPSTREAM)
    np.testing.assert_allclose(layer.merge(), judge.matrix(), rtol=1e-4, atol=1e-5)


def plain():
    return Embedding(9, 4, weights=START, train=TRAIN)


def test_eager_steps(upstream_loss):
    assert_agrees(plain(), upstream_loss(), run_eagerly=True, jit_compile=False)


def test_rematerialization(upstream_loss):
    with keras.RematScope(mode="full"):
        layer = plain()
    assert_agrees(layer, upstream_loss())


class Mapped(Embedding):
    """Whose lookups are in a loop of JAX's."""

    def call(self, ids):
        return jax.lax.map(super().call, ids)


class Compiled(Embedding):
    def call(self, ids):
        return jax.jit(super().call)(ids)


class Vectorized(Embedding):
    def call(self, ids):
        return ops.vectorized_map(super().call, ids)


@pytest.mark.parametrize("kind", [Mapped, Compiled, Vectorized])
def test_lookups_in_programs_of_their_own(kind, upstream_loss):
    assert_agrees(kind(9, 4, weights=START, train=TRAIN), upstream_loss())


class ByHand(keras.Sequential):
    """A training step of the user's own, as Keras's guide writes it."""

    def gradients(self, state, data):
        trainable, rest, of_optimizer, metrics = state
        differentiate = jax.grad(self.compute_loss_and_updates, has_aux=True)
        return differentiate(
            trainable, rest, metrics, *data, training=True, optimizer_variables=of_optimizer
        )

    def train_step(self, state, data):
        grads, aux = self.together(state, data)
        trainable, of_optimizer = self.optimizer.stateless_apply(state[2], grads, state[0])
        return {"loss": aux[0]}, (trainable, aux[2], of_optimizer, state[3])


class Scaled(ByHand):
    def together(self, state, data):
        ids, upstream, weights = data
        grads, aux = self.gradients(state, (ids, 4 * upstream, weights))
        return [g / 4 for g in grads], aux


class InTwoParts(ByHand):
    def together(self, state, data):
        ids, upstream, weights = data
        first, _ = self.gradients(state, (ids[:1], upstream[:1], weights))
        second, aux = self.gradients(state, (ids[1:], upstream[1:], weights))
        return [a + b for a, b in zip(first, second, strict=True)], aux


class OneForgotten(ByHand):
    def together(self, state, data):
        ids, upstream, weights = data
        grads, aux = self.gradients(state, data)
        self.gradients(state, (ids, 3 * upstream, weights))
        return grads, aux


class Looked(ByHand):
    """It measures the gradient, as one does before clipping it."""

    def together(self, state, data):
        grads, aux = self.gradients(state, data)
        norm = jnp.sqrt(sum((g**2).sum() for g in grads))
        return [g * jnp.minimum(1, 1e6 / norm) for g in grads], aux


@pytest.mark.parametrize("model_of", [Scaled, InTwoParts, OneForgotten, Looked])
def test_gradients_that_a_step_of_ones_own_works_on(model_of, upstream_loss):
    assert_agrees(plain(), upstream_loss(), model_of)


def test_gradients_that_are_clipped_by_hand(upstream_loss):
    class Clipped(ByHand):
        def together(self, state, data):
            grads, aux = self.gradients(state, data)
            norm = jnp.sqrt(sum((g**2).sum() for g in grads))
            return [g * jnp.minimum(1, 0.5 / norm) for g in grads], aux

    layer = plain()
    model = Clipped([keras.Input((4,), dtype="int32"), layer])
    model.compile(optimizers.SGD(1.0), upstream_loss(), jit_compile=True)
    train(model)
    np.testing.assert_allclose(np.sqrt(((layer.merge() - START) ** 2).sum()), 0.5, rtol=1e-5)


def test_a_loop_of_ones_own(upstream_loss):
    """Without any model's training step, with and without `scale_loss`."""
    for scale in (True, False):
        layer, optimizer = plain(), optimizers.SGD(0.5)
        optimizer.build([layer.block])

        @jax.jit
        def step(
            blocks, of_optimizer, ids, upstream, layer=layer, optimizer=optimizer, scale=scale
        ):
            def loss(blocks):
                rows, _ = layer.stateless_call(blocks, [layer.base.value], ids)
                total = (rows * upstream).sum()
                if not scale:
                    return total
                pairs = zip(optimizer.variables, of_optimizer, strict=True)
                with keras.StatelessScope(state_mapping=list(pairs)):
                    return optimizer.scale_loss(total)

            return optimizer.stateless_apply(of_optimizer, jax.grad(loss)(blocks), blocks)

        (block,), _ = step(
            [layer.block.value], [v.value for v in optimizer.variables], IDS, UPSTREAM
        )
        expected = START[[0, 3, 7, 8]].copy()
        for i, row in zip(IDS.ravel().tolist(), UPSTREAM.reshape(-1, 4), strict=True):
            if i in TRAIN:
                expected[[0, 3, 7, 8].index(i)] -= 0.5 * row
        np.testing.assert_allclose(block, expected, rtol=1e-5, atol=1e-6)


def test_a_gradient_for_something_else_is_whole(upstream_loss):
    layer = plain()
    model = keras.Sequential([keras.Input((4,), dtype="int32"), layer])
    model.compile(optimizers.SGD(0.5), upstream_loss(), jit_compile=True)
    train(model)

    def total(block):
        rows, _ = model.stateless_call([block], [layer.base.value], IDS)
        return rows[..., 0].sum()

    for grad in (jax.grad(total), jax.jit(jax.grad(total))):
        assert grad(layer.block.value)[:, 0].tolist() == [2, 2, 1, 0]
