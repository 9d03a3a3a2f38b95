"""Inputs that may join the blend, if the validation words say so: skip-gram rows, and a space of
the text's own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.blend import Evidence
from rowtune.learn.nearest import unit
from rowtune.learn.skipgram import Settings, SkipGram
from rowtune.learn.survey import Survey

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Report = Callable[[str, int, int], None]

FOLDS = 2
_OWN_EPOCHS = 2
_SAMPLE = 1e-4  # thins frequent words more than word2vec does: they cost most and say least
SKIP_GRAM, OWN_SPACE = "skip-gram", "own space"


def gather_candidates(
    survey: Survey,
    evidence: Evidence,
    every: Ids,
    min_count: int,
    rng: np.random.Generator,
    report: Report,
) -> dict[str, Floats]:
    """Name -> (every, D) rows; ``every`` is the types of the evidence, then the new ones."""
    train = evidence.parts[0]
    seen, target = every[train], evidence.target[train]
    rows = skip_gram_rows(survey, seen, target, every[train.stop :], min_count, rng, report)
    space = own_space(survey, every, target.shape[1], min_count, rng, report)
    return {SKIP_GRAM: rows, OWN_SPACE: space}


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
    model = _model(survey, min_count, rng, lambda *_: None)
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


def own_space(
    survey: Survey,
    types: Ids,
    dim: int,
    min_count: int,
    rng: np.random.Generator,
    report: Report,
) -> Floats:
    """(types, dim): rows learned from the text alone. No known row has any part in them."""
    model = _model(survey, min_count, rng, lambda done, total: report(OWN_SPACE, done, total))
    return model.train(types, dim, _OWN_EPOCHS)


def _model(
    survey: Survey,
    min_count: int,
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> SkipGram:
    seed = int(rng.integers(1 << 62))
    settings = Settings(sample=_SAMPLE)
    return SkipGram(survey.stream, survey.counts, min_count, settings, seed, progress)


def rotated(space: Floats, shared: slice, target: Floats) -> Floats:
    """``space`` turned onto the table by orthogonal Procrustes over the words they share.

    The rotation Q minimizes |X Q - Y| over orthogonal matrices, X and Y being the centred unit
    rows of the shared words: Q = U V' where X'Y = U S V' (Schönemann, Psychometrika, 1966).

    Parameters
    ----------
    space : (words, D)
    shared : which words of ``space`` the table has
    target : (shared words, D) unit rows of the table
    """
    rows = unit(space)
    middle, goal = rows[shared].mean(0), target.mean(0)
    left, _, right = np.linalg.svd((rows[shared] - middle).T @ (target - goal))
    turned: Floats = unit(rows - middle) @ (left @ right).astype(np.float32) + goal
    return turned
