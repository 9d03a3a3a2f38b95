"""`extend`: learn rows for the words that a table lacks, with every known row frozen."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import CorpusError
from rowtune.learn import blend, pretend
from rowtune.learn.candidates import gather_candidates
from rowtune.learn.choice import choose
from rowtune.learn.corpus import Corpus, Progress
from rowtune.learn.described import describe
from rowtune.learn.features import Speller, blend_inputs, look_around, mean_context, vocabulary
from rowtune.learn.intervals import part_scores
from rowtune.learn.judge import every_method
from rowtune.learn.nearest import unit, usable
from rowtune.learn.norms import NormCurve
from rowtune.learn.proof import assemble, prove
from rowtune.learn.relatives import close_relatives
from rowtune.learn.result import Extension, HeldOutWord, PartScore, Score
from rowtune.learn.survey import Survey, survey
from rowtune.vectors import Vectors, sha256_of_rows

Floats = NDArray[np.float32]
_STEPS = 10  # of conjugate gradients


def extend(
    vectors: Vectors,
    sources: Sequence[str | os.PathLike[str]],
    *,
    min_count: int = 5,
    words: Collection[str] | None = None,
    seed: int = 0,
    window: int = 10,
    progress: Progress | None = None,
) -> Extension:
    """Learn a row for each word of a corpus that the table lacks; the table itself is only read.

    Hyper-parameters are chosen on a validation part of known words that are hidden and learned
    again; the scores in the result come from another hidden part. The final rows are then fitted
    with all known words.

    Parameters
    ----------
    vectors : Vectors
        N words and their (N, D) rows, best in order of frequency as published tables are.
    sources : sequence of str
        See `rowtune.learn.corpus.Corpus`.
    min_count : int
        Occurrences that a word needs in the corpus, to be learned or to be learned from.
    words : collection of str, optional
        Learn these words only, each from as little as one occurrence.
    seed : int
        The same seed, table and corpus give the same bits.
    window : int
        Tokens looked at on either side of a word.
    progress : callable, optional
        Called with (stage, done, total); total is 0 where unknown.

    Returns
    -------
    Extension

    Raises
    ------
    CorpusError
        If the corpus is missing, empty, or holds nothing to learn.
    ValueError
        If ``min_count`` or ``window`` is less than 1.
    """
    for name, value in (("min_count", min_count), ("window", window)):
        if value < 1:
            raise ValueError(f"{name} is {value}; give 1 or more")
    if len(vectors) == 0:
        raise CorpusError("the table holds no words, so there is nothing to learn from")
    return _Run(vectors, min_count, seed, window, progress)(sources, words)


class _Run:
    """One call of `extend`: the stages in order, with their times."""

    def __init__(
        self, vectors: Vectors, min_count: int, seed: int, window: int, progress: Progress | None
    ) -> None:
        self.vectors, self.min_count, self.window = vectors, min_count, window
        self.rng = np.random.default_rng(seed)
        self.progress = progress or (lambda _stage, _done, _total: None)
        self.seconds: dict[str, float] = {}
        self.settings: dict[str, Any] = {"seed": seed, "min_count": min_count, "window": window}
        self.notes: list[str] = []
        self.scores: dict[str, Score] = {}
        self.held_out: tuple[HeldOutWord, ...] = ()
        self.parts: tuple[PartScore, ...] = ()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        self.progress(name, 0, 0)
        yield
        self.seconds[name] = time.perf_counter() - begin

    def __call__(
        self, sources: Sequence[str | os.PathLike[str]], words: Collection[str] | None
    ) -> Extension:
        matrix = self.vectors.matrix
        with self.stage("hashing the table"):
            before = sha256_of_rows(matrix)
        with self.stage("reading"):
            corpus = Corpus(sources)
            found = survey(self.vectors, corpus.documents(self.progress), self.min_count, words)
            self.notes += corpus.notes + found.notes
        if not len(found.new):
            self.notes.append(
                "The table knows every word that is frequent enough to learn."
                if words is None
                else "None of the words asked for can be learned from this corpus."
            )
        with self.stage("preparing"):
            unit_rows = unit(self._usable(matrix))
            speller = self._speller(found, unit_rows)
        rows, contexts = self._learn(found, unit_rows, speller)
        with self.stage("finding neighbours"):
            new_words = describe(self.vectors, found, unit_rows, rows, contexts, self.progress)
        with self.stage("proving"):
            learned = rows.astype(matrix.dtype)
            frozen = prove(before, assemble(matrix, learned), len(matrix))
        return Extension(
            new_words,
            learned,
            found.coverage(),
            frozen,
            self.scores,
            self.held_out,
            self.settings,
            self.seconds,
            tuple(self.notes),
            self.parts,
        )

    def _usable(self, matrix: NDArray[Any]) -> Floats:
        rows = usable(matrix)
        lost = int((~rows.any(axis=1) & (matrix != 0).any(axis=1)).sum())
        if lost:
            self.notes.append(
                f"{lost:,} rows of the table hold NaN, infinity or values beyond use; they keep "
                "their bits, and nothing was learned from them."
            )
        return rows

    def _speller(self, found: Survey, unit_rows: Floats) -> Speller:
        ids = vocabulary(found, len(unit_rows))
        table_words = self.vectors.words
        return Speller.over([table_words[i] for i in ids.tolist()], ids, unit_rows, found, _STEPS)

    def _learn(
        self, found: Survey, unit_rows: Floats, speller: Speller
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Rows of the new words, and in how many places each had a known word around it."""
        raw = np.zeros((len(found.types), unit_rows.shape[1]), np.float32)
        has = found.row >= 0
        raw[has] = usable(self.vectors.matrix[found.row[has]])
        nobody = np.empty(0, np.int64)
        part = pretend.split(found, self.rng)
        if part is None:
            return self._without_evidence(found, raw, unit_rows)
        with self.stage("learning from spelling"):
            evidence, penalty = blend.gather_evidence(
                found, part, raw, unit_rows, speller, self.window, self.rng, self.progress
            )
            counts = found.counts[evidence.types]
            inputs = blend.inputs_of(evidence, counts)
        every = np.concatenate([evidence.types, found.new])
        known = slice(0, len(evidence.types))
        with self.stage("skip-gram"):
            candidates = gather_candidates(
                found, evidence, every, self.min_count, self.rng, self.progress
            )
        seen = {name: rows[known] for name, rows in candidates.items()}
        with self.stage("blending"):
            choices = choose(
                evidence, inputs, seen, counts, part.band, unit_rows, found.row[part.validation]
            )
            self.settings |= {"spelling penalty": penalty, **choices[0].settings}
        with self.stage("pretend-OOV"):
            visible = np.delete(unit_rows, found.row[part.hidden], axis=0).mean(0)
            learned = every_method(
                evidence, inputs, seen, choices, counts, part.band, visible, self.rng
            )
            self._score(found, part, learned, unit_rows, speller)
        with self.stage("final fit"):
            # Validation and test words come back: as contexts, for spelling, and for the blend.
            contexts = look_around(found, raw, every, nobody, self.window)
            names = [found.types[i] for i in found.new]
            spelled = np.vstack([evidence.spelled, speller.predict(names, nobody, penalty)])
            base = blend_inputs(contexts, spelled, found.counts[every])
            final = choices[0].inputs(base, candidates)
            fit = choices[0].fit(final[known], evidence.target, counts, part.band)
            rows = fit.predict(final[known.stop :])
            rows = blend.leaning_on(rows, spelled[known.stop :], choices[0].leaning)
            curve = NormCurve(counts, raw[evidence.types])
            rows = curve.apply(rows, found.counts[found.new])
        return rows, contexts.seen[known.stop :]

    def _score(
        self,
        found: Survey,
        part: pretend.Split,
        learned: dict[str, Floats],
        unit_rows: Floats,
        speller: Speller,
    ) -> None:
        names = [found.types[i] for i in part.test]
        hidden = {found.types[i] for i in part.hidden}
        relatives = close_relatives(names, (w for w in speller.words if w not in hidden))
        self.scores, self.held_out = pretend.compare(
            unit_rows, found.row[part.test], learned, names, found.counts[part.test], relatives
        )
        self.parts = part_scores(self.held_out, self.settings["seed"])
        self.settings |= {"held-out words": len(part.test), "held-out counts": part.band}
        self.notes.append(
            f"Scores are over {len(part.test):,} known words seen {part.band[0]} to "
            f"{part.band[1]} times and hidden from every fit; the final rows are then fitted "
            "with all known words."
        )

    def _without_evidence(
        self, found: Survey, raw: Floats, unit_rows: Floats
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Too few known words to fit or judge anything: the mean of the contexts has to do."""
        self.notes.append(
            f"Only {len(found.known):,} known words occur {self.min_count} times or more: too few "
            "to fit a map or to hide some. New rows are means of their contexts, unscored; give "
            "more text, or a lower min_count."
        )
        contexts = look_around(found, raw, found.new, np.empty(0, np.int64), self.window)
        rows = mean_context(contexts)
        rows[contexts.seen == 0] = unit_rows.mean(0)
        has = found.row >= 0
        return NormCurve(found.counts[has], raw[has]).apply(rows, found.counts[found.new]), (
            contexts.seen
        )
