"""Rows of words that come with a definition: what it says outweighs the few places of a text.

The words of a definition are averaged, frequent ones counting less (Arora, Liang and Ma, ICLR 2017,
equation 3). The learned row joins with a weight that grows with the places the text has: at none it
is what spelling says, of which a quarter did best for words that were hidden and defined by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rowtune.learn import tokens
from rowtune.learn.features import COMMON
from rowtune.learn.nearest import unit
from rowtune.learn.survey import Survey
from rowtune.learn.wishes import wishes
from rowtune.vectors import Vectors

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

_AT_NONE, _PLACES = 0.25, 8  # a learned row counts as much as its definition at 6 places


def with_definitions(
    rows: Floats, survey: Survey, vectors: Vectors, raw: Floats, glossary: Mapping[str, str]
) -> tuple[Floats, Ids]:
    """``rows`` of the new types, those with a definition moved towards it; their lengths stay.

    Then the positions of the rows that were moved. A definition in which the table knows no word
    moves nothing.

    Parameters
    ----------
    raw : (types, D), known rows, 0 for types without one
    """
    lower = tokens.prefers_lower(vectors.words)
    number = {word: i for i, word in enumerate(survey.types)}
    position = {number_: i for i, number_ in enumerate(survey.new.tolist())}
    share = survey.counts / max(int(survey.counts.sum()), 1)
    weights = (COMMON / (COMMON + share)).astype(np.float32)
    about: dict[int, Floats] = {}  # words that differ in case alone have one row
    for word, definition in glossary.items():
        name = next(iter(wishes([word], lower, vectors)), "")
        at = position.get(number.get(name, -1), -1)
        said = [number[token] for token in tokens.split(definition, lower) if token in number]
        if at >= 0:
            about[at] = about.get(at, np.float32(0)) + weights[said] @ raw[said]
    moved = rows.copy()
    found = [at for at, meaning in about.items() if meaning.any()]
    for at in found:
        trust = np.float32(_AT_NONE + survey.said[survey.new[at]] / _PLACES)
        both = unit(about[at][None]) + trust * unit(rows[at : at + 1])
        moved[at] = unit(both)[0] * np.linalg.norm(rows[at])
    return moved, np.array(found, np.int64)
