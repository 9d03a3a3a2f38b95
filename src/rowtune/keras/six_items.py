"""The smallest example on this engine. See `rowtune.six_items`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from rowtune.keras.backend import backend
from rowtune.keras.embedding import Embedding
from rowtune.keras.optimizers import SGD
from rowtune.six_items import EVERY, Problem, Progress, Run


def run(problem: Problem, progress: Progress | None = None) -> Run:
    """Lookup, dot product, mean absolute error: one pair a step, on the backend that Keras has."""
    floats, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        with backend().in_float64():
            return _run(problem, progress)
    finally:
        keras.config.set_floatx(floats)
        keras.config.set_dtype_policy(policy)


def _run(problem: Problem, progress: Progress | None) -> Run:
    steps = len(problem.pairs)
    items, dim = problem.start.shape
    embedding = Embedding(items, dim, weights=problem.start)
    model = _model(embedding, problem.lr)
    trajectory, losses = [problem.start.copy()], np.empty(steps)
    for i in range(steps):
        pair, label = problem.pairs[i : i + 1], problem.labels[i : i + 1, None]
        # Of the layer's rows: what Keras logs goes through float32 on JAX and PyTorch.
        a, b = embedding.merge()[pair[0]]
        losses[i] = abs(label[0, 0] - a @ b)
        model.train_on_batch(pair, label)
        if (i + 1) % EVERY == 0:
            trajectory.append(embedding.merge())
            if progress:
                progress("training six items", i + 1, steps)
    return Run("keras", np.stack(trajectory), losses)


def _model(embedding: Embedding, lr: float) -> Any:
    pair = keras.Input((2,), dtype="int64")
    a, b = keras.ops.split(embedding(pair), 2, axis=1)
    model = keras.Model(pair, keras.ops.sum(a * b, axis=(1, 2))[:, None])
    model.compile(SGD(lr), "mean_absolute_error")
    return model
