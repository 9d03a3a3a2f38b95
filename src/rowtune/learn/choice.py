"""How new rows are predicted, chosen on the validation words and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.blend import Evidence, cosine, emphasis, leaning_on
from rowtune.learn.candidates import OWN_SPACE
from rowtune.learn.kernel_ridge import LANDMARKS, KernelRidge, Views
from rowtune.learn.material import Material
from rowtune.learn.nearest import ranks, unit
from rowtune.learn.ridge import Ridge

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Predict = Callable[[Material], Floats]
Fit = Callable[["Known"], Predict]

PLAIN, CURVED = "blend", "kernels"
_PENALTIES = (1e-3, 1e-2, 1e-1, 0.3, 1.0)
_KERNEL_PENALTIES = (0.3, 1.0, 3.0, 10.0)
_EMPHASES = ("all alike", "like new words")
_LEANINGS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_FEWEST = 10  # validation words: the error of fewer is itself a guess
# Of two leanings or ways, the one with the better cosine less this much per e-fold of rank.
_COSINE_PER_RANK = 0.01


@dataclass(frozen=True)
class Known:
    """Words with rows: what a way of predicting is fitted on."""

    material: Material
    target: Floats  # (words, D) unit rows
    counts: Ids
    band: tuple[int, int]  # of the counts that matter most

    def __getitem__(self, part: slice) -> Known:
        return Known(self.material[part], self.target[part], self.counts[part], self.band)

    def without_spelling(self) -> Known:
        return Known(self.material.without_spelling(), self.target, self.counts, self.band)


@dataclass(frozen=True)
class Choice:
    """One way to predict rows, with its settings, and what it is worth on each validation word."""

    name: str
    joined: tuple[str, ...]  # candidates among its inputs
    fit: Fit = field(compare=False)
    settings: dict[str, Any]
    leaning: float
    worth: Floats = field(compare=False)  # (validation words,)

    def rows(self, predicted: Floats, spelled: Floats) -> Floats:
        return leaning_on(predicted, spelled, self.leaning)


def choose(
    evidence: Evidence,
    known: Known,
    table: Floats,
    true: Ids,
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> list[Choice]:
    """The winner first, then every way that lost to it.

    Candidates are tried one after the other beside those that have joined the ridge regression:
    each joins only if the validation words come back better with it, by more than twice the
    standard error of the difference: one such error was not enough to keep out what lost on the
    words held apart. By the same mark, a regression with kernels takes the place of the ridge.

    Parameters
    ----------
    known : the types of the evidence, in its order
    table : (N, D) unit rows
    true : (validation words,) their rows in the table
    """
    trial = _Trial(evidence, known, table, true)
    candidates = list(known.material.candidates)
    steps = len(candidates) + 2
    progress(0, steps)
    best, lost = trial.ridge(()), []
    for number, name in enumerate(candidates, 1):
        progress(number, steps)
        other = trial.ridge((*best.joined, name))
        if _is_better(other.worth, best.worth):
            best, other = other, best
        lost.append(other)
    progress(steps - 1, steps)
    if OWN_SPACE in known.material.candidates:
        other = trial.kernels(best.joined, rng)
        if _is_better(other.worth, best.worth):
            best, other = other, best
        lost.append(other)
    progress(steps, steps)
    return [best, *lost]


class _Trial:
    """Fits on the training words and judges by the validation words."""

    def __init__(self, evidence: Evidence, known: Known, table: Floats, true: Ids) -> None:
        train, validation, _ = evidence.parts
        self.train, self.validation = known[train], known[validation]
        self.table, self.true = table, true

    def ridge(self, joined: tuple[str, ...]) -> Choice:
        """With these inputs, the penalty and emphasis of the best cosine, then the leaning."""
        tried = {
            (name, penalty): _ridge(joined, name, penalty)
            for name in _EMPHASES
            for penalty in _PENALTIES
        }
        (name, penalty), rows = self._best({at: fit(self.train) for at, fit in tried.items()})
        found = {"penalty": penalty, "emphasis": name}
        named = " + ".join([PLAIN, *joined])
        return self._with_leaning(named, joined, tried[name, penalty], found, rows)

    def kernels(self, joined: tuple[str, ...], rng: np.random.Generator) -> Choice:
        """The same for the regression with kernels, over those inputs and the text's own space."""
        seed = int(rng.integers(1 << 62))
        system = _system(self.train, joined, seed)
        tried = {
            penalty: _with_views(system.solve(penalty).predict, joined)
            for penalty in _KERNEL_PENALTIES
        }
        penalty, rows = self._best(tried)

        def fit(known: Known) -> Predict:
            return _with_views(_system(known, joined, seed).solve(penalty).predict, joined)

        others = [name for name in joined if name != OWN_SPACE]
        name = f"{CURVED} over " + " + ".join([PLAIN, *others, OWN_SPACE])
        return self._with_leaning(name, joined, fit, {"penalty": penalty}, rows)

    def _best(self, fits: dict[Any, Predict]) -> tuple[Any, Floats]:
        rows = {at: predict(self.validation.material) for at, predict in fits.items()}
        best = max(rows, key=lambda at: cosine(rows[at], self.validation.target))
        return best, rows[best]

    def _with_leaning(
        self, name: str, joined: tuple[str, ...], fit: Fit, found: dict[str, Any], rows: Floats
    ) -> Choice:
        worth = [self._worth(rows, leaning) for leaning in _LEANINGS]
        best = int(np.argmax([each.mean() for each in worth]))
        settings = {"inputs": name, **found, "leaning on spelling": _LEANINGS[best]}
        return Choice(name, joined, fit, settings, _LEANINGS[best], worth[best])

    def _worth(self, rows: Floats, leaning: float) -> Floats:
        """The cosine of each validation word, less what its rank costs."""
        tried = unit(leaning_on(rows, self.validation.material.spelled, leaning))
        near = np.einsum("ij,ij->i", tried, self.validation.target)
        worth: Floats = near - _COSINE_PER_RANK * np.log(ranks(self.table, tried, self.true))
        return worth


def _ridge(joined: tuple[str, ...], emphasized: str, penalty: float) -> Fit:
    def fit(known: Known) -> Predict:
        weights = emphasis(known.counts, emphasized, known.band)
        solved = Ridge(known.material.beside(joined), known.target, weights, penalty)
        return lambda material: solved.predict(material.beside(joined))

    return fit


def _system(known: Known, joined: tuple[str, ...], seed: int) -> KernelRidge:
    """Landmarks are drawn from words that are seen about as often as those to learn."""
    share = emphasis(known.counts, _EMPHASES[1], known.band).astype(np.float64)
    size = min(LANDMARKS, len(share))
    drawn = np.random.default_rng(seed).choice(len(share), size, False, share / share.sum())
    return KernelRidge(_views(known.material, joined), known.target, np.sort(drawn))


def _with_views(predict: Callable[[Views], Floats], joined: tuple[str, ...]) -> Predict:
    return lambda material: predict(_views(material, joined))


def _views(material: Material, joined: tuple[str, ...]) -> Views:
    """The space is a view of its own, and so not once more among the features."""
    others = tuple(name for name in joined if name != OWN_SPACE)
    return Views(material.beside(others), material.candidates[OWN_SPACE], material.spelled)


def _is_better(trial: Floats, best: Floats) -> bool:
    """Whether a gain, word by word, is more than chance would often give."""
    gain = trial - best
    if len(gain) < _FEWEST:
        return False
    return bool(gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain)))
