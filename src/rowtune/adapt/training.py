"""Training of one way on one split: rounds until validation gets no better, the best one kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.adapt.bags import Bags
from rowtune.adapt.classifier import Classifier, probabilities
from rowtune.adapt.splits import Split
from rowtune.adapt.ways import Given, Setting, WayRows

Ids = NDArray[np.int64]
BATCH = 16, 128  # at least and at most; between them a twentieth of the training texts
ROUNDS, PATIENCE = 10, 3  # at most; without a better one
_STEPS = 40  # of a round, at least: few texts are passed several times before they are judged
_EVALUATED = 512  # texts at a time


@dataclass(frozen=True)
class Task:
    """What all ways have in common on one split."""

    matrix: NDArray[Any]  # the table, (N, D) float32 or float64
    bags: Bags
    labels: Ids  # of every text
    classes: int
    seed: int


@dataclass(frozen=True)
class Fit:
    """The best round of one training."""

    setting: Setting
    accuracy: float  # on validation
    cost: float  # cross entropy on validation, which breaks ties
    round: int  # the best, counted from 1
    rows: WayRows
    classifier: Classifier
    given: Given

    def predict(self, texts: Ids) -> Ids:
        """The label that each text gets."""
        scores: Ids = _scores(self.rows, self.classifier, self.given, texts).argmax(1)
        return scores


def fit(way: str, task: Task, split: Split, setting: Setting) -> Fit:
    """Train at most 10 rounds, stop after 3 that are no better, and go back to the best."""
    rows, classifier, given, train = _begin(way, task, split.training, setting)
    best = (-1.0, 0.0)
    kept, chosen = (rows.snapshot(), classifier.snapshot()), 0
    for number in range(1, ROUNDS + 1):
        train()
        found = _judge(rows, classifier, given, split.validation, task.labels)
        if found > best:
            best, chosen = found, number
            kept = rows.snapshot(), classifier.snapshot()
        elif number - chosen >= PATIENCE:
            break
    rows.restore(kept[0])
    classifier.restore(kept[1])
    return Fit(setting, best[0], -best[1], chosen, rows, classifier, given)


def fit_for(way: str, task: Task, training: Ids, setting: Setting, rounds: int) -> WayRows:
    """Train so many rounds, with nothing held back; for the rows that are kept in the end."""
    rows, _, _, train = _begin(way, task, training, setting)
    for _ in range(rounds):
        train()
    return rows


def _begin(
    way: str, task: Task, training: Ids, setting: Setting
) -> tuple[WayRows, Classifier, Given, Callable[[], None]]:
    # The same first weights, order of texts and dropout for every way and setting of a split.
    rng = np.random.default_rng([task.seed, 1])
    given = Given(task.bags, way)
    noise = np.random.default_rng([task.seed, 2])
    rows = WayRows(way, task.matrix, task.bags, given, training, noise, setting)
    classifier = Classifier(task.matrix.shape[1], task.classes, rng, setting.lr, setting.decay)

    size = min(max(len(training) // 20, BATCH[0]), BATCH[1])
    passes = math.ceil(_STEPS / math.ceil(len(training) / size))

    def train() -> None:
        order = np.concatenate([rng.permutation(training) for _ in range(passes)])
        for start in range(0, len(order), size):
            texts = order[start : start + size]
            ids, lengths = given.of(texts)
            found = rows.lookup(ids)
            gradient = classifier.learn(found, lengths, task.labels[texts], rows.trains)
            if gradient is not None:
                rows.learn(ids, gradient)

    return rows, classifier, given, train


def _scores(rows: WayRows, classifier: Classifier, given: Given, texts: Ids) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(texts), _EVALUATED):
        ids, lengths = given.of(texts[start : start + _EVALUATED])
        parts.append(classifier.logits(rows.lookup(ids), lengths))
    return np.concatenate(parts)


def _judge(
    rows: WayRows, classifier: Classifier, given: Given, texts: Ids, labels: Ids
) -> tuple[float, float]:
    """Accuracy, and minus the cross entropy: greater is better in both."""
    scores = _scores(rows, classifier, given, texts)
    own = probabilities(scores)[np.arange(len(texts)), labels[texts]]
    right = float((scores.argmax(1) == labels[texts]).mean())
    return right, float(np.log(np.maximum(own, 1e-12)).mean())
