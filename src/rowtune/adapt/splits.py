"""Training, validation and test parts, in each of which every label has its share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
VALIDATION, TEST = 0.15, 0.15  # of the texts
FEWEST = 5  # examples of a label: one for validation, one for test, and some to learn from


@dataclass(frozen=True)
class Split:
    """Ids of texts, ascending."""

    training: Ids
    validation: Ids
    test: Ids


def stratified(labels: Ids, seed: int, given_test: Ids | None = None) -> Split:
    """70 % training, 15 % validation and 15 % test, drawn label by label.

    Parameters
    ----------
    labels : int array, one per text; each label at least 5 times among what is split
    seed : int
        Another seed is another split.
    given_test : ids, optional
        The test part where it is given; the rest is split into 85 % and 15 %.
    """
    rng = np.random.default_rng([seed, 0])
    parts: tuple[list[Ids], list[Ids], list[Ids]] = ([], [], [])
    free = np.ones(len(labels), bool)
    if given_test is not None:
        free[given_test] = False
        parts[2].append(given_test)
    for label in np.unique(labels[free]):
        own = rng.permutation(np.flatnonzero(free & (labels == label)))
        test = 0 if given_test is not None else max(1, round(TEST * len(own)))
        validation = test + max(1, round(VALIDATION * len(own)))
        for part, ids in zip((2, 1, 0), np.split(own, [test, validation]), strict=True):
            parts[part].append(ids)
    return Split(*(np.sort(np.concatenate(part)) for part in parts))
