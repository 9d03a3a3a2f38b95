"""Where words go on a map: neighbours in D dimensions become neighbours in two.

A projection to two principal components of 50-dimensional vectors shows a tenth of the variance and
one crowded heap. t-SNE (van der Maaten & Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008)
keeps neighbourhoods instead; a few hundred words need no approximation, so this is the exact form.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]


def plane(
    rows: NDArray[np.floating], *, steps: int = 500, progress: Progress | None = None
) -> Floats:
    """Place the rows on a plane so that those with a high cosine lie together.

    Parameters
    ----------
    rows : (n, D) floating
        Any length; only directions count. A row of zeros is allowed.
    steps : int
        Gradient steps of t-SNE. It starts from the principal components, so there is no randomness.
    progress : callable, optional
        Called with ("map", steps done, steps).

    Returns
    -------
    (n, 2) float64, each axis scaled to [-1, 1]. Fewer than six rows: their principal components.
    """
    unit = np.asarray(rows, np.float64)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    places = principal(unit)
    if len(unit) >= 6:
        near = affinities(unit, perplexity=min(12.0, (len(unit) - 1) / 3))
        places = _descend(places, near, steps, progress)
        places = principal(places)  # the longest direction lies flat: pictures are wide
    return _fill(places)


def _fill(places: Floats) -> Floats:
    """Scale to [-1, 1], half by value, half by rank: a far group must not crowd the rest."""
    low, high = places.min(axis=0, initial=0.0), places.max(axis=0, initial=0.0)
    value = 2 * (places - low) / np.maximum(high - low, 1e-12) - 1
    rank = places.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    even = 2 * rank / max(len(places) - 1, 1) - 1
    flat: Floats = (value + even) / 2
    return flat


def principal(rows: Floats) -> Floats:
    """Return the first two principal components, (n, 2), with signs fixed so that runs agree."""
    rows = np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0)
    centred = rows - rows.mean(axis=0) if len(rows) else rows
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(rows), 2))
    kept = min(2, len(sizes))
    places[:, :kept] = left[:, :kept] * sizes[:kept]
    largest = np.abs(places).argmax(axis=0) if len(rows) else np.zeros(2, int)
    for axis in range(2 if len(rows) else 0):
        if places[largest[axis], axis] < 0:
            places[:, axis] *= -1
    return places


def affinities(unit: Floats, *, perplexity: float) -> Floats:
    """Symmetric neighbour probabilities (n, n) with the same entropy for every row, sum 1.

    The width of each row's Gaussian is found by bisection (t-SNE paper, section 2).
    """
    count = len(unit)
    far = np.maximum(2.0 - 2.0 * unit @ unit.T, 0.0)
    np.fill_diagonal(far, np.inf)
    low, high = np.full(count, 1e-3), np.full(count, 1e6)
    for _ in range(50):
        sharp = np.sqrt(low * high)
        close = np.exp(-(far - far.min(axis=1, keepdims=True)) * sharp[:, None])
        close /= close.sum(axis=1, keepdims=True)
        entropy = -(close * np.log(np.maximum(close, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, sharp, low), np.where(wide, high, sharp)
    both: Floats = (close + close.T) / (2 * count)
    return both


def _descend(places: Floats, near: Floats, steps: int, progress: Progress | None) -> Floats:
    """Follow the gradient of the paper's equation 5 with its momentum and per-coordinate gains."""
    places = places / max(places.std(), 1e-12) * 1e-2
    speed, gains = np.zeros_like(places), np.ones_like(places)
    rate = max(len(places) / 12.0 * 4, 20.0)
    pull, force, strong = np.empty_like(near), np.empty_like(near), 12.0 * near
    for step in range(steps):
        early = step < steps // 4  # exaggerated attraction first: groups form before they spread
        weight = 12.0 if early else 1.0
        # In place and by coordinate: a thousand rows make matrices of 8 MB, and a matrix product
        # over two columns waits for BLAS's threads longer than it computes.
        x, y = across = np.ascontiguousarray(places.T)
        np.square(np.subtract(x[:, None], x, out=pull), out=pull)
        np.square(np.subtract(y[:, None], y, out=force), out=force)
        pull += force
        pull += 1.0
        np.reciprocal(pull, out=pull)
        np.fill_diagonal(pull, 0.0)
        np.divide(pull, -pull.sum(), out=force)
        force += strong if early else near
        force *= pull
        drawn = np.einsum("ij,kj->ik", force, across)
        slope = 4.0 * (force.sum(axis=1)[:, None] * places - drawn)
        gains = np.where(np.sign(slope) != np.sign(speed), gains + 0.2, gains * 0.8).clip(0.01)
        speed = (0.5 if early else 0.8) * speed - (rate / weight) * gains * slope
        places = places + speed
        places -= places.mean(axis=0)
        if progress is not None and (step + 1) % 50 == 0:
            progress("map", step + 1, steps)
    return places


def kept_neighbours(
    new: NDArray[np.floating], known: NDArray[np.floating], flat_new: Floats, flat_known: Floats
) -> NDArray[np.int64]:
    """Find for each new row its nearest known row, -1 where the plane tore the two apart.

    Parameters
    ----------
    new, known : (n, D) and (m, D)
        The rows in their own space; nearness is the cosine.
    flat_new, flat_known : (n, 2) and (m, 2)
        The same rows on the plane; the nearest known row must be among the five closest there.
    """
    if not len(new) or not len(known):
        return np.full(len(new), -1)
    length = np.maximum(np.linalg.norm(known, axis=1), 1e-12)
    nearest = ((new @ known.T) / length).argmax(axis=1)
    far = ((flat_new[:, None] - flat_known[None]) ** 2).sum(axis=-1)
    closest = far.argsort(axis=1, kind="stable")[:, :5]
    kept = (closest == nearest[:, None]).any(axis=1)
    return np.where(kept, nearest, -1)
