"""Rows predicted from spelling alone: a ridge regression on character n-grams.

With X the n-grams of the words (rows of unit length), w a weight per word and Y their rows, the
coefficients G minimize ``sum_i w_i |x_i G - (y_i - mean)|^2 + penalty |G|^2``, that is

    (X' W X + penalty I) G = X' W (Y - mean).

Conjugate gradients with a diagonal preconditioner (Hestenes and Stiefel, 1952) solve it for all D
columns at once. Frequent n-grams dominate the matrix, so the preconditioner decides: without it
the same number of steps leaves a useless answer. Stopping early only smooths a little more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.learn.ngrams import NGrams
from rowtune.learn.row_blocks import over_blocks
from rowtune.learn.sparse import Sparse

Floats = NDArray[np.float32]


class Spelling:
    """The n-grams of a list of words, ready for several fits with different words hidden."""

    def __init__(self, words: Sequence[str], rows: Floats, shortest: int = 3, longest: int = 6):
        self.ngrams = NGrams(words, shortest, longest)
        self.matrix = self.ngrams.matrix
        self.transposed = self.matrix.transpose()
        self.rows = rows

    def fit(self, weights: Floats, penalty: float, steps: int) -> SpellingFit:
        """Fit the words of positive weight; a word of weight 0 has no influence at all.

        Parameters
        ----------
        weights : (words,) float32, not all zero
        penalty : the ridge penalty in units of the mean positive weight
        steps : conjugate gradient steps
        """
        weight = (weights / weights[weights > 0].mean()).astype(np.float32)[:, None]
        mean = (weight[:, 0] @ self.rows) / weight.sum()
        squares = self.transposed.squared() @ weight
        inverse = (1 / (squares[:, 0] + penalty)).astype(np.float32)
        residual = self.transposed @ (weight * (self.rows - mean))
        solution = np.zeros_like(residual)
        direction = inverse[:, None] * residual
        size = over_blocks(_dot, len(inverse), residual, direction)
        for _ in range(steps):
            image = self.transposed @ (weight * (self.matrix @ direction))
            curve = over_blocks(_penalize, len(inverse), image, direction, np.float32(penalty))
            move = (size / np.maximum(curve, 1e-30)).astype(np.float32)
            smaller = over_blocks(
                _advance, len(inverse), solution, residual, direction, image, inverse, move
            )
            keep = (smaller / np.maximum(size, 1e-30)).astype(np.float32)
            over_blocks(_turn, len(inverse), direction, residual, inverse, keep)
            size = smaller
        return SpellingFit(self.ngrams, solution, mean)


class SpellingFit:
    """Coefficients per n-gram, and the mean row that a word without known n-grams gets."""

    def __init__(self, ngrams: NGrams, coefficients: Floats, mean: Floats) -> None:
        self.ngrams, self.coefficients, self.mean = ngrams, coefficients, mean

    def predict(self, words: Sequence[str]) -> Floats:
        """(words, D) rows."""
        encoded: Sparse = self.ngrams.encode(words)
        return encoded @ self.coefficients + self.mean


# One pass over memory each: these arrays are far larger than any cache. All return column sums.


@njit(cache=True, nogil=True)
def _dot(begin: int, end: int, a: Any, b: Any) -> Any:
    total = np.zeros(a.shape[1], np.float64)
    for i in range(begin, end):
        for d in range(a.shape[1]):
            total[d] += a[i, d] * b[i, d]
    return total


@njit(cache=True, nogil=True)
def _penalize(begin: int, end: int, image: Any, direction: Any, penalty: Any) -> Any:
    total = np.zeros(image.shape[1], np.float64)
    for i in range(begin, end):
        for d in range(image.shape[1]):
            image[i, d] += penalty * direction[i, d]
            total[d] += image[i, d] * direction[i, d]
    return total


@njit(cache=True, nogil=True)
def _advance(
    begin: int,
    end: int,
    solution: Any,
    residual: Any,
    direction: Any,
    image: Any,
    inverse: Any,
    move: Any,
) -> Any:
    total = np.zeros(image.shape[1], np.float64)
    for i in range(begin, end):
        for d in range(image.shape[1]):
            solution[i, d] += move[d] * direction[i, d]
            residual[i, d] -= move[d] * image[i, d]
            total[d] += residual[i, d] * residual[i, d] * inverse[i]
    return total


@njit(cache=True, nogil=True)
def _turn(begin: int, end: int, direction: Any, residual: Any, inverse: Any, keep: Any) -> Any:
    for i in range(begin, end):
        for d in range(direction.shape[1]):
            direction[i, d] = inverse[i] * residual[i, d] + keep[d] * direction[i, d]
    return np.zeros(direction.shape[1], np.float64)
