"""The fits of one run: chosen on validation words, judged on test words, made with them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.blend import Evidence, Words, inputs_of
from rowtune.learn.choice import Choice, Known, choose
from rowtune.learn.confidence import Confidence, Predicted
from rowtune.learn.features import blend_inputs, look_around
from rowtune.learn.judge import CONTEXTS_ONLY, OURS, every_method
from rowtune.learn.material import Material
from rowtune.learn.norms import NormCurve
from rowtune.learn.relatives import close_relatives
from rowtune.learn.result import HeldOutWord

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class Fitted:
    """Words, what is known of them, and the way that was chosen to predict their rows.

    Parameters
    ----------
    penalty : float, of the spelling regression
    candidates : name -> rows of the types of the evidence, then of the new types
    """

    choices: Sequence[Choice]
    confidence: Confidence

    def __init__(
        self, words: Words, evidence: Evidence, penalty: float, candidates: Mapping[str, Floats]
    ) -> None:
        self.words, self.evidence, self.penalty = words, evidence, penalty
        self.candidates = candidates
        counts = words.survey.counts[evidence.types]
        seen = {name: rows[: len(counts)] for name, rows in candidates.items()}
        base = inputs_of(evidence, counts)
        material = Material(base, evidence.spelled, seen)
        self.known = Known(material, evidence.target, counts, words.part.band)

    @property
    def winner(self) -> Choice:
        return self.choices[0]

    def choose(self, rng: np.random.Generator, progress: Callable[[int, int], None]) -> None:
        """Find the way to predict: see `choice.choose`."""
        words = self.words
        true = words.survey.row[words.part.validation]
        self.choices = choose(self.evidence, self.known, words.unit_rows, true, rng, progress)

    def judged(self, rng: np.random.Generator) -> dict[str, Floats]:
        """Method -> (test words, D)."""
        words = self.words
        visible = np.delete(words.unit_rows, words.survey.row[words.part.hidden], axis=0).mean(0)
        learned, predicted = every_method(self.evidence, self.known, self.choices, visible, rng)
        asked = self.known[self.evidence.parts[2]]
        self._hidden = Predicted(
            predicted,
            learned[CONTEXTS_ONLY],
            asked.material.spelled,
            asked.counts,
            self.relatives_of_test,
        )
        return learned

    @cached_property
    def relatives_of_test(self) -> list[str | None]:
        """For each test word one with its stem that was not hidden, or None."""
        survey, part = self.words.survey, self.words.part
        hidden = {survey.types[i] for i in part.hidden}
        seen = (word for word in self.words.speller.words if word not in hidden)
        return close_relatives([survey.types[i] for i in part.test], seen)

    def learn_confidence(self, held_out: Sequence[HeldOutWord], rng: np.random.Generator) -> None:
        """From how the test words came back."""
        cosines = np.array([word.cosine[OURS] for word in held_out], np.float32)
        self.confidence = Confidence(self._hidden, cosines, rng)

    def new_rows(self) -> tuple[Floats, Ids]:
        """Rows of the new words, and in how many places each had a known word around it.

        Validation and test words come back: as contexts, for spelling, and for the fit.
        """
        words, evidence = self.words, self.evidence
        survey, nobody = words.survey, np.empty(0, np.int64)
        every = np.concatenate([evidence.types, survey.new])
        contexts = look_around(survey, words.raw, every, nobody, words.window)
        names = [survey.types[i] for i in survey.new]
        spelled = words.speller.predict(names, nobody, self.penalty)
        spelled = np.vstack([evidence.spelled, spelled])
        base = blend_inputs(contexts, spelled, survey.counts[every])
        material = Material(base, spelled, self.candidates)
        old, new = slice(0, len(evidence.types)), slice(len(evidence.types), len(every))
        known = Known(material[old], evidence.target, self.known.counts, self.known.band)
        asked, counts = material[new], survey.counts[survey.new]
        rows = self.winner.fit(known)(asked)
        self._new = Predicted(
            rows,
            self.winner.fit(known.without_spelling())(asked.without_spelling()),
            asked.spelled,
            counts,
            close_relatives(names, words.speller.words),
        )
        curve = NormCurve(known.counts, words.raw[evidence.types])
        return curve.apply(self.winner.rows(rows, asked.spelled), counts), contexts.seen[new]

    def confidence_of_new(self) -> Floats:
        """(new words,): the cosine with their true rows to expect."""
        return self.confidence.of(self._new)
