"""Sparse matrices by rows, and products with them.

Where products are wanted in both directions, both orders of the matrix are kept: each output row is
then written by one thread, in a fixed order, and has the same bits on any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.learn.row_blocks import over_blocks
from rowtune.signals import returned

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sparse:
    """Compressed sparse rows: row i holds ``values[starts[i]:starts[i+1]]`` at ``columns[...]``."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: Floats
    width: int

    @property
    def height(self) -> int:
        return len(self.starts) - 1

    def __matmul__(self, dense: Floats) -> Floats:
        """(height, width) times (width, D)."""
        out = np.zeros((self.height, dense.shape[1]), np.float32)
        over_blocks(_multiply, self.height, self.starts, self.columns, self.values, dense, out)
        return out

    def squared(self) -> Sparse:
        return Sparse(self.starts, self.columns, self.values**2, self.width)

    def transpose(self) -> Sparse:
        starts, rows, values = returned(
            _transpose, self.starts, self.columns, self.values, self.width
        )
        return Sparse(starts, rows, values, self.height)


@njit(cache=True, nogil=True)
def _multiply(
    begin: int, end: int, starts: Any, columns: Any, values: Any, dense: Any, out: Any
) -> None:
    dim = dense.shape[1]
    for i in range(begin, end):
        total = out[i]
        for p in range(starts[i], starts[i + 1]):
            row = dense[columns[p]]  # views: plain loops over them become vector instructions
            value = values[p]
            for d in range(dim):
                total[d] += value * row[d]


@njit(cache=True, nogil=True)
def _transpose(starts: Any, columns: Any, values: Any, width: int) -> Any:
    counts = np.zeros(width + 1, np.int64)
    for p in range(len(columns)):
        counts[columns[p] + 1] += 1
    out_starts = np.cumsum(counts)
    fill = out_starts[:-1].copy()
    out_rows = np.empty(len(columns), np.int32)
    out_values = np.empty(len(columns), np.float32)
    for i in range(len(starts) - 1):
        for p in range(starts[i], starts[i + 1]):
            at = fill[columns[p]]
            fill[columns[p]] += 1
            out_rows[at] = i
            out_values[at] = values[p]
    return out_starts, out_rows, out_values
