"""The settings and inputs of the blend, chosen on the validation words and on nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.blend import Evidence, cosine, emphasis, leaning_on
from rowtune.learn.nearest import ranks, unit
from rowtune.learn.ridge import Ridge

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

PLAIN = "blend"
_PENALTIES = (1e-3, 1e-2, 1e-1, 0.3, 1.0)
_EMPHASES = ("all alike", "like new words")
_LEANINGS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
# Of two leanings or inputs, the one with the better cosine less this much per e-fold of rank.
_COSINE_PER_RANK = 0.01


@dataclass(frozen=True)
class Choice:
    """One way to blend, and what it is worth on each of the validation words."""

    joined: tuple[str, ...]  # candidates among its inputs
    penalty: float
    emphasis: str
    leaning: float
    worth: Floats = field(compare=False)  # (validation words,)

    @property
    def name(self) -> str:
        return " + ".join([PLAIN, *self.joined])

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "inputs": self.name,
            "penalty": self.penalty,
            "emphasis": self.emphasis,
            "leaning on spelling": self.leaning,
        }

    def inputs(self, base: Floats, candidates: Mapping[str, Floats]) -> Floats:
        """(words, features): the blend's own inputs, and rows that joined with their directions.

        The length of a candidate's row says how sure it is, its direction what it means.
        """
        return joined_inputs(base, candidates, self.joined)

    def fit(self, inputs: Floats, target: Floats, counts: Ids, band: tuple[int, int]) -> Ridge:
        return Ridge(inputs, target, emphasis(counts, self.emphasis, band), self.penalty)


def joined_inputs(base: Floats, candidates: Mapping[str, Floats], joined: Sequence[str]) -> Floats:
    wide = [part for name in joined for part in (candidates[name], unit(candidates[name]))]
    return np.hstack([base, *wide])


def choose(
    evidence: Evidence,
    base: Floats,
    candidates: Mapping[str, Floats],
    counts: Ids,
    band: tuple[int, int],
    table: Floats,
    true: Ids,
) -> list[Choice]:
    """The winner first, then every way that lost to it.

    Candidates are tried one after the other beside those that have joined: each joins only if the
    validation words come back better with it, by more than twice the standard error of the
    difference: one such error was not enough to keep out what lost on the words held apart.

    Parameters
    ----------
    base : (types of the evidence, features)
    candidates : name -> (types of the evidence, D) rows
    counts : (types of the evidence,) occurrences
    table : (N, D) unit rows
    true : (validation words,) their rows in the table
    """

    def worth_of(*joined: str) -> Choice:
        inputs = joined_inputs(base, candidates, joined)
        return _best(joined, evidence, inputs, counts, band, table, true)

    best, lost = worth_of(), []
    for name in candidates:
        trial = worth_of(*best.joined, name)
        if _is_better(trial.worth, best.worth):
            best, trial = trial, best
        lost.append(trial)
    return [best, *lost]


def _best(
    joined: tuple[str, ...],
    evidence: Evidence,
    inputs: Floats,
    counts: Ids,
    band: tuple[int, int],
    table: Floats,
    true: Ids,
) -> Choice:
    """With these inputs, the penalty and emphasis of the best cosine, then the best leaning."""
    train, validation, _ = evidence.parts
    goal = evidence.target[validation]
    best, rows = (-np.inf, _PENALTIES[2], _EMPHASES[0]), goal
    for name in _EMPHASES:
        weights = emphasis(counts[train], name, band)
        for penalty in _PENALTIES:
            fit = Ridge(inputs[train], evidence.target[train], weights, penalty)
            predicted = fit.predict(inputs[validation])
            found = cosine(predicted, goal)
            if found > best[0]:
                best, rows = (found, penalty, name), predicted
    worth: list[Floats] = []
    for leaning in _LEANINGS:
        tried = unit(leaning_on(rows, evidence.spelled[validation], leaning))
        near = np.einsum("ij,ij->i", tried, goal)
        worth.append(near - _COSINE_PER_RANK * np.log(ranks(table, tried, true)))
    chosen = int(np.argmax([each.mean() for each in worth]))
    return Choice(joined, best[1], best[2], _LEANINGS[chosen], worth[chosen])


def _is_better(trial: Floats, best: Floats) -> bool:
    """Whether a gain, word by word, is more than chance would often give."""
    gain = trial - best
    return bool(gain.mean() > 2 * gain.std() / np.sqrt(len(gain)))
