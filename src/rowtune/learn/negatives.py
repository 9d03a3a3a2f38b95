"""Alias tables for negative samples: one draw of a type costs one random number, whatever it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_POWER = 0.75  # of the count (Mikolov et al., NeurIPS 2013, section 2.2)
_ONE = 1 << 32


@dataclass(frozen=True)
class Aliases:
    """Alias tables side by side: table p draws one of its items edges[p]..edges[p + 1].

    A draw takes cell j of the table at random, and then j itself with chance ``bar[j]`` / 2^32,
    else ``other[j]`` (Walker, 1977).
    """

    edges: NDArray[np.int64]
    bar: NDArray[np.uint64]
    other: NDArray[np.int64]
    share: NDArray[np.float64]  # of the whole mass, in each table


def aliases(counts: NDArray[np.int64], edges: NDArray[np.int64]) -> Aliases:
    """Tables that draw item i in proportion to ``counts[i] ** 0.75`` within its part.

    Parameters
    ----------
    counts : (items,) occurrences
    edges : (parts + 1,) int64, from 0 to the number of items
    """
    mass = counts.astype(np.float64) ** _POWER
    bar = np.full(len(counts), _ONE, np.uint64)
    other = np.arange(len(counts), dtype=np.int64)
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if mass[begin:end].sum() > 0:
            _fill(mass[begin:end], bar[begin:end], other[begin:end], begin)
    total = np.concatenate([[0.0], np.cumsum(mass)])
    share = np.diff(total[edges]) / max(total[-1], 1e-300)
    return Aliases(edges, bar, other, share)


def _fill(
    mass: NDArray[np.float64], bar: NDArray[np.uint64], other: NDArray[np.int64], begin: int
) -> None:
    """Vose's method (1991): every cell below the mean is filled up from one above it."""
    height = (mass / mass.mean()).tolist()
    low = [i for i, h in enumerate(height) if h < 1]
    high = [i for i, h in enumerate(height) if h >= 1]
    while low and high:
        small, large = low.pop(), high[-1]
        bar[small] = int(height[small] * _ONE)
        other[small] = begin + large
        height[large] -= 1 - height[small]
        if height[large] < 1:
            low.append(high.pop())
