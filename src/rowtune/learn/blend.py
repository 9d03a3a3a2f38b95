"""The blend: one ridge regression from contexts, spelling and count to the row.

A la carte embedding (Khodak et al., ACL 2018) maps the mean of a word's contexts to its row by a
matrix fitted on known words. Here the positions keep means of their own, and the row that spelling
predicts is a further input. For the words that the blend is fitted on, spelling must predict out
of fold: in its own training words it looks far better than it is, and would be trusted too much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.contexts import Contexts
from rowtune.learn.features import Speller, blend_inputs, look_around, mean_context
from rowtune.learn.nearest import unit
from rowtune.learn.pretend import Split
from rowtune.learn.ridge import Ridge
from rowtune.learn.stages import Stages
from rowtune.learn.survey import Survey

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Report = Callable[[str, int, int], None]

FOLDS = 5
_SPELLING_PENALTIES = (0.3, 0.7, 1.5)


@dataclass(frozen=True)
class Words:
    """A corpus beside a table: what every fit reads, and which known words are hidden from it."""

    survey: Survey
    part: Split
    raw: Floats  # (types, D): known rows as they are, 0 for words without one
    unit_rows: Floats  # (N, D)
    speller: Speller
    window: int


@dataclass(frozen=True)
class Evidence:
    """Everything the regressions see of the known words, with validation and test hidden."""

    types: Ids  # train, then validation, then test
    parts: tuple[slice, slice, slice]
    contexts: Contexts
    spelled: Floats  # out of fold throughout
    target: Floats  # unit rows


def gather_evidence(
    words: Words, stages: Stages, rng: np.random.Generator, report: Report
) -> tuple[Evidence, float]:
    """Look at the known words as if validation and test were new; choose the spelling penalty."""
    part = words.part
    types = np.concatenate([part.train, part.validation, part.test])
    ends = np.cumsum([len(part.train), len(part.validation), len(part.test)])
    parts = (slice(0, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2]))
    target = words.unit_rows[words.survey.row[types]]

    def compute() -> dict[str, NDArray[Any]]:
        contexts = look_around(words.survey, words.raw, types, part.hidden, words.window)
        spelled, penalty = _spelled_out_of_fold(words, types, ends, target, rng, report)
        return {
            **vars(contexts),
            "spelled": spelled,
            "penalty": np.array(_SPELLING_PENALTIES.index(penalty)),
        }

    kept = stages("spelling and contexts", compute)
    contexts = Contexts(kept["sums"], kept["mass"], kept["seen"])
    evidence = Evidence(types, parts, contexts, kept["spelled"], target)
    return evidence, _SPELLING_PENALTIES[int(kept["penalty"])]


def _spelled_out_of_fold(
    words: Words,
    types: Ids,
    ends: Ids,
    target: Floats,
    rng: np.random.Generator,
    report: Report,
) -> tuple[Floats, float]:
    true = words.survey.row[types]
    names = [words.survey.types[i] for i in types]
    hidden = words.survey.row[words.part.hidden]
    predict = words.speller.predict
    report("learning from spelling", 0, FOLDS + 3)
    tried = [predict(names[ends[0] :], hidden, penalty) for penalty in _SPELLING_PENALTIES]
    validated = slice(0, ends[1] - ends[0])
    cosines = [cosine(rows[validated], target[ends[0] : ends[1]]) for rows in tried]
    best = int(np.argmax(cosines))
    spelled = np.empty_like(target)
    spelled[ends[0] :] = tried[best]
    fold = rng.permutation(ends[0]) % FOLDS
    for k in range(FOLDS):
        report("learning from spelling", 3 + k, FOLDS + 3)
        out = np.flatnonzero(fold == k)
        spelled[out] = predict(
            [names[i] for i in out], np.union1d(hidden, true[out]), _SPELLING_PENALTIES[best]
        )
    return spelled, _SPELLING_PENALTIES[best]


def cosine(rows: Floats, target: Floats) -> float:
    """The mean cosine between rows and unit rows."""
    return float(np.einsum("ij,ij->i", unit(rows), target).mean())


def emphasis(counts: NDArray[np.int64], name: str, band: tuple[int, int]) -> Floats:
    """Weights of the training words: all alike, or less the farther from the counts in ``band``."""
    if name == "all alike":
        return np.ones(len(counts), np.float32)
    below = np.minimum(counts / band[0], 1)
    return (below * np.minimum(band[1] / counts, 1) ** 0.5).astype(np.float32)


def leaning_on(rows: Floats, spelled: Floats, leaning: float) -> Floats:
    """Blended rows moved towards what spelling says, as directions.

    A ridge regression shrinks where it is unsure, and with it what tells a word from its
    neighbours; spelling keeps that. The cosine hardly notices, the rank of the true row does.
    """
    return unit(rows) + np.float32(leaning) * unit(spelled)


def rivals(
    evidence: Evidence, counts: Ids, table_mean: Floats, rng: np.random.Generator
) -> dict[str, Floats]:
    """What simpler methods give for the test words, from the same evidence."""
    train, _, test = evidence.parts
    context = mean_context(evidence.contexts)
    words = test.stop - test.start
    dim = evidence.target.shape[1]
    a_la_carte = Ridge(context[train], evidence.target[train], np.log1p(counts[train]), 1e-3)
    return {
        "random": rng.standard_normal((words, dim)).astype(np.float32),
        "mean of table": np.repeat(table_mean[None], words, 0),
        "context mean": context[test],
        "a la carte": a_la_carte.predict(context[test]),
        "spelling": evidence.spelled[test],
    }


def inputs_of(evidence: Evidence, counts: Ids) -> Floats:
    return blend_inputs(evidence.contexts, evidence.spelled, counts)
