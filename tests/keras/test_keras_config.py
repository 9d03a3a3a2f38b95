"""What a layer takes, what its configuration holds, and what is refused."""

from __future__ import annotations

import json
import warnings

import keras
import numpy as np
import pytest

from rowtune.errors import IdError, PatchError, ShapeError
from rowtune.keras import Embedding, optimizers

MASK = np.isin(np.arange(9), [2, 5, 6])


@pytest.mark.parametrize(
    ("train", "ids", "held"),
    [
        ("all", range(9), "all"),
        (slice(3, 6), [3, 4, 5], {"start": 3, "stop": 6}),
        ([6, 2, 5], [2, 5, 6], [2, 5, 6]),
        (MASK, [2, 5, 6], [2, 5, 6]),
        (np.array([8]), [8], {"start": 8, "stop": 9}),
        ([], [], []),
    ],
)
@pytest.mark.parametrize(("columns", "wide"), [(None, 4), ([1, 3], 2), (slice(0, 2), 2)])
def test_a_choice_survives_its_configuration(train, ids, held, columns, wide):
    layer = Embedding(9, 4, train=train, columns=columns)
    config = json.loads(json.dumps(layer.get_config()))
    assert config["train"] == held
    again = Embedding.from_config(config)
    again.build()
    assert again.rows.ids.tolist() == list(ids)
    assert tuple(again.block.shape) == (len(ids), wide)
    assert again.get_config() == layer.get_config()


def test_a_configuration_holds_no_matrix():
    weights = np.random.default_rng(0).standard_normal((20_000, 8)).astype("float32")
    layer = Embedding(
        20_000,
        8,
        weights=weights,
        train=slice(19_000, None),
        mask_zero=True,
        embeddings_regularizer="l2",
        embeddings_constraint="max_norm",
    )
    config = keras.saving.serialize_keras_object(layer)
    assert len(json.dumps(config)) < 2_000
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is Embedding
    assert (again.mask_zero, again.name) == (True, layer.name)
    assert isinstance(again.embeddings_regularizer, keras.regularizers.L2)
    assert isinstance(again.embeddings_constraint, keras.constraints.MaxNorm)


def test_a_clone_trains_the_same_rows_and_can_take_the_weights(make, rows_model, bits):
    weights = np.random.default_rng(0).standard_normal((9, 4)).astype("float16")
    model = rows_model(make(weights, train=[2, 5]), "sgd")
    clone = keras.models.clone_model(model)
    layer = clone.layers[0]
    assert layer.rows.ids.tolist() == [2, 5]
    assert layer.base.dtype == "float16"
    assert bits(layer.merge()) != bits(weights)
    clone.set_weights(model.get_weights())
    assert bits(layer.merge()) == bits(weights)


def test_a_row_of_the_initializer_does_not_depend_on_which_train(bits):
    tables = []
    for train in ("all", [1], []):
        initializer = keras.initializers.RandomUniform(seed=3)
        layer = Embedding(5, 3, embeddings_initializer=initializer, train=train)
        layer.build()
        tables.append(bits(layer.merge()))
    assert tables[0] == tables[1] == tables[2]


def test_a_file_of_other_rows_is_refused(make, rows_model, tmp_path):
    weights = np.ones((9, 4), np.float32)
    zeros, chosen = np.zeros_like(weights), {"train": [2, 5], "columns": [0]}
    rows_model(make(zeros, **chosen), "sgd").save_weights(tmp_path / "a.weights.h5")
    for other, message in [
        (make(weights, train=[2, 6], columns=[0]), "other ids"),
        (make(weights, train=[2, 5], columns=[1]), "other columns"),
        (make(weights, train=[2, 5]), "expected"),
        (make(weights), "expected"),
        (make(np.ones((8, 4), np.float32), **chosen), "base has shape"),
    ]:
        with pytest.raises((PatchError, ValueError), match=message):
            rows_model(other, "sgd").load_weights(tmp_path / "a.weights.h5")
        assert (other.merge() == 1).all()


