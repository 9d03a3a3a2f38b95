"""What is known of a word before it has a row: its contexts, its spelling, its count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.contexts import Contexts, gather
from rowtune.learn.spelling import Spelling
from rowtune.learn.survey import Survey

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

# Positions that share one mean: far and near, left and right of the word (which is at the centre).
# Within two words the order matters most, so each of these positions is on its own.
_FAR, _MIDDLE = 10, 5
COMMON = 3e-4  # a word this frequent counts half (Arora, Liang and Ma, ICLR 2017, equation 3)
_VOCABULARY = 100_000  # words beyond the corpus from which spelling is learned
_RANK_POWER, _IN_CORPUS = 0.4, 5.0


def buckets(window: int) -> NDArray[np.int8]:
    """The bucket of each offset -window..window: 0-3 on the left, 4-7 on the right."""
    offsets = np.arange(-window, window + 1)
    distance = np.abs(offsets)
    by_distance = np.where(distance <= 2, distance - 1, np.where(distance <= _MIDDLE, 2, 3))
    return np.where(offsets == 0, -1, by_distance + 4 * (offsets > 0)).astype(np.int8)


def look_around(survey: Survey, rows: Floats, targets: Ids, hidden: Ids, window: int) -> Contexts:
    """Contexts of ``targets`` as if the table lacked the types ``hidden``: they are no context."""
    slots = np.full(len(survey.types), -1, np.int32)
    slots[targets] = np.arange(len(targets), dtype=np.int32)
    share = survey.counts / survey.counts.sum()
    weights = np.where(rows.any(axis=1), COMMON / (COMMON + share), 0).astype(np.float32)
    weights[hidden] = 0
    return gather(survey.stream, slots, len(targets), rows, weights, buckets(window))


def mean_context(contexts: Contexts) -> Floats:
    """(targets, D): the weighted mean of all known words around each target."""
    mass = contexts.mass.sum(1)[:, None]
    means: Floats = contexts.sums.sum(1) / np.maximum(mass, np.float32(1e-6))
    return means


def blend_inputs(contexts: Contexts, spelled: Floats, counts: NDArray[np.int64]) -> Floats:
    """(targets, 9 D + 2): the mean of each bucket, the row that spelling predicts, log counts."""
    means = contexts.sums / np.maximum(contexts.mass, np.float32(1e-6))[:, :, None]
    seen = np.log1p(counts).astype(np.float32)[:, None]
    return np.hstack([means.reshape(len(means), -1), spelled, seen, seen**2])


def without_spelling(inputs: Floats, dim: int) -> Floats:
    """The columns of `blend_inputs` that contexts and counts fill."""
    return np.hstack([inputs[:, : -dim - 2], inputs[:, -2:]])


@dataclass(frozen=True)
class Speller:
    """Spelling regressions over the table's frequent words and all words of the corpus.

    Words of the corpus weigh more, and so do words near the top of the table: published tables
    list words by frequency, and the rows of rare ones are noise.
    """

    spelling: Spelling
    words: list[str]
    ids: Ids  # rows of the table the regression learns from
    weights: Floats
    steps: int
    same_row: Ids  # words with one number have the same bits, as in tables that were pruned
    same_word: Ids  # and a table may have a word twice

    @classmethod
    def over(cls, words: list[str], ids: Ids, unit: Floats, survey: Survey, steps: int) -> Speller:
        in_corpus = np.isin(ids, survey.row)
        weights = (1 + ids / 1000.0) ** -_RANK_POWER * (1 + _IN_CORPUS * in_corpus)
        return cls(
            Spelling(words, unit[ids]), words, ids, weights.astype(np.float32), steps,
            alike(unit[ids]), np.unique(np.array(words, object), return_inverse=True)[1],
        )  # fmt: skip

    def predict(self, targets: list[str], hidden_rows: Ids, penalty: float) -> Floats:
        """Rows for ``targets`` from a regression that has never seen the rows ``hidden_rows``."""
        own = np.isin(self.ids, hidden_rows)
        for same in (self.same_row, self.same_word):
            own |= np.isin(same, same[own])
        weights = np.where(own, 0, self.weights).astype(np.float32)
        if not weights.any():
            return np.zeros((len(targets), self.spelling.rows.shape[1]), np.float32)
        return self.spelling.fit(weights, penalty, self.steps).predict(targets)


def alike(rows: Floats) -> Ids:
    """(rows,): one number for rows of the same bits."""
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))
    return np.unique(whole[:, 0], return_inverse=True)[1].astype(np.int64)


def vocabulary(survey: Survey, table_rows: int) -> Ids:
    """The rows that spelling is learned from, in the order of the table."""
    return np.union1d(np.arange(min(table_rows, _VOCABULARY)), survey.row[survey.row >= 0])
