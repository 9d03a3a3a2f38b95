"""Matrix products in pieces so small that a BLAS takes them on one thread.

Batches this small gain nothing from a second thread, and where that one is not free they lose much:
measured on two busy cores, half of all time was threads waiting for each other. It also keeps the
bits of a result the same whatever the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST = 200_000  # multiplications; OpenBLAS asks for threads beyond 4 x 65,536

Matrix = NDArray[Any]


def product(a: Matrix, b: Matrix) -> Matrix:
    """(n, k) times (k, m)."""
    n, at_a_time = len(a), _rows_at_a_time(b.size)
    if n <= at_a_time:
        whole: Matrix = a @ b
        return whole
    full = n - n % at_a_time
    out = np.empty((n, b.shape[1]), np.result_type(a, b))
    pieces = a[:full].reshape(-1, at_a_time, a.shape[1])
    np.matmul(pieces, b, out=out[:full].reshape(-1, at_a_time, b.shape[1]))
    np.matmul(a[full:], b, out=out[full:])
    return out


def transposed_product(a: Matrix, b: Matrix) -> Matrix:
    """The transpose of (n, k) times (n, m): a (k, m) matrix."""
    n, at_a_time = len(a), _rows_at_a_time(a.shape[1] * b.shape[1])
    full = n - n % at_a_time
    rest: Matrix = a[full:].T @ b[full:]
    if full:
        left = a[:full].reshape(-1, at_a_time, a.shape[1]).transpose(0, 2, 1)
        rest += np.matmul(left, b[:full].reshape(-1, at_a_time, b.shape[1])).sum(0)
    return rest


def _rows_at_a_time(multiplications: int) -> int:
    return max(1, _MOST // max(multiplications, 1))
