"""Models of all kinds: masks, callbacks, shared and tied tables, mixed precision, bad ids."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from rowtune.keras import Embedding, optimizers

TRAIN = [7, 0, 3, 8]
FROZEN = [1, 2, 4, 5, 6]
RNG = np.random.default_rng(0)
IDS = np.array([[0, 1, 7, 0], [2, 3, 3, 5]], "int32")  # 8 is absent


class Tower(keras.Model):
    def __init__(self, table):
        super().__init__()
        self.table = table
        self.pool = keras.layers.GlobalAveragePooling1D()
        self.head = keras.layers.Dense(1, kernel_initializer="ones")

    def call(self, ids):
        rows = self.table(ids)
        return self.head(self.pool(rows, mask=self.table.compute_mask(ids)))


def sequential(table):
    pool, head = (
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(1, kernel_initializer="ones"),
    )
    return keras.Sequential([table, pool, head])


def functional(table):
    ids = keras.Input((4,), dtype="int32")
    rows = keras.layers.GlobalAveragePooling1D()(table(ids))
    return keras.Model(ids, keras.layers.Dense(1, kernel_initializer="ones")(rows))


@pytest.mark.parametrize("kind", [sequential, functional, Tower])
def test_models_of_every_kind_train_with_a_mask(kind, trap, bits, make, compiled):
    trap[FROZEN] = np.arange(20).reshape(5, 4) / 8
    layer = make(trap, train=TRAIN, mask_zero=True)
    model = kind(layer)
    expected = [trap[[1, 7]].mean(0).sum(), trap[[2, 3, 3, 5]].mean(0).sum()]
    np.testing.assert_allclose(ops.convert_to_numpy(model(IDS))[:, 0], expected, rtol=1e-5)
    model.compile(optimizers.SGD(0.5), "mse", **compiled)
    model.fit(IDS, np.array([1.0, 2.0]), verbose=0)
    slopes = [2 * (y - label) / 2 for y, label in zip(expected, (1.0, 2.0), strict=True)]
    trap[7] -= np.float32(0.5 * slopes[0] / 2)
    trap[3] -= np.float32(0.5 * slopes[1] * 2 / 4)
    np.testing.assert_allclose(layer.merge(), trap, rtol=1e-4)
    assert bits(layer.merge(), [0, 8, *FROZEN]) == bits(trap, [0, 8, *FROZEN])


def test_the_mask_is_where_ids_are_not_zero():
    layer = Embedding(5, 2, mask_zero=True)
    mask = ops.convert_to_numpy(layer.compute_mask(np.array([[0, 3], [4, 0]])))
    assert mask.tolist() == [[False, True], [True, False]]
    assert layer.supports_masking
    assert Embedding(5, 2).compute_mask(np.array([0])) is None


def test_fit_with_callbacks_and_validation(trap, bits, make, compiled, tmp_path):
    trap[FROZEN] = 1.0
    layer = make(trap, train=TRAIN)
    model = functional(layer)
    model.compile(optimizers.Adam(0.5), "mse", **compiled)
    best = tmp_path / "best.keras"
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.0 if epoch else 0.25),
        keras.callbacks.ModelCheckpoint(best, monitor="val_loss", save_best_only=True),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=1),
    ]
    data = IDS, np.array([1.0, 2.0])
    history = model.fit(
        *data, validation_data=data, epochs=5, callbacks=callbacks, verbose=0, batch_size=2
    ).history
    assert len(history["val_loss"]) == 2, "the second epoch's rate is zero, and so it stops"
    np.testing.assert_allclose(np.abs(layer.merge() - trap)[[0, 3, 7]], 0.25, rtol=1e-3)
    loaded = keras.models.load_model(best).layers[1]
    assert bits(loaded.merge()) == bits(layer.merge())
    assert bits(layer.merge(), [8, *FROZEN]) == bits(trap, [8, *FROZEN])


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return IDS, np.full((2, 4, 4), index + 1.0, "float32")


def test_data_sets_feed_it(trap, make, rows_model, backend):
    layer = make(trap, train=TRAIN)
    model = rows_model(layer, optimizers.SGD(0.5))
    data = Batches()
    if backend == "tensorflow":
        import tensorflow as tf

        parts = [np.stack(part) for part in zip(*[data[i] for i in range(3)], strict=True)]
        data = tf.data.Dataset.from_tensor_slices(tuple(parts))
    model.fit(data, shuffle=False, verbose=0)
    trap[[0, 7, 3]] -= np.array([[6.0], [3.0], [6.0]], "float32")
    np.testing.assert_allclose(layer.merge()[TRAIN], trap[TRAIN], rtol=1e-5)


def test_several_steps_in_one_execution(trap, make, rows_model, backend):
    steps = 1 if backend == "torch" else 2  # more than one is not for PyTorch, says Keras
    layer = make(trap, train=TRAIN)
    model = rows_model(layer, optimizers.SGD(0.5), steps_per_execution=steps)
    model.fit(np.repeat(IDS, 2, 0), np.ones((4, 4, 4)), batch_size=1, shuffle=False, verbose=0)
    trap[[0, 7, 3]] -= np.array([[2.0], [1.0], [2.0]], "float32")
    np.testing.assert_allclose(layer.merge()[TRAIN], trap[TRAIN], rtol=1e-5)
    assert int(model.optimizer.iterations) == 4


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(name, trap, bits, make, rows_model, state_of, policy):
    policy(name)
    layer = make(trap, train=TRAIN)
    assert keras.backend.standardize_dtype(layer(IDS).dtype) == name.removeprefix("mixed_")
    assert layer.block.dtype == "float32"
    model = rows_model(layer, optimizers.Adam(0.125, epsilon=0.0))
    scaled = name == "mixed_float16"
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) is scaled
    optimizer = model.optimizer.inner_optimizer if scaled else model.optimizer
    for _ in range(2):
        model.train_on_batch(IDS, np.ones((2, 4, 4), "float32"))
    expected = trap.copy()
    expected[[0, 3, 7]] -= 0.25
    np.testing.assert_allclose(layer.merge()[TRAIN], expected[TRAIN], rtol=1e-4)
    assert bits(layer.merge(), [8, *FROZEN]) == bits(trap, [8, *FROZEN])
    assert state_of(optimizer, layer)[0].tolist() == [2, 2, 2, 0]


class Watched(Embedding):
    def call(self, ids):
        self.seen = {keras.backend.standardize_dtype(v.value.dtype) for v in self.weights}
        return super().call(ids)


def test_mixed_precision_casts_rows_and_never_the_table(trap, policy):
    policy("mixed_float16")
    layer = Watched(9, 4, weights=trap, train=TRAIN)
    for call in (layer, keras.Sequential([layer])):
        call(IDS)
        assert layer.seen == {"float32"}


def test_a_batch_that_overflows_moves_nothing(trap, bits, make, rows_model, policy):
    policy("mixed_float16")
    layer = make(trap, train=TRAIN)
    model = rows_model(layer, optimizers.SGD(0.5))
    model.train_on_batch(IDS, np.full((2, 4, 4), 60_000.0, "float32"))
    assert bits(layer.merge()) == bits(trap)
    assert float(model.optimizer.dynamic_scale.numpy()) == 2.0**14
