"""Accuracy, macro-F1, and whether a difference between two ways says anything."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rowtune.adapt.result import Difference

Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]
BETTER, WORSE, EQUAL = "better", "worse", "not told apart"

# Student's t, two-sided 95 %, for 1, 2, ... degrees of freedom; beyond the last it hardly falls.
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13,
      2.12, 2.11, 2.10, 2.09, 2.09)  # fmt: skip


def macro_f1(predicted: Ids, labels: Ids, classes: int) -> float:
    """The mean over the labels of F1; a label that is neither there nor predicted counts as 0."""
    both = np.bincount(labels[predicted == labels], minlength=classes)
    either = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    return float((2 * both / np.maximum(either, 1)).mean())


def difference(
    way: str, ours: list[NDArray[np.bool_]], theirs: list[NDArray[np.bool_]], training: int,
    same_test: bool,
) -> Difference:  # fmt: skip
    """Ours minus theirs in accuracy, and a standard error for it.

    Seeds that split the same texts anew share most of them, so the variance over J seeds is not
    divided by J but multiplied with 1 / J + test / training (Nadeau and Bengio, Machine Learning
    52, 2003, section 4). It is never less than if all test texts were drawn anew, for five splits
    can agree by chance. Where all seeds have one given test part, it is divided by J, and the
    variance from which texts are in that part is added.

    Parameters
    ----------
    ours, theirs : for each seed, which test texts are right
    training : texts that were learned from, in each seed
    same_test : whether the test part is the same for all seeds
    """
    gaps = np.array([a.mean() - b.mean() for a, b in zip(ours, theirs, strict=True)])
    mean = float(gaps.mean())
    seeds, tested = len(gaps), len(ours[0])
    if seeds == 1:
        return Difference(way, mean, None, EQUAL)
    variance = float(gaps.var(ddof=1))
    by_text = np.array([a.astype(float) - b for a, b in zip(ours, theirs, strict=True)])
    if same_test:
        drawn = float(by_text.mean(0).var()) / tested
        error = math.sqrt(variance / seeds + drawn)
    else:
        drawn = float(by_text.var(axis=1).mean()) / (seeds * tested)
        error = math.sqrt(max(variance * (1 / seeds + tested / training), drawn))
    if abs(mean) <= _T[min(seeds - 1, len(_T)) - 1] * error or mean == 0:
        return Difference(way, mean, error, EQUAL)
    return Difference(way, mean, error, BETTER if mean > 0 else WORSE)
