"""The rated sentences as both review examples train on them: parts, ids, tables, and a rival.

One random split is the same sentences, ids and starting rows in both. Nothing here needs a
framework.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from rated_sentences import Sentence
from reviews_report import Result
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import rowtune

DROPPED, RANDOM = "frozen, OOV dropped", "frozen, OOV random"
OURS, EVERYTHING = "OOV trained (ours)", "everything trained"
NETWORKS, TFIDF = (DROPPED, RANDOM, OURS, EVERYTHING), "tf-idf + logistic reg."
NO_WORD = 0  # fills up short sentences


class Split:
    """One random split, its words as ids, and a table with a row for each of them.

    Ids are in order of first appearance: words with and without a row of GloVe are mixed, as they
    are wherever nobody sorted a vocabulary for the sake of the optimizer.
    """

    def __init__(self, sentences: Sequence[Sentence], vectors: rowtune.Vectors, seed: int) -> None:
        self.seed = seed
        order = np.random.default_rng(seed).permutation(len(sentences))
        cuts = [int(0.70 * len(order)), int(0.85 * len(order))]
        self.training, self.validation, self.test = np.split(order, cuts)
        self.labels = np.array([s.positive for s in sentences])
        seen = {w for i in self.training for w in sentences[i].tokens}
        words = dict.fromkeys(w for s in sentences for w in s.tokens if w in seen or w in vectors)
        self.words = ["", *words]
        id_of = {w: i for i, w in enumerate(self.words)}
        self.ids = [
            np.array([id_of[w] for w in s.tokens if w in id_of], np.int64) for s in sentences
        ]
        rows = vectors.ids(self.words, missing="ignore")
        self.known = rows >= 0
        self.oov = np.flatnonzero(~self.known)[1:]  # without NO_WORD
        self.matrix = np.zeros((len(rows), vectors.dim), np.float32)
        self.matrix[self.known] = vectors.matrix[rows[self.known]]
        self.has_oov = np.array([bool((~self.known[i]).any()) for i in self.ids])

    def padded(self, method: str, length: int | None = None) -> np.ndarray:
        """Ids of every sentence as the method sees them, shape (sentences, length or longest)."""
        kept = [i[self.known[i]] for i in self.ids] if method == DROPPED else self.ids
        padded = np.full((len(kept), length or max(map(len, kept))), NO_WORD)
        for row, ids in zip(padded, kept, strict=True):
            row[: len(ids)] = ids[: len(row)]
        return padded

    def table(self, method: str) -> np.ndarray:
        """The rows that the method begins with: GloVe's, and its own for words that GloVe lacks."""
        matrix = self.matrix.copy()
        known = matrix[self.known]
        if method == RANDOM:
            noise = np.random.default_rng(self.seed).standard_normal(matrix[self.oov].shape)
            matrix[self.oov] = known.std() * noise
        elif method in (OURS, EVERYTHING):
            # From the mean row: such a word says nothing until labels make it say something.
            matrix[self.oov] = known.mean(0)
        return matrix

    def frequent_oov(self, sentences: Sequence[Sentence], count: int = 5) -> list[int]:
        """Ids of the words without a row of GloVe that most training sentences have."""
        having = Counter(w for i in self.training for w in set(sentences[i].tokens))
        return sorted(self.oov.tolist(), key=lambda i: -having[self.words[i]])[:count]


def linear_model(sentences: Sequence[Sentence], split: Split) -> tuple[np.ndarray, float]:
    """The same tokens, alone or with pairs of them too, in a linear model; validation picks.

    Returns which test sentences it gets right, and seconds per fit, which is its epoch.
    """

    def pairs(s: Sentence) -> list[str]:
        return s.tokens + [f"{a} {b}" for a, b in zip(s.tokens, s.tokens[1:], strict=False)]

    parts = (split.training, split.validation, split.test)
    training, validation, test = ([sentences[i] for i in part] for part in parts)
    labels = [[s.positive for s in part] for part in (training, validation, test)]
    runs = []
    for features in (lambda s: s.tokens, pairs):
        start = time.perf_counter()
        tfidf = TfidfVectorizer(analyzer=features)
        x = tfidf.fit_transform(training)
        counted = time.perf_counter() - start
        xs = tfidf.transform(validation), tfidf.transform(test)
        for c in (1.0, 3.0, 10.0):
            start = time.perf_counter()
            linear = LogisticRegression(C=c, solver="liblinear").fit(x, labels[0])
            seconds = counted + time.perf_counter() - start
            accuracy = linear.score(xs[0], labels[1])
            runs.append((accuracy, linear.predict(xs[1]) == labels[2], seconds))
    _, right, _ = max(runs, key=lambda run: run[0])
    return right, float(np.median([run[2] for run in runs]))


def on_splits(
    splits: Iterable[Split],
    sentences: Sequence[Sentence],
    network: Callable[[str, Split], tuple[Result, Any]],
    tick: Callable[[], None],
) -> tuple[list[list[Result]], Split, Any]:
    """Every method on every split: results by split and method, the first split, ours of it."""
    results: list[list[Result]] = []
    for split in splits:
        ran = {method: network(method, split) for method in NETWORKS}
        right, seconds = linear_model(sentences, split)
        linear = Result(TFIDF, 0, right, split.has_oov[split.test], seconds)
        results.append([*(result for result, _ in ran.values()), linear])
        tick()
        if len(results) == 1:
            first, ours = split, ran[OURS][1]
    return results, first, ours
