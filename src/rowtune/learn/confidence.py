"""How well a new row is likely to fit: the cosine with which hidden words of such signs came back.

The signs: how often the text has the word, how long the predicted row is (a ridge regression
shrinks what it is unsure of), whether contexts and spelling agree, and whether the table knows a
word with the same stem. A small ridge regression over the hidden test words turns them into a
cosine; the same regression, on words it was not fitted on, says how far to trust it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.nearest import unit
from rowtune.learn.ridge import Ridge

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

_FOLDS, _PENALTY = 5, 1e-2
_SPREAD = 1e-6  # cosines closer than that differ by rounding alone


@dataclass(frozen=True)
class Predicted:
    """Rows of some words before they lean on spelling, and what they were predicted from."""

    rows: Floats  # (words, D)
    blind: Floats  # (words, D): from contexts and counts alone
    spelled: Floats  # (words, D): from spelling alone
    counts: Ids
    relatives: Sequence[str | None]

    def signs(self) -> Floats:
        """(words, 6)."""
        return np.stack(
            [
                np.log1p(self.counts).astype(np.float32),
                np.linalg.norm(self.rows, axis=1),
                np.linalg.norm(self.blind, axis=1),
                _cosines(self.rows, self.spelled),
                _cosines(self.blind, self.spelled),
                np.array([word is not None for word in self.relatives], np.float32),
            ],
            axis=1,
        )


class Confidence:
    """Fitted on hidden words that came back with known cosines.

    Parameters
    ----------
    hidden : Predicted, n words
    cosines : (n,) of the final rows with the true ones
    """

    def __init__(self, hidden: Predicted, cosines: Floats, rng: np.random.Generator) -> None:
        signs, goal = hidden.signs(), cosines.astype(np.float32)[:, None]
        self._fit = _fitted(signs, goal)
        fold = rng.permutation(len(signs)) % _FOLDS
        apart = np.empty(len(signs), np.float32)
        for k in range(_FOLDS):
            apart[fold == k] = _fitted(signs[fold != k], goal[fold != k]).predict(signs[fold == k])[
                :, 0
            ]
        varies = min(apart.std(), goal.std()) > _SPREAD
        # With the cosines of words that the fit had not seen.
        self.correlation = float(np.corrcoef(apart, goal[:, 0])[0, 1]) if varies else 0.0

    def of(self, words: Predicted) -> Floats:
        """(words,): the cosine to expect, from -1 to 1."""
        expected: Floats = np.clip(self._fit.predict(words.signs())[:, 0], -1, 1)
        return expected


def _fitted(signs: Floats, goal: Floats) -> Ridge:
    return Ridge(signs, goal, np.ones(len(signs), np.float32), _PENALTY)


def _cosines(left: Floats, right: Floats) -> Floats:
    found: Floats = np.einsum("ij,ij->i", unit(left), unit(right))
    return found
