"""New words for the eye: nearest known words, and why the table lacked them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.corpus import Progress
from rowtune.learn.missing import reason
from rowtune.learn.nearest import nearest, unit
from rowtune.learn.result import NewWord
from rowtune.learn.survey import Survey
from rowtune.vectors import Vectors

Floats = NDArray[np.float32]
_NEIGHBOURS = 10


def describe(
    vectors: Vectors,
    found: Survey,
    unit_rows: Floats,
    rows: Floats,
    contexts: NDArray[np.int64],
    progress: Progress,
) -> tuple[NewWord, ...]:
    """One `NewWord` for each row, in the order of ``found.new``."""
    ids, cosines = nearest(
        unit_rows,
        unit(rows),
        _NEIGHBOURS,
        progress=lambda done, total: progress("finding neighbours", done, total),
    )
    names = vectors.words
    described = []
    for i, number in enumerate(found.new.tolist()):
        word = found.types[number]
        near = [
            (names[j], float(cosine)) for j, cosine in zip(ids[i].tolist(), cosines[i], strict=True)
        ]
        lacking, form = reason(word, vectors.__contains__)
        described.append(
            NewWord(word, int(found.counts[number]), int(contexts[i]), tuple(near), lacking, form)
        )
    return tuple(described)
