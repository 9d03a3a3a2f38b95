"""Sums and softmax over texts of any length that follow one another, empty ones included."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def places(starts: Ids, lengths: Ids) -> Ids:
    """The places start, start + 1, ... of each segment, one segment after the other."""
    ends = np.cumsum(lengths)
    shift = np.repeat(starts - (ends - lengths), lengths)
    return shift + np.arange(len(shift))


def sums_of(values: NDArray[Any], lengths: Ids) -> NDArray[Any]:
    """Sums over segments of the first axis; an empty segment sums to zero."""
    sums = np.zeros((len(lengths), *values.shape[1:]), values.dtype)
    full = lengths > 0  # reduceat would give an empty segment the next one's first value
    if full.any():
        sums[full] = np.add.reduceat(values, _starts(lengths)[full], axis=0)
    return sums


def broadcast(values: NDArray[Any], lengths: Ids) -> NDArray[Any]:
    """Each segment's value for each of its places."""
    return np.repeat(values, lengths, axis=0)


def softmax_of(scores: NDArray[np.float32], lengths: Ids) -> NDArray[np.float32]:
    """Softmax within each segment."""
    full = lengths > 0
    if not full.any():
        return scores
    highest = np.maximum.reduceat(scores, _starts(lengths)[full])
    raised: NDArray[np.float32] = np.exp(scores - np.repeat(highest, lengths[full]))
    raised /= broadcast(sums_of(raised, lengths), lengths)
    return raised


def _starts(lengths: Ids) -> Ids:
    starts: Ids = np.cumsum(lengths) - lengths
    return starts
