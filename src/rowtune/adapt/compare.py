"""All ways on one split: each tries as many settings, validation chooses, test is seen once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.adapt.splits import Split
from rowtune.adapt.tfidf import TFIDF_SETTINGS, path, scores_of, tf_idf
from rowtune.adapt.training import Fit, Task, fit
from rowtune.adapt.ways import NETWORKS, OURS, SETTINGS, TFIDF, Setting

Ids = NDArray[np.int64]
Step = Callable[[], None]
TRIES = len(SETTINGS) * len(NETWORKS) + len(TFIDF_SETTINGS)  # of one split


@dataclass(frozen=True)
class Outcome:
    """One way on one split."""

    way: str
    predicted: Ids  # of every test text, in the order of the split
    chosen: dict[str, Any]
    trained_rows: int
    seconds: float


@dataclass(frozen=True)
class Tried:
    """How one setting of ours did on validation, for the choice of the final fit."""

    setting: Setting
    accuracy: float
    round: int


@dataclass(frozen=True)
class SplitResult:
    """All ways on one split, and the known rows as they stand in the table of ours."""

    outcomes: dict[str, Outcome]
    tried: tuple[Tried, ...]
    sha256_after: str


def run_split(task: Task, split: Split, step: Step) -> SplitResult:
    """Every way on one split.

    Parameters
    ----------
    task, split : what is compared on
    step : called after every try, `TRIES` times in all
    """
    outcomes: dict[str, Outcome] = {}
    tried: tuple[Tried, ...] = ()
    after = ""
    for way in NETWORKS:
        begin = time.perf_counter()
        best: Fit | None = None
        for setting in SETTINGS:
            found = fit(way, task, split, setting)
            if way == OURS:
                tried += (Tried(setting, found.accuracy, found.round),)
            if best is None or (found.accuracy, -found.cost) > (best.accuracy, -best.cost):
                best = found
            step()
        assert best is not None
        table = best.rows.table
        outcomes[way] = Outcome(
            way,
            best.predict(split.test),
            {**asdict(best.setting), "rounds": best.round, "validation": best.accuracy},
            int(np.count_nonzero(table.steps)),
            time.perf_counter() - begin,
        )
        if way == OURS:
            after = best.rows.hash_of_known()
    outcomes[TFIDF] = _linear(task, split, step)
    return SplitResult(outcomes, tried, after)


def _linear(task: Task, split: Split, step: Step) -> Outcome:
    begin = time.perf_counter()
    bags, labels = task.bags, task.labels
    best: tuple[tuple[float, float], dict[str, Any], Ids] | None = None
    for pairs in (False, True):
        x = tf_idf(bags.types, bags.offsets, split.training, pairs)
        learned, validated, tested = (
            x.rows(part) for part in (split.training, split.validation, split.test)
        )
        settings = [setting for setting in TFIDF_SETTINGS if setting.pairs == pairs]
        fits = path(learned, labels[split.training], task.classes, [s.c for s in settings])
        for setting, weights in zip(settings, fits, strict=True):
            right = scores_of(validated, weights).argmax(1) == labels[split.validation]
            rank = (float(right.mean()), -setting.c)  # of two as good, the simpler one
            if best is None or rank > best[0]:
                chosen = {**asdict(setting), "validation": rank[0]}
                best = rank, chosen, scores_of(tested, weights).argmax(1)
            step()
    assert best is not None
    return Outcome(TFIDF, best[2], best[1], 0, time.perf_counter() - begin)
