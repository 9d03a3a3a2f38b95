"""Run a compiled kernel on blocks of rows, and add up what it returns.

The blocks do not depend on the number of threads and their sums are added in order, so results
keep their bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rowtune.kernels.threads import for_each_chunk

_BLOCKS = 32  # rows can differ in length by orders of magnitude: more blocks than cores


def over_blocks(kernel: Callable[..., Any], height: int, *arguments: Any) -> Any:
    """``kernel(begin, end, *arguments)`` over all rows; the sum of what it returns, in order."""
    edges = np.linspace(0, height, _BLOCKS + 1).astype(np.int64).tolist()
    results: list[Any] = [None] * _BLOCKS

    def work(block: int) -> None:
        results[block] = kernel(edges[block], edges[block + 1], *arguments)

    for_each_chunk(work, _BLOCKS)
    return None if results[0] is None else np.sum(results, axis=0)
