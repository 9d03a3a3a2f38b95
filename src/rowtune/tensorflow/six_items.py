"""The smallest example on this engine. See `rowtune.six_items`."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rowtune.six_items import EVERY, Problem, Progress, Run
from rowtune.tensorflow.embedding import Embedding
from rowtune.tensorflow.optimizer import RowOptimizer


def run(problem: Problem, progress: Progress | None = None) -> Run:
    """Lookup, |label - a . b|, tape, step: a hundred of them in one graph."""
    embedding = Embedding(tf.constant(problem.start))
    optimizer = RowOptimizer("sgd", lr=problem.lr)
    optimizer.build([embedding])

    def one(i: Any, pairs: Any, labels: Any, losses: Any) -> tuple[Any, ...]:
        with tf.GradientTape() as tape:
            rows = embedding(pairs[i])
            loss = tf.abs(labels[i] - tf.tensordot(rows[0], rows[1], 1))
        optimizer.apply(tape.gradient(loss, embedding.block), embedding)
        return i + 1, pairs, labels, losses.write(i, loss)

    @tf.function(reduce_retracing=True)
    def many(pairs: Any, labels: Any) -> Any:
        count = tf.size(labels)
        losses = tf.TensorArray(labels.dtype, size=count)
        begin = (tf.constant(0), pairs, labels, losses)
        return tf.while_loop(lambda i, *_: i < count, one, begin)[-1].stack()

    steps = len(problem.pairs)
    trajectory, losses = [problem.start.copy()], [np.zeros(0)]
    for start in range(0, steps, EVERY):
        piece = slice(start, start + EVERY)
        lost = many(tf.constant(problem.pairs[piece]), tf.constant(problem.labels[piece]))
        losses.append(lost.numpy())
        if start + EVERY <= steps:
            trajectory.append(embedding.merge().numpy())
            if progress:
                progress("training six items", start + EVERY, steps)
    return Run("tensorflow", np.stack(trajectory), np.concatenate(losses))
