"""Running a compiled kernel on blocks of rows, under plain Python threads.

Kernels compiled with `nogil` run side by side in a thread pool. numba's own OpenMP pool is not
used: after it has run once, programs that fork (a DataLoader with workers) break. The blocks do
not depend on the number of threads and their sums are added in order, so results keep their bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

_BLOCKS = 32  # rows can differ in length by orders of magnitude: more blocks than cores


def count() -> int:
    """Threads worth starting."""
    return max(1, min(os.cpu_count() or 1, 8))


def blocks(kernel: Callable[..., Any], height: int, *arguments: Any) -> Any:
    """``kernel(begin, end, *arguments)`` over all rows; the sum of what it returns, in order."""
    edges = np.linspace(0, height, _BLOCKS + 1).astype(np.int64)
    with ThreadPoolExecutor(count()) as pool:
        jobs = [
            pool.submit(kernel, begin, end, *arguments) for begin, end in pairwise(edges.tolist())
        ]
        results = [job.result() for job in jobs]
    if results[0] is None:
        return None
    return np.sum(results, axis=0)
