"""What a comparison found: plain data that the terminal, JSON and tests read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.result import Coverage, FreezeProof


@dataclass(frozen=True)
class WayScore:
    """One way over the seeds; arrays have one number for each seed. Shares are from 0 to 1."""

    way: str
    accuracy: NDArray[np.float64]
    macro_f1: NDArray[np.float64]  # mean over the labels of F1
    with_new: NDArray[np.float64]  # accuracy on the test texts with a new word; NaN without any
    trained_rows: int  # rows that training moved, in the first split
    settings: tuple[dict[str, Any], ...]  # what validation chose, by seed
    seconds: float  # of all tries on all seeds


@dataclass(frozen=True)
class Difference:
    """Ours minus another way, in accuracy, paired by seed."""

    way: str
    mean: float
    standard_error: float | None  # None for one seed: nothing is known of the spread
    verdict: str  # "better", "worse" or "not told apart"


@dataclass(frozen=True)
class Adaptation:
    """The outcome of `rowtune.adapt.adapt`. Row i of ``rows`` belongs to ``words[i]``."""

    labels: dict[str, int]  # label -> texts that have it
    parts: tuple[int, int, int]  # texts for training, validation and test
    ways: tuple[WayScore, ...]
    differences: tuple[Difference, ...]
    coverage: Coverage  # of all texts, with the new words of the first split
    new_words: tuple[int, ...]  # by seed: words that got a row from its training part
    test_with_new: float  # share of test texts that have one of them, over the seeds
    frozen: FreezeProof  # of the known rows, before and after every training of ours
    words: tuple[str, ...]  # of the fit on everything labelled; empty if it was not asked for
    counts: tuple[int, ...]  # their occurrences
    rows: NDArray[np.floating[Any]]  # (words, D), in the dtype of the table
    settings: dict[str, Any]
    seconds: float
    notes: tuple[str, ...] = field(default=())
