"""What it costs to reach a row, beside moving it: work is cut by both.

Rows of a large table are chosen far from each other, so that each is a miss of every cache, and a
look for its page as well. A thread then waits more than it moves, and a second one waits at the
same time: batches pay for two threads that are too small to do so where all lies in a cache.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

_CACHE = 1 << 25  # bytes; the last cache of most processors, or the share of it that one may use
# As how many bytes a miss counts. Measured for lookups and steps of 512 to 32,768 rows: with more,
# a thread is woken for batches that one alone is done with sooner; with less, too late for others.
_MISS = 512


def reach(*arrays: NDArray[Any]) -> int:
    """As how many bytes to move it counts to reach one row in each of ``arrays``.

    0 where all of them fit into a cache. It depends on the table and not on the machine, so that
    work is cut in the same way everywhere.
    """
    if sum(array.nbytes for array in arrays) <= _CACHE:
        return 0
    return _MISS * len(arrays)
