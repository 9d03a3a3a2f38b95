"""Bases in a memory map, and in fewer bits: the same numbers, the same bytes after training, saved
and loaded, and memory for what is looked up.
"""

from __future__ import annotations

import hashlib

import keras
import large_bases
import numpy as np
import pytest
from large_bases import TRAIN, WEIGHTS, D, N, mapped

import growth
import rowtune.keras as rk
from rowtune import places
from rowtune.errors import IdError, PatchError, RowtuneError, ShapeError
from rowtune.keras import optimizers
from rowtune.keras.weights import on_host

BACKEND = keras.backend.backend()


def base_of(kind, folder):
    """The base, and the table that it stands for."""
    return large_bases.base_of(kind, folder, quiet=True)


def digest(layer, folder):
    """Of codes and scales where the layer has them, and of every file."""
    held = [x for x in (layer.base, layer.scales) if isinstance(x, keras.Variable)]
    bits = [on_host(x).tobytes() for x in held]
    bits += [path.read_bytes() for path in sorted(folder.iterdir())]
    return hashlib.sha256(b"".join(bits)).hexdigest()


@pytest.mark.parametrize(
    ("kind", "columns"),
    [("map float32", None), ("map float16", [5, 1]), ("map bfloat16", None), ("map int8", [5, 1]),
     ("int8", [5, 1]), ("int8", None), ("float16", None), ("bfloat16", [5, 1])],
)  # fmt: skip
def test_lookups_give_the_rows(kind, columns, tmp_path, monkeypatch):
    if columns:
        monkeypatch.setattr(places, "_SMALL_SLOT_MAP", 0)
        monkeypatch.setattr(places, "_ROWS_PER_TRAINABLE_ROW_TO_SEARCH", 8)
    given, expected = base_of(kind, tmp_path / "a")
    layer = rk.Embedding(N, D, weights=given, train=TRAIN, columns=columns)
    ids, same = np.array([[0, 3, 20], [39, 17, 3]]), np.testing.assert_array_equal
    same(on_host(layer(ids)), expected[ids])
    same(layer.merge(), expected)
    layer.block.assign(layer.block + 1)
    change = np.zeros((N, D), np.float32)
    change[np.ix_(TRAIN, range(D) if columns is None else columns)] = 1
    expected = expected.astype(np.float32)
    np.testing.assert_allclose(on_host(layer(np.arange(N))), expected + change, rtol=1e-6)
    assert len(layer.trainable_variables) == 1
    with pytest.raises(IdError, match=f"id {N} is not a row"):
        layer(np.array([N]))


@pytest.mark.parametrize("kind", ["map float32", "map int8", "int8", "bfloat16"])
def test_training_is_that_of_the_table_it_stands_for_and_leaves_its_bytes(
    kind, tmp_path, rows_model
):
    given, wide = base_of(kind, tmp_path / "a")
    rule = optimizers.Adam if kind.startswith("map") else optimizers.Adagrad
    found, target = [], np.ones((2, 4, D), np.float32)
    ids = np.array([[3, 3, 5, 20], [39, 0, 17, 20]])
    for weights in (given, wide):
        layer = rk.Embedding(N, D, weights=weights, train=TRAIN)
        model, before = (
            rows_model(layer, rule(0.1, weight_decay=0.1)),
            digest(layer, tmp_path / "a"),
        )
        start = on_host(layer.block).copy()
        for _ in range(2):
            model.train_on_batch(ids, target)
        assert digest(layer, tmp_path / "a") == before
        found.append(on_host(layer.block))
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert (found[0] != start).any(axis=1).tolist() == [True, True, False, True]


