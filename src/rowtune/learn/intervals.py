"""Scores of every method over parts of the held-out words, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.result import HeldOutWord, PartScore, Score

RESAMPLES = 1000
EVERY, NO_RELATIVES, RELATIVES = "all", "no close relative", "with a close relative"
_BANDS = (0, 20, 50, 100, 300)  # occurrences
_FEWEST = 10  # words: an interval over fewer says nothing
_LEVEL = (2.5, 97.5)  # percentiles


def part_scores(held_out: Sequence[HeldOutWord], seed: int) -> tuple[PartScore, ...]:
    """Every method over all words, by frequency band, and with and without close relatives.

    Words are resampled with replacement 1,000 times (percentile bootstrap; Efron, Annals of
    Statistics, 1979). All methods see the same resamples.
    """
    found: list[PartScore] = []
    for part, words in _parts(held_out):
        rng = np.random.default_rng([seed, len(found)])
        drawn = rng.integers(0, len(words), (RESAMPLES, len(words)))
        for method in words[0].cosine:
            found.append(_score(part, method, words, drawn))
    return tuple(found)


def _parts(held_out: Sequence[HeldOutWord]) -> Iterator[tuple[str, list[HeldOutWord]]]:
    words = list(held_out)
    chosen = [(EVERY, words)]
    for low, high in zip(_BANDS, [*_BANDS[1:], None], strict=True):
        name = f"seen {low:,} to {high - 1:,} times" if high else f"seen {low:,} times or more"
        inside = [w for w in words if w.count >= low and (high is None or w.count < high)]
        chosen.append((name, inside))
    chosen.append((RELATIVES, [word for word in words if word.relative is not None]))
    chosen.append((NO_RELATIVES, [word for word in words if word.relative is None]))
    yield from ((name, inside) for name, inside in chosen if len(inside) >= _FEWEST)


def _score(
    part: str, method: str, words: Sequence[HeldOutWord], drawn: NDArray[np.int64]
) -> PartScore:
    cosine = np.array([word.cosine[method] for word in words])
    rank = np.array([word.rank[method] for word in words], np.float64)
    overlap = np.array([word.overlap.get(method, np.nan) for word in words])
    return PartScore(
        part,
        method,
        len(words),
        Score(float(cosine.mean()), float(np.median(rank)), float(overlap.mean())),
        _interval(cosine[drawn].mean(1)),
        _interval(np.median(rank[drawn], axis=1)),
        _interval(overlap[drawn].mean(1)),
    )


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, _LEVEL)
    return float(low), float(high)
