"""The TensorFlow engine: tables of which the chosen rows train, for `tf.GradientTape`.

import rowtune.tensorflow as rtf

emb = rtf.Embedding(vectors, train=new_ids)  # a tf.Module; trainable_variables is the block
optimizer = rtf.RowOptimizer("adam", lr=1e-3)
with tf.GradientTape() as tape:
    loss = cost(emb(ids))
optimizer.apply(tape.gradient(loss, emb.block), emb)  # the rows that were looked up, and none else
"""

from __future__ import annotations

try:
    import tensorflow as tf  # noqa: F401
except ImportError:
    raise ImportError(
        'rowtune.tensorflow needs TensorFlow: pip install "rowtune[tensorflow]"'
    ) from None

from rowtune.tensorflow.clip import clip_row_norms
from rowtune.tensorflow.embedding import Embedding
from rowtune.tensorflow.optimizer import RowOptimizer
from rowtune.tensorflow.selected import keep_rows, stop_rows
from rowtune.tensorflow.slices import sum_duplicates
from rowtune.tensorflow.state import RowState
from rowtune.tensorflow.update import apply_rows
from rowtune.tensorflow.writing import scatter_add, scatter_set, scatter_sub

__all__ = [
    "Embedding",
    "RowOptimizer",
    "RowState",
    "apply_rows",
    "clip_row_norms",
    "keep_rows",
    "scatter_add",
    "scatter_set",
    "scatter_sub",
    "stop_rows",
    "sum_duplicates",
]
