"""A few places of the text for each word: what a person wants to see before trusting a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.learn.survey import Survey

Ids = NDArray[np.int64]

MOST = 3  # places of a word
_AROUND = 8  # tokens on either side


def excerpts(survey: Survey, types: Ids, most: int = MOST) -> list[tuple[str, ...]]:
    """For each of ``types`` up to ``most`` places, spread over the text, the first one first.

    Tokens stand as they were read: lower-cased where the table is, with single spaces between.
    """
    slot = np.full(len(survey.types), -1, np.int32)
    slot[types] = np.arange(len(types), dtype=np.int32)
    places = np.full((len(types), most), -1, np.int64)
    _spread(survey.stream, slot, survey.counts[types], places)
    return [
        tuple(_text(survey, place) for place in found if place >= 0) for found in places.tolist()
    ]


def _text(survey: Survey, place: int) -> str:
    begin = max(place - _AROUND, 0)
    left = survey.stream[begin:place].tolist()
    right = survey.stream[place : place + _AROUND + 1].tolist()
    while -1 in left:  # another document
        left = left[left.index(-1) + 1 :]
    if -1 in right:
        right = right[: right.index(-1)]
    return " ".join(survey.types[i] for i in left + right)


@njit(cache=True, nogil=True)
def _spread(stream: Any, slot: Any, counts: Any, places: Any) -> None:
    seen = np.zeros(len(counts), np.int64)
    used = np.zeros(len(counts), np.int64)
    for t in range(len(stream)):
        if stream[t] < 0:
            continue
        s = slot[stream[t]]
        if s < 0:
            continue
        wanted = min(places.shape[1], counts[s])
        if used[s] < wanted and seen[s] == used[s] * (counts[s] - 1) // max(wanted - 1, 1):
            places[s, used[s]] = t
            used[s] += 1
        seen[s] += 1
