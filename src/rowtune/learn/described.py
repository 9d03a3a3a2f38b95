"""New words for the eye: nearest known words, places in the text, why the table lacked them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.corpus import Progress
from rowtune.learn.excerpts import excerpts
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
    confidence: Floats | None,
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
    places = excerpts(found, found.new)
    described = []
    for i, number in enumerate(found.new.tolist()):
        word = found.types[number]
        near = [
            (names[j], float(cosine)) for j, cosine in zip(ids[i].tolist(), cosines[i], strict=True)
        ]
        lacking, form = reason(word, vectors.__contains__, bool(found.width[number] > 1))
        sure = None if confidence is None or np.isnan(confidence[i]) else float(confidence[i])
        described.append(
            NewWord(
                word, int(found.said[number]), int(contexts[i]), tuple(near), lacking, form,
                sure, places[i],
            )
        )  # fmt: skip
    return tuple(described)