@pytest.mark.parametrize("kind", ["map float32", "int8", "bfloat16"])
def test_a_model_is_saved_and_loaded(kind, tmp_path, rows_model):
    given, wide = base_of(kind, tmp_path / "a")
    words = {"train": TRAIN, "name": "words"}
    model = rows_model(rk.Embedding(N, D, weights=given, **words), optimizers.SGD(0.1))
    model.train_on_batch(np.array([[3, 3, 5, 20]]), np.ones((1, 4, D), np.float32))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    layer, ids = loaded.get_layer("words"), np.array([[3, 20, 39, 0]])
    if kind.startswith("map"):
        with pytest.raises(RowtuneError, match=r"get_layer\('words'\).attach\(weights\)"):
            loaded.predict_on_batch(ids)
        with pytest.raises(PatchError, match="belongs to another base"):
            layer.attach(mapped(wide[::-1], tmp_path / "other.npy"))
        with pytest.raises(ShapeError, match="expected"):
            layer.attach(wide[1:])
        layer.attach(given)
        model.load_weights(tmp_path / "model.keras")
    else:
        with pytest.raises(ShapeError, match="keeps its base itself"):
            layer.attach(given)
    assert layer.merge().tobytes() == model.get_layer("words").merge().tobytes()
    np.testing.assert_array_equal(loaded.predict_on_batch(ids), model.predict_on_batch(ids))
    other = rows_model(rk.Embedding(N, D, weights=WEIGHTS, **words), optimizers.SGD(0.1))
    with pytest.raises((PatchError, ValueError)):
        other.load_weights(tmp_path / "model.keras")


def test_a_map_of_another_shape_or_of_integers(tmp_path):
    with pytest.raises(ShapeError, match=r"expected \(40, 6\)"):
        rk.Embedding(N, D, weights=mapped(WEIGHTS[1:], tmp_path / "x.npy"), train=TRAIN)
    with pytest.raises(ShapeError, match="expected floats"):
        rk.Embedding(N, D, weights=mapped(np.ones((N, D), int), tmp_path / "x.npy"), train=TRAIN)


def test_a_map_of_float64_gives_rows_of_the_layers_dtype(tmp_path):
    layer = rk.Embedding(N, D, weights=mapped(WEIGHTS * 1.0, tmp_path / "x.npy"), train=TRAIN)
    np.testing.assert_array_equal(on_host(layer(np.arange(N))), WEIGHTS)


PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
if os.environ["KERAS_BACKEND"] != "tensorflow":
    sys.modules["tensorflow"] = None
if os.environ["KERAS_BACKEND"] == "torch":
    import torch
import keras
import rowtune.keras as rk
from rowtune.quantized import quantize
ids = rng.integers(0, N, (64, 64))
small, target = np.ones((9 * 4096, D), np.float32), np.ones((64, 64, D), np.float32)


def run(given, train):
    layer = rk.Embedding(*given.shape, weights=given, train=train)
    model = keras.Sequential([keras.Input((64,), dtype="int32"), layer])
    model.compile(rk.optimizers.Adam(0.1), "mse")
    model.train_on_batch(ids % len(given), target)
    return model, model.predict_on_batch(ids % len(given))


kept = [run(given, np.arange(1000)) for given in (small, quantize(small), small)]
for kind in ("float32", "int8"):
    given = base(kind, PATH)
    before = resident()
    kept.append(run(given, np.arange(1000) * 1000))
    grown = resident() - before
    assert grown < 100, (kind, grown)
    print(kind, round(grown))
"""


def test_20_gb_take_memory_for_what_is_looked_up(tmp_path):
    assert len(growth.of(PROGRAM, tmp_path, KERAS_BACKEND=BACKEND).splitlines()) == 2


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="exporters of JAX and PyTorch fail by themselves"
)
def test_an_export_holds_codes_and_refuses_a_map(tmp_path):
    """It would be written, and fail in the process that serves it."""
    import tensorflow as tf

    ids = np.array([[3, 3, 5, 20]])
    for kind in ("int8", "map int8"):
        given, _ = base_of(kind, tmp_path / kind)
        layer = rk.Embedding(N, D, weights=given, train=TRAIN, name="words")
        model = keras.Sequential([keras.Input((4,), dtype="int64"), layer])
        expected = model.predict_on_batch(ids)
        folder = tmp_path / "exported" / kind
        if kind == "int8":
            model.export(folder, verbose=False)
            loaded = tf.saved_model.load(str(folder))
            np.testing.assert_array_equal(loaded.serve(tf.constant(ids)), expected)
        else:
            with pytest.raises(RowtuneError, match=r"get_layer\('words'\).merge\(\)"):
                model.export(folder, verbose=False)
            assert not folder.exists()
            model.save(tmp_path / "model.keras")  # which does not hold it either, and is no export
