"""Training steps on one backend of Keras: ``keras_steps.py BACKEND`` prints seconds as JSON.

200,000 and 4,000,000 rows of 64 columns, float32, all of which train, 256 ids drawn evenly. A step
is a `train_on_batch` of a model that is its embedding, with Adam and the mean squared error:

* keras.optimizers.Adam on `keras.layers.Embedding`;
* rowtune.keras.optimizers.Adam on `rowtune.keras.Embedding`;
* on TensorFlow, also `rowtune.tensorflow` by hand: a tape in a `tf.function`.

One step of all is compared first, on ids that come once each (Keras on TensorFlow squares repeated
ids one by one). Then they take turns on the same batches.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

KERAS, OURS, TAPE = "keras Adam", "rowtune.keras Adam", "rowtune.tensorflow, tape"
SMALL, LARGE, WIDTH, IDS, LR = 200_000, 4_000_000, 64, 256, 1e-3
EPSILON = 1e-14  # Keras has it in another place: small beside gradients of 1e-5
BATCHES, IN_A_ROW, ROUNDS = 16, 50, {SMALL: 24, LARGE: 5}


def measure(backend: str) -> dict[str, Any]:
    os.environ.update(KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3")
    if backend == "torch":
        import torch  # noqa: F401 - before TensorFlow, which Keras imports where it is
    found = {rows: _times(backend, rows) for rows in (SMALL, LARGE)}
    return {"backend": backend, "seconds": found}


def _times(backend: str, rows: int) -> dict[str, list[float]]:
    import numpy as np

    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((rows, WIDTH), dtype=np.float32)
    ways = _ways(backend, matrix)
    target = np.zeros((IDS, WIDTH), np.float32)
    _compare(ways, matrix, rng.choice(rows, IDS, replace=False).astype(np.int32), target)
    del matrix
    batches = [rng.integers(0, rows, IDS).astype(np.int32) for _ in range(BATCHES)]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS[rows]):
        for name, (step, _) in ways.items():
            for i in range(1 if name == KERAS else IN_A_ROW):
                batch = batches[(turn + i) % BATCHES]
                start = time.perf_counter()
                step(batch, target)
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _ways(backend: str, matrix: Any) -> dict[str, tuple[Callable[..., Any], Any]]:
    """For each: its step, and its rows of given ids."""
    import keras

    import rowtune.keras as rk

    def model(layer: Any, optimizer: Any) -> Any:
        ids = keras.Input((), dtype="int32")
        made = keras.Model(ids, layer(ids))
        made.compile(optimizer, "mse")
        return made.train_on_batch

    def rows_of(variable: Any) -> Any:
        return lambda ids: keras.ops.convert_to_numpy(keras.ops.take(variable, ids, axis=0))

    theirs = keras.layers.Embedding(*matrix.shape, weights=[matrix])
    ours = rk.Embedding(*matrix.shape, weights=matrix)
    ways = {
        KERAS: (model(theirs, keras.optimizers.Adam(LR, epsilon=EPSILON)), theirs.embeddings),
        OURS: (model(ours, rk.optimizers.Adam(LR, epsilon=EPSILON)), ours.block),
    }
    ways = {name: (step, rows_of(variable)) for name, (step, variable) in ways.items()}
    if backend == "tensorflow":
        ways[TAPE] = _by_tape(matrix)
    return ways


def _by_tape(matrix: Any) -> tuple[Callable[..., Any], Any]:
    import tensorflow as tf

    import rowtune.tensorflow as rtf

    table = rtf.Embedding(matrix)
    optimizer = rtf.RowOptimizer("adam", lr=LR, eps=EPSILON)

    @tf.function
    def step(ids: Any, target: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(table(ids) - target))
        optimizer.apply(tape.gradient(loss, table.block), table)
        return loss

    def and_wait(ids: Any, target: Any) -> float:
        return float(step(tf.constant(ids), tf.constant(target)))

    return and_wait, lambda ids: tf.gather(table.block, ids).numpy()


def _compare(ways: dict[str, Any], matrix: Any, ids: Any, target: Any) -> None:
    import numpy as np

    before = matrix[ids]
    moved = {}
    for name, (step, rows_of) in ways.items():
        for _ in range(2):  # the second is compiled as all that come
            step(ids, target)
        moved[name] = rows_of(ids)
        assert (abs(moved[name] - before) > LR).mean() > 0.99, f"{name} has not trained"
        np.testing.assert_allclose(moved[name], moved[KERAS], rtol=0, atol=2e-5, err_msg=name)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
