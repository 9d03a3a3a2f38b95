"""From the words of a data set to rows: as written, else in another case."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rowtune.evaluate.result import Lookups
from rowtune.learn.nearest import usable
from rowtune.vectors import Vectors


def look_up(
    vectors: Vectors, words: Iterable[str], among: int | None = None
) -> tuple[dict[str, int], Lookups]:
    """The row of each word that has one to compute with, and how the look-ups went.

    A word is looked up as it is written; if there is none in lower case, then Capitalized, then
    in UPPER CASE, then in Title Case. Rows of zeros and rows with NaN or infinity have no
    direction: their words are left out, as unknown words are.

    Parameters
    ----------
    among : int, optional
        Look among the first so many rows only.
    """
    distinct = list(dict.fromkeys(words))
    ids = vectors.ids(distinct, missing="ignore")
    limit = len(vectors) if among is None else among
    ids[ids >= limit] = -1
    exact = int((ids >= 0).sum())
    for form in (str.lower, str.capitalize, str.upper, str.title):
        lacking = np.flatnonzero(ids < 0)
        found = vectors.ids([form(distinct[i]) for i in lacking.tolist()], missing="ignore")
        ids[lacking] = np.where(found < limit, found, -1)
    has = np.flatnonzero(ids >= 0)
    fit = usable(vectors.matrix[ids[has]]).any(axis=1)
    rows = {distinct[i]: int(ids[i]) for i in has[fit].tolist()}
    return rows, Lookups(
        len(distinct),
        exact,
        len(has) - exact,
        tuple(distinct[i] for i in np.flatnonzero(ids < 0).tolist()),
        tuple(distinct[i] for i in has[~fit].tolist()),
    )
