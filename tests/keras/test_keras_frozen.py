"""Rows that do not train keep their bits, and so do absent ones and what is remembered of them."""

from __future__ import annotations

import keras
import ml_dtypes
import numpy as np
import pytest

from rowtune.keras import optimizers

TRAIN = [7, 0, 3, 8]
FROZEN = [1, 2, 4, 5, 6]
RNG = np.random.default_rng(0)
PLAIN = {"batch_size": 6, "shuffle": False, "verbose": 0}
OPTIMIZERS = {
    "adamw": lambda: optimizers.AdamW(0.1, weight_decay=0.1, clipnorm=0.5),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5, weight_decay=0.1),
    "rmsprop": lambda: optimizers.RMSprop(0.1, momentum=0.9, centered=True, clipvalue=0.5),
}


def batch_of(ids, size=12):
    """Every one of ``ids``, and some of them more than once, in every 6 lines of 4."""
    chosen = [RNG.permutation(np.resize(ids, 24)).reshape(6, 4) for _ in range(size // 6)]
    return np.concatenate(chosen).astype("int32"), RNG.standard_normal((size, 4, 4))


def moved(before, after):
    return np.flatnonzero((np.asarray(before) != np.asarray(after)).any(axis=1)).tolist()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_fit_moves_what_is_looked_up_and_trains(kind, trap, bits, make, rows_model, state_of):
    layer, optimizer = make(trap, train=TRAIN), OPTIMIZERS[kind]()
    model = rows_model(layer, optimizer)
    model.fit(*batch_of([*FROZEN, 0, 3, 7]), epochs=2, **PLAIN)
    assert moved(trap[TRAIN], layer.merge()[TRAIN]) == [0, 1, 2]
    assert bits(layer.merge(), [*FROZEN, 8]) == bits(trap, [*FROZEN, 8])
    assert bits(layer.base) == bits(trap)

    model.fit(*batch_of(range(9), size=6), **PLAIN)
    steps, arrays = state_of(optimizer, layer)
    assert steps.min() > 0
    assert all(array[[0, 3]].any() for array in arrays.values())
    kept = [layer.merge(), steps, *arrays.values()]
    for ids in ([*FROZEN, 3, 7], FROZEN):
        model.fit(*batch_of(ids), **PLAIN)
    steps, arrays = state_of(optimizer, layer)
    assert bits(layer.merge(), [0, 8, *FROZEN]) == bits(kept[0], [0, 8, *FROZEN])
    assert bits([steps, *arrays.values()], [0, 3]) == bits(kept[1:], [0, 3])
    assert moved(kept[0][TRAIN], layer.merge()[TRAIN]) == [0, 2]
    assert (steps - kept[1]).tolist() == [0, 2, 2, 0]


def test_a_batch_of_frozen_rows_alone_moves_nothing(trap, bits, make, rows_model, state_of, how):
    layer, optimizer = make(trap, train=TRAIN), OPTIMIZERS["adamw"]()
    model = rows_model(layer, optimizer, **how)
    model.train_on_batch(*batch_of(FROZEN, size=6))
    steps, arrays = state_of(optimizer, layer)
    assert bits(layer.merge()) == bits(trap)
    assert not steps.any()
    assert not any(array.any() for array in arrays.values())
    assert int(optimizer.iterations) == 1


def test_lookups_give_the_bits_of_frozen_rows(trap, bits, make, rows_model):
    layer = make(trap, train=TRAIN)
    model = rows_model(layer, OPTIMIZERS["adamw"]())
    ids = np.array([FROZEN[:4], FROZEN[1:]])
    assert bits(layer(ids)) == bits(trap[ids])
    assert bits(model.predict(ids, verbose=0)) == bits(trap[ids])


def test_frozen_columns_keep_their_bits(trap, bits, make, rows_model):
    trap[:, 0] = -0.0
    layer = make(trap, train=TRAIN, columns=[1, 3])
    model = rows_model(layer, OPTIMIZERS["adamw"]())
    model.fit(*batch_of(range(9)), **PLAIN)
    merged = layer.merge()
    assert bits(merged[:, [0, 2]]) == bits(trap[:, [0, 2]])
    assert bits(merged, FROZEN) == bits(trap, FROZEN)
    assert (merged[TRAIN][:, [1, 3]] != trap[TRAIN][:, [1, 3]]).all()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_half_precision_base_stays_what_it_was(dtype, bits, make, rows_model):
    weights = RNG.standard_normal((9, 4)).astype(dtype)
    weights[:, 0] = -0.0
    weights.view(np.uint16)[1, 1] = np.array(np.nan, dtype).view(np.uint16) | 5  # a payload
    layer = make(weights, train=TRAIN)
    assert layer.base.dtype == np.dtype(dtype).name
    assert layer.block.dtype == "float32"
    assert bits(layer.merge()) == bits(weights)
    model = rows_model(layer, OPTIMIZERS["adamw"]())
    model.fit(*batch_of(range(9), size=12), **PLAIN)
    assert bits(layer.base) == bits(weights)
    assert layer.merge().dtype == dtype
    assert bits(layer.merge(), FROZEN) == bits(weights, FROZEN)
    assert moved(weights[TRAIN], layer.merge()[TRAIN]) == [0, 1, 2, 3]
    rows = keras.ops.convert_to_numpy(layer(np.array([2, 4])))
    np.testing.assert_array_equal(rows, weights[[2, 4]].astype("float32"))


def test_saving_and_loading_keeps_every_bit(trap, bits, make, rows_model, tmp_path):
    layer = make(trap, train=TRAIN)
    model = rows_model(layer, OPTIMIZERS["adamw"]())
    model.fit(*batch_of(range(9)), **PLAIN)
    trained = bits(layer.merge())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0]
    assert bits(loaded.merge()) == trained
    assert bits([loaded.base, loaded.block]) == bits([layer.base, layer.block])

    model.save_weights(tmp_path / "model.weights.h5")
    other = make(np.ones_like(trap), train=TRAIN)
    into = rows_model(other, OPTIMIZERS["adamw"]())
    into.optimizer.build(into.trainable_variables)
    into.load_weights(tmp_path / "model.weights.h5")
    assert bits(other.merge()) == trained


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_half_precision_base_is_saved_as_it_is(dtype, bits, make, rows_model, tmp_path):
    weights = RNG.standard_normal((9, 4)).astype(dtype)
    weights[:, 0] = -0.0
    model = rows_model(make(weights, train=TRAIN), OPTIMIZERS["adamw"]())
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0]
    assert loaded.base.dtype == np.dtype(dtype).name
    assert bits(loaded.merge()) == bits(weights)
