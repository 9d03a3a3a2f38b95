"""The rows that every method gives the hidden test words, from the same evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rowtune.learn import blend
from rowtune.learn.candidates import OWN_SPACE, SKIP_GRAM
from rowtune.learn.choice import Choice, Known
from rowtune.learn.space import rotated

Floats = NDArray[np.float32]

OURS, CONTEXTS_ONLY, ALIGNED = "rowtune", "contexts only", "aligned own space"


def every_method(
    evidence: blend.Evidence,
    known: Known,
    choices: Sequence[Choice],
    table_mean: Floats,
    rng: np.random.Generator,
) -> tuple[dict[str, Floats], Floats]:
    """Method -> (test words, D); ours is the first of ``choices``, the losers are beside it.

    Then ours once more, before it leans on spelling.

    Parameters
    ----------
    known : the types of the evidence, in its order
    """
    train, _, test = evidence.parts
    seen, asked = known[train], known[test].material
    candidates = known.material.candidates
    learned = blend.rivals(evidence, known.counts, table_mean, rng)
    if SKIP_GRAM in candidates:
        learned[SKIP_GRAM] = candidates[SKIP_GRAM][test]
    if OWN_SPACE in candidates:
        learned[ALIGNED] = rotated(candidates[OWN_SPACE], train, seen.target)[test]
    ours, predicted = choices[0], seen.target
    blind = ours.fit(seen.without_spelling())
    learned[CONTEXTS_ONLY] = blind(asked.without_spelling())
    for choice in reversed(choices):
        predicted = choice.fit(seen)(asked)
        rows = choice.rows(predicted, asked.spelled)
        learned[OURS if choice is ours else choice.name] = rows
    return learned, predicted
