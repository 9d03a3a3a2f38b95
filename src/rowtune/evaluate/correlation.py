"""Correlations of cosines with people's scores, and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.evaluate.result import Correlation, Interval
from rowtune.learn.intervals import RESAMPLES

Floats = NDArray[np.float64]
FEWEST = 10  # pairs or questions: an interval over fewer says nothing
_LEVEL = (2.5, 97.5)  # percentiles
_AT_ONCE = 1 << 20  # drawn pairs held at a time, some 50 MB with their ranks
_NOISE = 1e-7  # a spread below this share of the largest value is rounding


def mean_ranks(values: NDArray[Any]) -> Floats:
    """Ranks from 1 along the last axis; equal values share the mean of their ranks."""
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, -1)
    n = values.shape[-1]
    place = np.broadcast_to(np.arange(n), values.shape)
    other = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*values.shape[:-1], 1), bool)
    begins = np.concatenate([edge, other], -1)
    ends = np.concatenate([other, edge], -1)
    first = np.maximum.accumulate(np.where(begins, place, 0), axis=-1)
    last = np.minimum.accumulate(np.where(ends, place, n)[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty(values.shape, np.float64)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, -1)
    return ranks


def pearson(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Pearson's correlation along the last axis; NaN where either side is constant."""
    sides = []
    for side in (x, y):
        wide = np.asarray(side, np.float64)
        centred = wide - wide.mean(-1, keepdims=True)
        length = np.sqrt((centred**2).sum(-1, keepdims=True))
        scale = np.abs(wide).max(-1, keepdims=True) * np.sqrt(wide.shape[-1])
        flat = length <= _NOISE * scale
        sides.append(np.where(flat, np.nan, centred / np.where(flat, 1, length)))
    found: Floats = np.clip((sides[0] * sides[1]).sum(-1), -1, 1)
    return found


def spearman(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Spearman's correlation (Am. J. Psychol., 1904): Pearson's of ranks, ties at their mean."""
    return pearson(mean_ranks(x), mean_ranks(y))


def draws(
    size: int, seed: int, progress: Callable[[str, int, int], None] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Resamples with replacement, (some, size) at a time, 1,000 in all; same seed, same draws."""
    rng = np.random.default_rng([seed, size])
    step = max(1, _AT_ONCE // max(size, 1))
    for start in range(0, RESAMPLES, step):
        yield rng.integers(0, size, (min(step, RESAMPLES - start), size))
        if progress:
            progress("resampling", min(start + step, RESAMPLES), RESAMPLES)


def interval_of(values: Floats) -> Interval | None:
    """The middle 95 % of what resamples gave (percentile bootstrap; Efron, Ann. Stat., 1979).

    Resamples in which a correlation is not defined are left out; None if they are the most.
    """
    defined = values[~np.isnan(values)]
    if len(defined) < len(values) / 2:
        return None
    low, high = np.percentile(defined, _LEVEL)
    return float(low), float(high)


def correlate(
    cosines: Floats, scores: Floats, seed: int, progress: Callable[[str, int, int], None] | None
) -> tuple[list[Correlation], list[Floats]]:
    """Every table's correlations with intervals, all from the same resamples of the pairs.

    Parameters
    ----------
    cosines : (tables, pairs), no NaN
    scores : (pairs,)

    Returns
    -------
    correlations : one for each table
    resampled : Spearman of every resample, (resamples,) for each table; empty for few pairs
    """
    n = len(scores)
    sampled = np.empty((2, len(cosines), 0))
    if n >= FEWEST:
        parts = []
        for drawn in draws(n, seed, progress):
            people = scores[drawn]
            ranked = mean_ranks(people)
            both = [[pearson(mean_ranks(own[drawn]), ranked) for own in cosines],
                    [pearson(own[drawn], people) for own in cosines]]  # fmt: skip
            parts.append(np.array(both))
        sampled = np.concatenate(parts, -1)
    found = []
    for own, by_rank, by_value in zip(cosines, *sampled, strict=True):
        why = _undefined(own, scores)
        found.append(
            Correlation(n, None, None, None, None, why)
            if why
            else Correlation(
                n,
                float(spearman(own, scores)),
                interval_of(by_rank) if len(by_rank) else None,
                float(pearson(own, scores)),
                interval_of(by_value) if len(by_value) else None,
            )
        )
    return found, list(sampled[0])


def _undefined(cosines: Floats, scores: Floats) -> str:
    if len(scores) < 2:
        return "no pair is known" if len(scores) == 0 else "one pair alone is known"
    for values, what in ((scores, "scores"), (cosines, "cosines")):
        if np.isnan(pearson(values, values)):
            return f"all {what} of the known pairs are equal"
    return ""
