"""A mask over the whole table against a layer that knows its rows: ``keras_masked.py WAY``.

What people write to train a part of an embedding (a Stack Overflow answer of 2022, here anew): a
layer holds a mask of N rows, made by comparing N ids with k; a call multiplies the table by mask
and complement, stops one of the gradients, and gathers. 400,000 x 50, of which 10,000 rows train,
64 x 20 ids, Adam, on TensorFlow. Each way has a process of its own, which prints seconds and peak
memory as JSON; what TensorFlow takes by itself is read before and taken off.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from typing import Any

import numpy as np

ROWS, WIDTH, TRAINABLE, BATCH, STEPS, LR = 400_000, 50, 10_000, (64, 20), 40, 1e-3
MASK, OURS = "mask over the table", "rowtune.keras"


def measure(way: str) -> dict[str, Any]:
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(ROWS, TRAINABLE, replace=False))
    matrix = rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    batches = [
        np.where(rng.random(BATCH) < 0.3, rng.choice(chosen, BATCH), rng.integers(0, ROWS, BATCH))
        for _ in range(8)
    ]
    target = np.zeros((*BATCH, WIDTH), np.float32)
    # A small one first: what TensorFlow takes to work at all is nobody's.
    _model(way, matrix[:100], np.arange(10))[0](np.zeros(BATCH, np.int32), target)
    gc.collect()
    before = _peak()
    start = time.perf_counter()
    step, rows = _model(way, matrix, chosen)
    made = time.perf_counter() - start
    step(batches[0].astype(np.int32), target)
    seconds = []
    for i in range(STEPS):
        ids = batches[i % len(batches)].astype(np.int32)
        start = time.perf_counter()
        step(ids, target)
        seconds.append(time.perf_counter() - start)
    peak = _peak() - before
    after, frozen = rows(), np.setdiff1d(np.arange(ROWS), chosen)
    assert after[frozen].tobytes() == matrix[frozen].tobytes(), "a frozen row has changed"
    touched = np.intersect1d(chosen, np.stack(batches))
    assert (after[touched] != matrix[touched]).any(axis=1).all(), "a row has not trained"
    return {"way": way, "seconds": seconds, "made": made, "bytes": peak}


def _model(way: str, matrix: Any, chosen: Any) -> Any:
    import keras
    import tensorflow as tf

    import rowtune.keras as rk

    class MaskedTable(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.table = self.add_weight(
                name="table", shape=matrix.shape, initializer=lambda *_, **__: tf.constant(matrix)
            )
            every = tf.range(len(matrix))[:, None]
            is_chosen = tf.reduce_any(every == tf.constant(chosen, tf.int32)[None], axis=1)
            self.trains = tf.cast(is_chosen, tf.float32)[:, None]
            self.stays = 1.0 - self.trains

        def call(self, ids: Any) -> Any:
            table = self.table.value
            both = tf.stop_gradient(self.stays * table) + self.trains * table
            return tf.gather(both, ids)

    if way == MASK:
        layer, optimizer = MaskedTable(), keras.optimizers.Adam(LR)
    else:
        layer = rk.Embedding(*matrix.shape, weights=matrix, train=chosen)
        optimizer = rk.optimizers.Adam(LR)
    ids = keras.Input(BATCH[1:], dtype="int32")
    model = keras.Model(ids, layer(ids))
    model.compile(optimizer, "mse")
    rows = layer.merge if way == OURS else layer.table.numpy
    return model.train_on_batch, rows


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
