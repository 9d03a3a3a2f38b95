"""The classifier: attention over the rows of a text, a small layer, and softmax over the labels.

Light beside its table, and the same network as in `examples/reviews_torch.py`, with its gradients
written out. Its own numbers are one row of a `rowtune.Table`, so the rule is the table's too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.adapt.products import product, transposed_product
from rowtune.adapt.segments import broadcast, softmax_of, sums_of
from rowtune.table import Table

Floats = NDArray[np.float32]
HIDDEN, DROPOUT = 64, 0.3


class Classifier:
    """Scores of C labels for texts of D-dimensional rows.

    A text is the mean of its rows, weighed by a softmax of what a linear function makes of each
    (attention pooling); then dropout, a layer of 64 ReLUs, dropout, and a linear layer. A text
    without rows is a row of zeros.

    Parameters
    ----------
    dim, labels : int
        D and C.
    rng : numpy.random.Generator
        Draws the first weights, uniform within 1 / sqrt(inputs), and what is dropped.
    lr, decay : float
        Of `adamw`.
    """

    def __init__(
        self, dim: int, labels: int, rng: np.random.Generator, lr: float, decay: float
    ) -> None:
        self.rng = rng
        shapes = [(dim,), (dim, HIDDEN), (HIDDEN,), (HIDDEN, labels), (labels,)]
        fan_in = [dim, dim, dim, HIDDEN, HIDDEN]
        first = [
            rng.uniform(-1, 1, shape) / np.sqrt(inputs)
            for shape, inputs in zip(shapes, fan_in, strict=True)
        ]
        flat = np.concatenate([part.ravel() for part in first]).astype(np.float32)
        self.table = Table(flat[None], rule="adamw", lr=lr, weight_decay=decay)
        self.parts = _views(self.table.block[0], shapes)

    def logits(self, rows: Floats, lengths: NDArray[np.int64]) -> Floats:
        """Scores (texts, C) of texts whose rows (tokens, D) follow one another."""
        attention, inner, inner_bias, outer, outer_bias = self.parts
        pooled, _ = _pool(rows, lengths, attention)
        scores: Floats = (
            product(np.maximum(product(pooled, inner) + inner_bias, 0), outer) + outer_bias
        )
        return scores

    def learn(
        self, rows: Floats, lengths: NDArray[np.int64], labels: NDArray[np.int64], want: bool
    ) -> Floats | None:
        """One step on a batch; the gradient by ``rows`` comes back if it is wanted.

        The cost is the mean cross entropy of the batch.
        """
        attention, inner, inner_bias, outer, outer_bias = self.parts
        pooled, weights = _pool(rows, lengths, attention)
        keep = self._dropped(pooled.shape)
        seen = pooled * keep
        before = product(seen, inner) + inner_bias
        keep_hidden = self._dropped(before.shape) * (before > 0)
        hidden = before * keep_hidden

        by_score = probabilities(product(hidden, outer) + outer_bias)
        by_score[np.arange(len(labels)), labels] -= 1
        by_score /= len(labels)
        by_before = product(by_score, outer.T) * keep_hidden
        by_pooled = product(by_before, inner.T) * keep

        spread = broadcast(by_pooled, lengths)
        by_weight = np.einsum("td,td->t", rows, spread)
        mean = sums_of(weights * by_weight, lengths)
        by_attention = weights * (by_weight - broadcast(mean, lengths))
        gradient = [
            np.einsum("t,td->d", by_attention, rows),
            transposed_product(seen, by_before),
            by_before.sum(0),
            transposed_product(hidden, by_score),
            by_score.sum(0),
        ]
        by_rows = None
        if want:
            by_rows = weights[:, None] * spread
            by_rows += by_attention[:, None] * attention
        flat = np.concatenate([part.ravel() for part in gradient])
        self.table.update([0], flat[None].astype(np.float32, copy=False))
        return by_rows

    def _dropped(self, shape: tuple[int, ...]) -> Floats:
        """Zero or 1 / (1 - dropout), so that nothing is to be scaled when nothing is dropped."""
        keep = self.rng.random(shape, dtype=np.float32) >= DROPOUT
        return keep.astype(np.float32) / np.float32(1 - DROPOUT)

    def snapshot(self) -> Floats:
        """A copy of all weights, for `restore`."""
        kept: Floats = self.table.block[0].copy()
        return kept

    def restore(self, kept: Floats) -> None:
        """Go back to a `snapshot`; what the optimizer remembers stays."""
        self.table.block[0] = kept


def _views(flat: NDArray[Any], shapes: list[tuple[int, ...]]) -> list[Floats]:
    found, at = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        found.append(flat[at : at + size].reshape(shape))
        at += size
    return found


def _pool(
    rows: Floats, lengths: NDArray[np.int64], attention: Floats
) -> tuple[Floats, NDArray[np.float32]]:
    """The pooled rows (texts, D), and the weight of each token."""
    weights = softmax_of(np.einsum("td,d->t", rows, attention), lengths)
    return sums_of(weights[:, None] * rows, lengths), weights


def probabilities(scores: Floats) -> Floats:
    """Softmax over the labels, in a new array."""
    raised: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    raised /= raised.sum(axis=1, keepdims=True)
    return raised
