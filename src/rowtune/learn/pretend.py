"""Pretend-OOV: hide words the table knows, learn them as if they were new, compare with the truth.

It needs no labels, and says what to expect of the rows of words that are really new, provided that
the hidden words resemble those: so they are drawn by how often the corpus has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.nearest import nearest, ranks, unit
from rowtune.learn.result import HeldOutWord, Score
from rowtune.learn.survey import Survey

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

BAND = (20, 300)  # occurrences of a held-out word, where the corpus has enough such words
_MOST, _FEWEST_IN_BAND, _FEWEST = 1000, 60, 40


@dataclass(frozen=True)
class Split:
    """Types in three disjoint parts. Validation and test are hidden from every fit."""

    train: Ids
    validation: Ids
    test: Ids
    band: tuple[int, int]
    twins: Ids = field(default_factory=lambda: np.empty(0, np.int64))  # rows of hidden types too

    @property
    def hidden(self) -> Ids:
        return np.concatenate([self.validation, self.test, self.twins])

    def without_twins(self, same: Ids, known: Ids) -> Split:
        """The same parts, with types that share a row with a hidden one hidden as well.

        Parameters
        ----------
        same : (known,) int64, one number for rows of the same bits
        known : (known,) int64, types with rows
        """
        shared = np.isin(same, same[np.isin(known, self.hidden)])
        twins = np.setdiff1d(known[shared], self.hidden)
        return replace(self, train=np.setdiff1d(self.train, twins), twins=twins)


def split(survey: Survey, rng: np.random.Generator) -> Split | None:
    """Hold words out of the known ones; None when the corpus knows too few to spare any.

    At most a fifth of the known words and half of those in the count band are hidden: two thirds
    for the reported numbers, one third to choose hyper-parameters by.
    """
    known = survey.known
    if len(known) < _FEWEST:
        return None
    counts = survey.counts[known]
    band = BAND
    inside = known[(counts >= BAND[0]) & (counts <= BAND[1])]
    if len(inside) < _FEWEST_IN_BAND:
        band = (int(counts.min()), int(max(BAND[1], np.quantile(counts, 0.9))))
        inside = known[counts <= band[1]]
    size = min(_MOST * 3 // 2, len(known) // 5, len(inside) // 2)
    chosen = np.sort(rng.choice(inside, size, replace=False))
    shuffled = rng.permutation(chosen)
    third = size // 3
    return Split(
        np.setdiff1d(known, chosen), np.sort(shuffled[:third]), np.sort(shuffled[third:]), band
    )


def compare(
    table: Floats,
    true: Ids,
    learned: dict[str, Floats],
    words: list[str],
    counts: NDArray[np.int64],
    relatives: list[str | None] | None = None,
) -> tuple[dict[str, Score], tuple[HeldOutWord, ...]]:
    """Score every method's rows against the true ones.

    Parameters
    ----------
    table : (N, D) float32 of unit rows
    true : (words,) int64, the row each held-out word really has
    learned : method -> (words, D)
    relatives : (words,), optional, a word with the same stem that was not hidden, or None
    """
    scores: dict[str, Score] = {}
    cosines: dict[str, Floats] = {}
    places: dict[str, NDArray[np.int64]] = {}
    shared: dict[str, NDArray[np.float64]] = {}
    nearest_true, _ = nearest(table, table[true], 10, hide=true)
    for method, rows in learned.items():
        queries = unit(rows)
        cosines[method] = np.einsum("ij,ij->i", queries, table[true])
        places[method] = ranks(table, queries, true)
        found, _ = nearest(table, queries, 10, hide=true)
        shared[method] = (found[:, :, None] == nearest_true[:, None, :]).any(2).mean(1)
        scores[method] = Score(
            float(cosines[method].mean()),
            float(np.median(places[method])),
            float(shared[method].mean()),
        )
    held_out = tuple(
        HeldOutWord(
            word,
            int(counts[i]),
            {method: float(values[i]) for method, values in cosines.items()},
            {method: int(values[i]) for method, values in places.items()},
            {method: float(values[i]) for method, values in shared.items()},
            relatives[i] if relatives else None,
        )
        for i, word in enumerate(words)
    )
    return scores, held_out
