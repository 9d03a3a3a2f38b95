"""The rival without word vectors: tf-idf and logistic regression, sparse, in NumPy.

tf-idf as in Manning, Raghavan and Schuetze, "Introduction to Information Retrieval" (2008), 6.2, in
its smooth form: a term in d of n training texts weighs 1 + log((1 + n) / (1 + d)) for each time a
text has it, and texts are scaled to length 1. It equals scikit-learn's ``TfidfVectorizer`` with the
same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.adapt.lbfgs import minimise
from rowtune.adapt.segments import places

Ids = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class TfIdfSetting:
    """``c`` is what scikit-learn calls C: the weight of the texts against the L2 penalty."""

    c: float
    pairs: bool  # whether two words that follow one another are a term as well


# As many as the networks have.
TFIDF_SETTINGS = tuple(TfIdfSetting(c, pairs) for pairs in (False, True) for c in (2.0, 10.0))


@dataclass(frozen=True)
class Sparse:
    """A sparse matrix by rows: row i has ``values[offsets[i] : offsets[i + 1]]`` at ``columns``."""

    columns: Ids
    values: Doubles
    offsets: Ids
    width: int

    @property
    def lengths(self) -> Ids:
        lengths: Ids = np.diff(self.offsets)
        return lengths

    @cached_property
    def _of_row(self) -> Ids:
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def times(self, dense: Doubles) -> Doubles:
        """(rows, width) times (width, C)."""
        return self._summed(self._of_row, self.columns, dense, len(self.offsets) - 1)

    def transposed_times(self, dense: Doubles) -> Doubles:
        """(width, rows) times (rows, C)."""
        return self._summed(self.columns, self._of_row, dense, self.width)

    def _summed(self, into: Ids, of: Ids, dense: Doubles, size: int) -> Doubles:
        parts = [np.bincount(into, self.values * part[of], minlength=size) for part in dense.T]
        return np.stack(parts, axis=1)

    def rows(self, chosen: Ids) -> Sparse:
        lengths = self.lengths[chosen]
        at = places(self.offsets[chosen], lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Sparse(self.columns[at], self.values[at], offsets, self.width)


def tf_idf(types: Ids, offsets: Ids, training: Ids, pairs: bool) -> Sparse:
    """tf-idf of all texts, with the terms and weights that the texts ``training`` have.

    Parameters
    ----------
    types : int array (tokens,), equal for equal tokens
    offsets : int array (T + 1,), text i has ``types[offsets[i] : offsets[i + 1]]``
    training : ids of texts
    pairs : bool
    """
    lengths = np.diff(offsets)
    text = np.repeat(np.arange(len(lengths)), lengths)
    term = types
    if pairs:
        inside = np.flatnonzero(text[1:] == text[:-1])
        first = int(types.max(initial=0)) + 1
        both = types[inside] * first + types[inside + 1] + first
        term, text = np.concatenate([term, both]), np.concatenate([text, text[inside]])
    _, term = np.unique(term, return_inverse=True)
    width = int(term.max(initial=-1)) + 1
    # Each term of a text once, with how often the text has it.
    cells, counts = np.unique(text * max(width, 1) + term, return_counts=True)
    text, term = np.divmod(cells, max(width, 1))
    learns = np.zeros(len(lengths), bool)
    learns[training] = True
    texts_with = np.bincount(term[learns[text]], minlength=width)
    known = texts_with[term] > 0
    text, term, counts = text[known], term[known], counts[known]
    weight = 1 + np.log((1 + len(training)) / (1 + texts_with))
    values = counts * weight[term]
    sizes = np.bincount(text, minlength=len(lengths))
    norms = np.sqrt(np.bincount(text, values**2, minlength=len(lengths)))
    return Sparse(term, values / norms[text], np.concatenate([[0], np.cumsum(sizes)]), width)


def path(x: Sparse, labels: Ids, classes: int, cs: list[float]) -> Iterator[Doubles]:
    """Weights (width + 1, classes) of softmax regression for each C; the last row is the bias.

    The cost is C times the summed cross entropy plus half the squared weights, biases excepted, as
    in scikit-learn's multinomial regression; of two labels scikit-learn keeps one column of weights
    only, and its C is twice this one. Each fit begins where the one before ended.
    """
    weights = np.zeros((x.width + 1, classes))
    for c in cs:
        weights = _regression(x, labels, c, weights)
        yield weights


def scores_of(x: Sparse, weights: Doubles) -> Doubles:
    scores: Doubles = x.times(weights[:-1]) + weights[-1]
    return scores


def _regression(x: Sparse, labels: Ids, c: float, first: Doubles) -> Doubles:
    every = np.arange(len(labels))

    def cost(flat: Doubles) -> tuple[float, Doubles]:
        weights = flat.reshape(first.shape)
        scores = scores_of(x, weights)
        scores -= scores.max(axis=1, keepdims=True)
        raised = np.exp(scores)
        total = raised.sum(axis=1)
        penalised = weights[:-1]
        value = (np.log(total) - scores[every, labels]).sum() + (penalised**2).sum() / (2 * c)
        wrong = raised / total[:, None]
        wrong[every, labels] -= 1
        gradient: Any = np.vstack([x.transposed_times(wrong) + penalised / c, wrong.sum(0)])
        # By text, so that the tolerance means the same for few texts and for many.
        return float(value) / len(labels), gradient.ravel() / len(labels)

    return minimise(cost, first.ravel()).reshape(first.shape)
