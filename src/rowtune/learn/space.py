"""A space of the text's own: words that keep the same company lie close. No known row has a part.

The matrix of associations (`cooccurrence`) is cut down to its strongest directions, which is what
skip-gram with negative sampling does in other words (Levy and Goldberg, NeurIPS 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.nearest import unit
from rowtune.learn.sparse import Sparse

Floats = NDArray[np.float32]

DIM = 100
_SPARE = 16  # directions that are drawn beside those that are kept
_TURNS = 2
_NOISE = 1e-6  # of the greatest singular value: below it is rounding


def strongest_directions(matrix: Sparse, dim: int, rng: np.random.Generator) -> Floats:
    """(rows, dim): left singular vectors of ``matrix`` times the roots of their singular values.

    By subspace iteration from a random start (Halko, Martinsson and Tropp, SIAM Review 2011,
    algorithms 4.4 and 5.1). A matrix with fewer directions leaves the last columns 0.
    """
    rows = matrix.height
    drawn = min(dim + _SPARE, rows, matrix.width)
    space = np.zeros((rows, dim), np.float32)
    if not drawn or not len(matrix.values):
        return space
    turned = matrix.transpose()
    near = matrix @ rng.standard_normal((matrix.width, drawn), np.float32)
    for _ in range(_TURNS):
        near = matrix @ np.linalg.qr(turned @ np.linalg.qr(near)[0])[0]
    basis = np.linalg.qr(near)[0]
    small = turned @ basis  # (width, drawn): what the matrix is in that basis
    squares, vectors = np.linalg.eigh((small.T @ small).astype(np.float64))
    kept = min(dim, drawn)
    values = np.sqrt(np.maximum(squares[::-1][:kept], 0))
    values[values < _NOISE * values[0]] = 0
    directions = basis @ vectors[:, ::-1][:, :kept].astype(np.float32)
    space[:, :kept] = directions * np.sqrt(values).astype(np.float32)
    return space


def rotated(space: Floats, shared: slice, target: Floats) -> Floats:
    """``space`` turned onto the table by orthogonal Procrustes over the words they share.

    The rotation Q minimizes |X Q - Y| over orthogonal matrices, X and Y being the centred unit
    rows of the shared words: Q = U V' where X'Y = U S V' (Schönemann, Psychometrika, 1966). The
    narrower of the two gets columns of 0.

    Parameters
    ----------
    space : (words, any width)
    shared : which words of ``space`` the table has
    target : (shared words, D) unit rows of the table
    """
    dim = target.shape[1]
    width = max(dim, space.shape[1])
    rows, goals = _widened(unit(space), width), _widened(target, width)
    middle, goal = rows[shared].mean(0), goals.mean(0)
    left, _, right = np.linalg.svd((rows[shared] - middle).T @ (goals - goal))
    turned: Floats = unit(rows - middle) @ (left @ right).astype(np.float32) + goal
    return turned[:, :dim]


def _widened(rows: Floats, width: int) -> Floats:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))
