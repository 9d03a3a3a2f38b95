"""How long a row should be: the table's own norms as a function of how often a word occurs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.nearest import unit

Floats = NDArray[np.float32]


class NormCurve:
    """Log norm as a quadratic of log count, fitted on known words; constant if there are few."""

    def __init__(self, counts: NDArray[np.int64], rows: NDArray[np.floating[Any]]) -> None:
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        usable = (norms > 0) & np.isfinite(norms)
        logs, seen = np.log(norms[usable]), np.log(counts[usable].astype(np.float64))
        degree = 2 if len(np.unique(seen)) >= 20 else 0
        self.fit = np.polynomial.Polynomial.fit(seen, logs, degree) if len(logs) else None
        self.range = (seen.min(), seen.max()) if len(logs) else (0.0, 0.0)

    def apply(self, rows: Floats, counts: NDArray[np.int64]) -> Floats:
        """``rows`` rescaled to the norm of known words as frequent; never extrapolated."""
        if self.fit is None:
            return rows
        seen = np.clip(np.log(np.maximum(counts, 1)), *self.range)
        return (unit(rows) * np.exp(self.fit(seen))[:, None]).astype(np.float32)
