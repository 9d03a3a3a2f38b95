"""Weighted ridge regression, the one solver behind every linear map here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Ridge:
    """``y = (x - centre) / scale @ coefficients + mean``, fitted with a weight per sample.

    Minimizes ``sum_i w_i |f(x_i) - y_i|^2 + penalty * sum_i w_i * |coefficients|^2``: features are
    standardized first, so one penalty suits them all.

    Parameters
    ----------
    x : (samples, features) float32
    y : (samples, D) float32
    weights : (samples,) float32, positive
    penalty : float, per unit of weight
    """

    def __init__(self, x: Floats, y: Floats, weights: Floats, penalty: float) -> None:
        share = (weights / weights.sum()).astype(np.float32)
        self.centre = share @ x
        self.mean = share @ y
        centred = x - self.centre
        spread = np.sqrt(share @ centred**2)
        # A feature that never varies says nothing: leave it out rather than blow it up.
        self.scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0).astype(np.float32)
        centred *= self.scale
        weighted = centred * share[:, None]
        gram = (weighted.T @ centred).astype(np.float64)
        gram[np.diag_indices_from(gram)] += penalty
        moment = (weighted.T @ (y - self.mean)).astype(np.float64)
        self.coefficients = np.linalg.solve(gram, moment).astype(np.float32)

    def predict(self, x: Floats) -> Floats:
        """(samples, D)."""
        rows: Floats = ((x - self.centre) * self.scale) @ self.coefficients + self.mean
        return rows
