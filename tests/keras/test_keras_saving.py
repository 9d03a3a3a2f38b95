"""Training that goes on after a pause, and models that change from one backend to another."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from rowtune.keras import optimizers

TRAIN = [7, 0, 3, 8]
RNG = np.random.default_rng(0)
NEXT = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}
BATCHES = [
    (RNG.integers(0, 9, (3, 4)).astype("int32"), RNG.standard_normal((3, 4, 4)).astype("float32"))
    for _ in range(6)
]
OPTIMIZERS = {
    "adamw": lambda: optimizers.AdamW(0.1, weight_decay=0.1, amsgrad=True),
    "sgd": lambda: optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2),
    "adagrad": lambda: optimizers.RowwiseAdagrad(0.1, use_ema=True, clipnorm=1.0),
}


def train(model, batches):
    for batch in batches:
        model.train_on_batch(*batch)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_goes_on_as_if_there_had_been_no_pause(
    kind, trap, bits, make, rows_model, tmp_path
):
    model = rows_model(make(trap, train=TRAIN), OPTIMIZERS[kind]())
    train(model, BATCHES[:3])
    count = len(model.optimizer.variables)
    model.save(tmp_path / "model.keras")
    train(model, BATCHES[3:])

    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    assert len(loaded.optimizer.variables) == count == len(model.optimizer.variables)
    train(loaded, BATCHES[3:])
    assert bits(loaded.layers[0].merge()) == bits(model.layers[0].merge())
    assert bits(loaded.optimizer.variables) == bits(model.optimizer.variables)
    assert loaded.layers[0].rows.ids.tolist() == [0, 3, 7, 8]


CHILD = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
if sys.argv[5] == "torch":
    import torch
if sys.argv[5] != "tensorflow":
    sys.modules["tensorflow"] = None
import keras, rowtune.keras
model = keras.models.load_model(sys.argv[1])
ids = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict(ids, verbose=0))
np.save(sys.argv[4], model.layers[1].merge())
state = [np.asarray(v.numpy()).astype("float64").tolist() for v in model.optimizer.variables]
print(json.dumps([keras.backend.backend(), state]))
"""


def test_another_backend_loads_the_model(trap, bits, make, compiled, tmp_path, backend):
    other = NEXT[backend]
    trap[1] = 0.5  # predictions are compared as numbers
    layer = make(trap, train=TRAIN)
    ids = keras.Input((4,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(2)(keras.layers.Flatten()(layer(ids))))
    model.compile(optimizers.Adam(0.1), "mse", **compiled)
    for batch, _ in BATCHES[:2]:
        model.train_on_batch(batch, np.ones((3, 2)))
    paths = [str(tmp_path / n) for n in ("model.keras", "ids.npy", "predicted.npy", "rows.npy")]
    model.save(paths[0])
    np.save(paths[1], BATCHES[2][0])
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *paths, other],
        env={**os.environ, "KERAS_BACKEND": other, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    name, state = json.loads(child.stdout.splitlines()[-1])
    assert name == other
    assert bits(np.load(paths[3])) == bits(layer.merge())
    expected = model.predict(BATCHES[2][0], verbose=0)
    np.testing.assert_allclose(np.load(paths[2]), expected, rtol=1e-5, atol=1e-6)
    assert len(state) == len(model.optimizer.variables)
    for theirs, ours in zip(state, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(theirs, ours.numpy())