class Store(dict):
    """What `save_own_variables` writes into."""


def test_its_own_error_says_so(make):
    store = Store()
    make(np.ones((9, 4), np.float32), train=[2, 5]).save_own_variables(store)
    store = {name: np.asarray(keras.ops.convert_to_numpy(store[name])) for name in store}
    with pytest.raises(PatchError, match="other ids"):
        make(np.ones((9, 4), np.float32), train=[2, 6]).load_own_variables(store)


def test_matrices_that_are_refused():
    for shape in [(8, 4), (9, 3), (9,), (1, 9, 4)]:
        with pytest.raises(ShapeError, match=r"expected \(9, 4\)"):
            Embedding(9, 4, weights=np.ones(shape, np.float32))
    with pytest.raises(ShapeError, match="int64"):
        Embedding(9, 4, weights=np.ones((9, 4), np.int64))
    for sizes in [(0, 4), (9, -1), (True, 4), (9, 2.0)]:
        with pytest.raises(ShapeError, match="positive integer"):
            Embedding(*sizes)
    for train in ([9], [-1], [2, 2]):
        with pytest.raises(IdError):
            Embedding(9, 4, train=train)


def test_matrices_that_are_taken(bits):
    weights = np.random.default_rng(0).standard_normal((9, 4))
    for given in (weights, [weights], keras.ops.convert_to_tensor(weights, "float32")):
        layer = Embedding(9, 4, weights=given, train=[1])
        assert layer.base.dtype == "float32"
        assert bits(layer.merge()) == bits(weights.astype("float32"))


def test_ids_of_other_dtypes(make):
    layer = make(np.arange(18, dtype=np.float32).reshape(9, 2), train=[1])
    for dtype in ("uint8", "int8", "int32", "int64", "float32", "float16"):
        rows = keras.ops.convert_to_numpy(layer(keras.ops.convert_to_tensor([8, 1], dtype)))
        assert rows.tolist() == [[16, 17], [2, 3]]
    with pytest.raises(IdError, match="booleans"):
        layer(keras.ops.convert_to_tensor([True, False]))
    large = Embedding(3_000, 1, train=[1])
    assert large(keras.ops.convert_to_tensor([1.0], "float32")).shape == (1, 1)
    with pytest.raises(IdError, match=r"float16.*int32"):
        large(keras.ops.convert_to_tensor([1.0], "float16"))


def test_floats_are_ids_as_for_keras_own_layer(make):
    layer = make(np.arange(18, dtype=np.float32).reshape(9, 2), train=[1])
    model = keras.Sequential([keras.Input((2,)), layer])
    assert model.inputs[0].dtype == "float32"
    assert model.predict(np.array([[8, 1]]), verbose=0).tolist() == [[[16, 17], [2, 3]]]


def test_shapes_are_known_before_anything_is_run():
    ids = keras.Input((None,), dtype="int32")
    layer = Embedding(9, 4, train=[1])
    assert layer(ids).shape == (None, None, 4)
    assert layer.compute_output_shape((2, 3)) == (2, 3, 4)
    assert layer.count_params() == 9 * 4 + 4
    assert [w.name for w in layer.trainable_weights] == ["block"]
    assert [w.name for w in layer.non_trainable_weights] == ["base"]


def test_merging_warns_of_nothing(make):
    layer = make(np.ones((9, 4), np.float32), train=[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert layer.merge().sum() == 36


def test_optimizers_know_their_names():
    assert optimizers.Adam().name.startswith("adam")
    assert isinstance(optimizers.AdamW(), keras.optimizers.AdamW)


def test_rows_and_columns_are_chosen_by_tensors_too(make):
    ids, columns = keras.ops.convert_to_tensor([7, 0, 3]), keras.ops.convert_to_tensor([2, 1])
    layer = make(np.ones((9, 4), np.float32), train=ids, columns=columns)
    assert layer.rows.ids.tolist() == [0, 3, 7] and layer.columns.tolist() == [1, 2]
