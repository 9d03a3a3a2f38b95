"""The rows that every method gives the hidden test words, from the same evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rowtune.learn import blend
from rowtune.learn.candidates import OWN_SPACE, SKIP_GRAM, rotated
from rowtune.learn.choice import Choice
from rowtune.learn.features import without_spelling

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

OURS, CONTEXTS_ONLY, ALIGNED = "rowtune", "contexts only", "aligned own space"


def every_method(
    evidence: blend.Evidence,
    base: Floats,
    candidates: Mapping[str, Floats],
    choices: Sequence[Choice],
    counts: Ids,
    band: tuple[int, int],
    table_mean: Floats,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Method -> (test words, D); ours is the first of ``choices``, the losers are beside it.

    Parameters
    ----------
    base : (types of the evidence, features), the blend's own inputs
    candidates : name -> (types of the evidence, D), the rows that wanted to join
    """
    train, _, test = evidence.parts
    spelled = evidence.spelled[test]
    target, seen = evidence.target[train], counts[train]
    learned = blend.rivals(evidence, counts, table_mean, rng)
    learned[SKIP_GRAM] = candidates[SKIP_GRAM][test]
    learned[ALIGNED] = rotated(candidates[OWN_SPACE], train, target)[test]
    ours = choices[0]
    around = ours.inputs(without_spelling(base, target.shape[1]), candidates)
    fit = ours.fit(around[train], target, seen, band)
    learned[CONTEXTS_ONLY] = fit.predict(around[test])
    for choice in reversed(choices):
        inputs = choice.inputs(base, candidates)
        fit = choice.fit(inputs[train], target, seen, band)
        rows = blend.leaning_on(fit.predict(inputs[test]), spelled, choice.leaning)
        learned[OURS if choice is ours else choice.name] = rows
    return learned
