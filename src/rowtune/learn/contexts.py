"""Sums of the rows around every occurrence of a word, kept apart by position.

The kernel runs under plain Python threads (`nogil`): numba's own OpenMP pool would break programs
that fork later. Each thread owns every n-th target, so a target's sum is built by one thread in
the order of the text and has the same bits on any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.kernels.threads import for_each_chunk, get_num_threads

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Contexts:
    """What stood around the targets. Row s belongs to target slot s."""

    sums: Floats  # (targets, buckets, D): weighted sums of known rows, by position
    mass: Floats  # (targets, buckets): the sums of the weights
    seen: NDArray[np.int64]  # (targets,): occurrences with a known word in the window


def gather(
    ids: NDArray[np.int32],
    slots: NDArray[np.int32],
    targets: int,
    rows: Floats,
    weights: Floats,
    buckets: NDArray[np.int8],
) -> Contexts:
    """Add up the rows around each target.

    Parameters
    ----------
    ids : (tokens,) int32
        The stream; negative values end a document.
    slots : (types,) int32
        The slot of each type that is a target, -1 otherwise.
    rows : (types, D) float32
        The row of each known type. Types of weight 0 are never read.
    weights : (types,) float32
        How much a context word counts; 0 for unknown words.
    buckets : (2 * window + 1,) int8
        The bucket of each offset -window..window, -1 to leave it out. An occurrence of the target
        itself inside its window is left out too: a row must not be explained by itself.
    """
    count = int(buckets.max()) + 1
    sums = np.zeros((targets, count, rows.shape[1]), np.float32)
    mass = np.zeros((targets, count), np.float32)
    seen = np.zeros(targets, np.int64)
    parts = get_num_threads()  # each adds to targets of its own, in the order of the text

    def work(part: int) -> None:
        _gather(ids, slots, rows, weights, buckets, sums, mass, seen, part, parts)

    for_each_chunk(work, parts)
    return Contexts(sums, mass, seen)


@njit(cache=True, nogil=True, fastmath=False)
def _gather(
    ids: Any,
    slots: Any,
    rows: Any,
    weights: Any,
    buckets: Any,
    sums: Any,
    mass: Any,
    seen: Any,
    part: int,
    parts: int,
) -> None:
    window = len(buckets) // 2
    dim = rows.shape[1]
    for t in range(len(ids)):
        if ids[t] < 0:
            continue
        slot = slots[ids[t]]
        if slot < 0 or slot % parts != part:
            continue
        found = 0
        for side in (-1, 1):
            for step in range(1, window + 1):
                at = t + side * step
                if at < 0 or at >= len(ids) or ids[at] < 0:
                    break
                other = ids[at]
                weight = weights[other]
                bucket = buckets[window + side * step]
                if weight == 0 or bucket < 0 or other == ids[t]:
                    continue
                found = 1
                mass[slot, bucket] += weight
                for d in range(dim):
                    sums[slot, bucket, d] += weight * rows[other, d]
        seen[slot] += found
