"""Inputs that may join the blend, if the validation words say so: skip-gram rows, and a space of
the text's own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.blend import Evidence
from rowtune.learn.cooccurrence import associations
from rowtune.learn.skipgram import Settings, SkipGram
from rowtune.learn.space import DIM, strongest_directions
from rowtune.learn.stages import Stages
from rowtune.learn.survey import Survey

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Report = Callable[[str, int, int], None]

FOLDS = 2
_SAMPLE = 1e-4  # thins frequent words more than word2vec does: they cost most and say least
SKIP_GRAM, OWN_SPACE = "skip-gram", "own space"


def place_in_own_space(
    survey: Survey, every: Ids, min_count: int, stages: Stages, rng: np.random.Generator
) -> dict[str, Floats]:
    """``OWN_SPACE`` -> (every, `space.DIM`): places that the text alone gives its words."""

    def compute() -> dict[str, Floats]:
        near = associations(survey.stream, survey.counts, every, min_count)
        return {OWN_SPACE: strongest_directions(near, DIM, rng)}

    return stages(OWN_SPACE, compute)


def learn_by_skip_gram(
    survey: Survey,
    evidence: Evidence,
    every: Ids,
    min_count: int,
    stages: Stages,
    rng: np.random.Generator,
    report: Report,
) -> dict[str, Floats]:
    """``SKIP_GRAM`` -> (every, D); ``every`` is the types of the evidence, then the new ones."""
    train = evidence.parts[0]
    seen, target = every[train], evidence.target[train]

    def compute() -> dict[str, Floats]:
        others = every[train.stop :]
        return {SKIP_GRAM: skip_gram_rows(survey, seen, target, others, min_count, rng, report)}

    return stages(SKIP_GRAM, compute)


def skip_gram_rows(
    survey: Survey,
    train: Ids,
    target: Floats,
    others: Ids,
    min_count: int,
    rng: np.random.Generator,
    report: Report,
) -> Floats:
    """(train and others, D): what skip-gram learns for each word as if the table lacked it.

    Contexts that were fitted with a word's true row among the frozen ones remember it: a row
    learned from them looks far better than that of a new word can be. So training words fall into
    folds, and each fold learns from contexts that never saw its rows, as ``others`` do.

    Parameters
    ----------
    train : (n,) int64, types whose rows may be seen
    target : (n, D) their unit rows
    others : (m,) int64, hidden and new types
    """
    model = _model(survey, min_count, rng)
    fold = rng.permutation(len(train)) % FOLDS
    dim = target.shape[1]
    rows = np.zeros((len(train) + len(others), dim), np.float32)
    stages = 2 * (FOLDS + 1)
    for k in range(FOLDS):
        report(SKIP_GRAM, 2 * k, stages)
        seen, out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        contexts = model.fit_contexts(train[seen], target[seen])
        report(SKIP_GRAM, 2 * k + 1, stages)
        rows[out] = model.fit_rows(contexts, train[out], dim)
    report(SKIP_GRAM, stages - 2, stages)
    contexts = model.fit_contexts(train, target)
    report(SKIP_GRAM, stages - 1, stages)
    rows[len(train) :] = model.fit_rows(contexts, others, dim)
    return rows


def _model(survey: Survey, min_count: int, rng: np.random.Generator) -> SkipGram:
    seed = int(rng.integers(1 << 62))
    return SkipGram(survey.stream, survey.counts, min_count, Settings(sample=_SAMPLE), seed)
