"""What the seeds found together: scores of each way, differences, and what a reader should know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rowtune.adapt.bags import Bags
from rowtune.adapt.compare import SplitResult
from rowtune.adapt.result import Difference, WayScore
from rowtune.adapt.scores import difference, macro_f1
from rowtune.adapt.splits import Split
from rowtune.adapt.ways import OURS, SETTINGS, WAYS, Setting

Ids = NDArray[np.int64]
Marks = NDArray[np.bool_]


def with_new(bags: Bags, texts: Ids) -> Marks:
    """Which of ``texts`` have a new word."""
    before = np.concatenate([[0], np.cumsum(bags.ids >= bags.known)])
    having: Marks = np.diff(before[bags.offsets]) > 0
    return having[texts]


def score_of(
    way: str,
    results: Sequence[SplitResult],
    splits: Sequence[Split],
    new: Sequence[Marks],
    labels: Ids,
    classes: int,
) -> WayScore:
    """One way over all seeds; ``new`` says which test texts of each split have a new word."""
    outcomes = [result.outcomes[way] for result in results]
    right = _right(way, results, splits, labels)
    return WayScore(
        way,
        np.array([marks.mean() for marks in right]),
        np.array([
            macro_f1(outcome.predicted, labels[split.test], classes)
            for outcome, split in zip(outcomes, splits, strict=True)
        ]),
        np.array([
            marks[having].mean() if having.any() else np.nan
            for marks, having in zip(right, new, strict=True)
        ]),
        outcomes[0].trained_rows,
        tuple(outcome.chosen for outcome in outcomes),
        sum(outcome.seconds for outcome in outcomes),
    )  # fmt: skip


def differences(
    results: Sequence[SplitResult], splits: Sequence[Split], labels: Ids, same_test: bool
) -> tuple[Difference, ...]:
    """Ours minus each other way."""
    ours = _right(OURS, results, splits, labels)
    learned = len(splits[0].training)
    return tuple(
        difference(way, ours, _right(way, results, splits, labels), learned, same_test)
        for way in WAYS
        if way != OURS
    )


def best_of_ours(results: Sequence[SplitResult]) -> tuple[Setting, int]:
    """The setting of ours with the highest validation accuracy over the splits, and its rounds."""
    means = [float(np.mean([r.tried[i].accuracy for r in results])) for i in range(len(SETTINGS))]
    best = int(np.argmax(means))
    rounds = round(float(np.mean([result.tried[best].round for result in results])))
    return SETTINGS[best], max(1, rounds)


def notes_on(bags: Sequence[Bags], final: bool) -> list[str]:
    """Sentences about what the numbers do not say."""
    notes = []
    if not any(each.new for each in bags):
        notes.append(
            "The table has every word that is frequent enough to get a row: the ways with frozen "
            "rows and ours are the same."
        )
    if bags[0].unusable:
        notes.append(
            f"{bags[0].unusable:,} words of the texts have rows with NaN, infinity or values "
            "beyond use; the rows keep their bits, and the words were left out."
        )
    empty = int((np.diff(bags[0].offsets) == 0).sum())
    if empty:
        notes.append(f"{empty:,} texts hold no word or mark at all; they are scored all the same.")
    if final:
        notes.append(
            "The rows that are written come from one more fit, on all texts with the setting that "
            "validation chose; the scores are of the splits."
        )
    return notes


def _right(
    way: str, results: Sequence[SplitResult], splits: Sequence[Split], labels: Ids
) -> list[Marks]:
    return [
        result.outcomes[way].predicted == labels[split.test]
        for result, split in zip(results, splits, strict=True)
    ]
