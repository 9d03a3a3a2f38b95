"""Word similarity: cosines of pairs beside what people said, for one table or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rowtune.evaluate.correlation import Floats, correlate, interval_of, spearman
from rowtune.evaluate.lookups import look_up
from rowtune.evaluate.pairs import Pairs
from rowtune.evaluate.result import Correlation, Difference, Lookups, SimilarityScores
from rowtune.learn.nearest import unit, usable
from rowtune.vectors import Vectors

Progress = Callable[[str, int, int], None]
_AT_ONCE = 1 << 16  # pairs


@dataclass(frozen=True)
class Cosines:
    """What one table says of the pairs; NaN where it does not know both words."""

    table: str
    values: Floats  # (pairs,)
    lookups: Lookups


def cosines_of(vectors: Vectors, pairs: Pairs, table: str = "vectors") -> Cosines:
    """The cosine of every pair that the table knows; ``table`` is what to call it."""
    rows, lookups = look_up(vectors, (word for pair in pairs.words for word in pair))
    at = np.array([[rows.get(word, -1) for word in pair] for pair in pairs.words], np.int64)
    values = np.full(len(at), np.nan)
    known = np.flatnonzero((at >= 0).all(axis=1))
    for start in range(0, len(known), _AT_ONCE):
        some = known[start : start + _AT_ONCE]
        one, other = (unit(usable(vectors.matrix[at[some, side]])) for side in (0, 1))
        values[some] = np.einsum("ij,ij->i", one, other, dtype=np.float64)
    return Cosines(table, values, lookups)


def compare_cosines(
    pairs: Pairs, tables: Sequence[Cosines], seed: int = 0, progress: Progress | None = None
) -> SimilarityScores:
    """Correlations of each table over the pairs it knows, and of all over those that all know.

    Intervals come from 1,000 resamples of the pairs. Those of a difference are paired: both tables
    are scored on the same resample each time.
    """
    own = []
    for each in tables:
        known = ~np.isnan(each.values)
        (score,), _ = correlate(each.values[None, known], pairs.scores[known], seed, progress)
        own.append(score)
    zeros = [spearman(np.nan_to_num(each.values, nan=0.0), pairs.scores) for each in tables]
    common, differences = _side_by_side(pairs, tables, seed, progress)
    return SimilarityScores(
        pairs.name,
        len(pairs.words),
        tuple(each.table for each in tables),
        tuple(own),
        tuple(None if np.isnan(zero) else float(zero) for zero in zeros),
        tuple(each.lookups for each in tables),
        common,
        differences,
        pairs.notes,
    )


def _side_by_side(
    pairs: Pairs, tables: Sequence[Cosines], seed: int, progress: Progress | None
) -> tuple[tuple[Correlation, ...], tuple[Difference, ...]]:
    if len(tables) < 2:
        return (), ()
    values = np.array([each.values for each in tables])
    shared = ~np.isnan(values).any(axis=0)
    common, resampled = correlate(values[:, shared], pairs.scores[shared], seed, progress)
    differences = []
    for each, score, sampled in zip(tables[1:], common[1:], resampled[1:], strict=True):
        change = interval = None
        if score.spearman is not None and common[0].spearman is not None:
            change = score.spearman - common[0].spearman
            interval = interval_of(sampled - resampled[0]) if len(sampled) else None
        differences.append(Difference(each.table, "spearman", change, interval))
    return tuple(common), tuple(differences)
