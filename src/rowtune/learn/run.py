"""One run of `extend`: the stages in order, with their times."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.learn import blend, pretend
from rowtune.learn.candidates import (
    OWN_SPACE,
    SKIP_GRAM,
    learn_by_skip_gram,
    place_in_own_space,
)
from rowtune.learn.corpus import Corpus, Progress
from rowtune.learn.defined import with_definitions
from rowtune.learn.described import describe
from rowtune.learn.features import Speller, alike, look_around, mean_context, vocabulary
from rowtune.learn.fitting import Fitted
from rowtune.learn.intervals import part_scores
from rowtune.learn.nearest import unit, usable
from rowtune.learn.norms import NormCurve
from rowtune.learn.proof import assemble, prove
from rowtune.learn.result import Extension, HeldOutWord, PartScore, Score
from rowtune.learn.stages import Stages
from rowtune.learn.survey import Survey, survey
from rowtune.learn.survey_arrays import corpus_sha256, packed, unpacked
from rowtune.vectors import Vectors, sha256_of_rows

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
_STEPS = 10  # of conjugate gradients


class Run:
    """What stays the same from stage to stage, and what the result will tell of them."""

    def __init__(
        self,
        vectors: Vectors,
        min_count: int,
        seed: int,
        window: int,
        stages: Stages,
        enough: Callable[[], bool] | None,
        progress: Progress | None,
    ) -> None:
        self.vectors, self.min_count, self.window = vectors, min_count, window
        self.seed, self.stages = seed, stages
        self.enough = enough or (lambda: False)
        self.progress = progress or (lambda _stage, _done, _total: None)
        self.seconds: dict[str, float] = {}
        self.settings: dict[str, Any] = {"seed": seed, "min_count": min_count, "window": window}
        self.notes: list[str] = []
        self.scores: dict[str, Score] = {}
        self.held_out: tuple[HeldOutWord, ...] = ()
        self.parts: tuple[PartScore, ...] = ()

    @contextmanager
    def stage(self, name: str) -> Iterator[np.random.Generator]:
        """Time a stage. Its random numbers do not depend on those that others drew."""
        begin = time.perf_counter()
        self.progress(name, 0, 0)
        yield np.random.default_rng([self.seed, *name.encode()])
        self.seconds[name] = time.perf_counter() - begin

    def __call__(
        self,
        sources: Sequence[str | os.PathLike[str]],
        words: Collection[str] | None = None,
        phrases: bool = False,
        glossary: Mapping[str, str] | None = None,
    ) -> Extension:
        matrix = self.vectors.matrix
        with self.stage("hashing the table"):
            before = sha256_of_rows(matrix)
        with self.stage("reading"):
            found = self._read(sources, words, phrases, glossary)
            corpus_hash = corpus_sha256(found)
        if not len(found.new):
            self.notes.append(
                "The table knows every word that is frequent enough to learn."
                if words is None
                else "None of the words asked for can be learned from this corpus."
            )
        with self.stage("preparing"):
            unit_rows = unit(self._usable(matrix))
            speller = self._speller(found, unit_rows)
        raw = self._raw(found, unit_rows.shape[1])
        rows, contexts, confidence = self._learn(found, raw, unit_rows, speller)
        if glossary:
            rows, moved = with_definitions(rows, found, self.vectors, raw, glossary)
            if confidence is not None:
                confidence[moved] = np.nan  # no hidden word had a definition
        with self.stage("finding neighbours"):
            new_words = describe(
                self.vectors, found, unit_rows, rows, contexts, confidence, self.progress
            )
        with self.stage("proving"):
            learned = rows.astype(matrix.dtype)
            frozen = prove(before, assemble(matrix, learned), len(matrix))
        if self.stages.found:
            self.notes.append(
                f"Taken from an earlier run that was stopped: {', '.join(self.stages.found)}."
            )
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
            corpus_hash,
        )

    def _read(
        self,
        sources: Sequence[str | os.PathLike[str]],
        words: Collection[str] | None,
        phrases: bool,
        glossary: Mapping[str, str] | None,
    ) -> Survey:
        corpus = Corpus(sources)
        self.settings |= {"phrases": phrases, "glossary entries": len(glossary or ())}

        def read() -> Mapping[str, NDArray[Any]]:
            found = survey(
                self.vectors,
                corpus.documents(self.progress, self.enough),
                self.min_count,
                words,
                window=self.window,
                phrases=phrases,
                glossary=glossary,
                enough=self.enough,
            )
            found.notes[:0] = corpus.notes
            return packed(found)

        found = unpacked(self.stages("reading", read))
        self.notes += found.notes
        return found

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

    def _raw(self, found: Survey, dim: int) -> Floats:
        raw = np.zeros((len(found.types), dim), np.float32)
        has = found.row >= 0
        raw[has] = usable(self.vectors.matrix[found.row[has]])
        return raw

    def _learn(
        self, found: Survey, raw: Floats, unit_rows: Floats, speller: Speller
    ) -> tuple[Floats, Ids, Floats | None]:
        """Rows of the new words; in how many places each had a known word around it; confidence."""
        part = pretend.split(found, np.random.default_rng(self.seed))
        if part is not None:
            has = np.flatnonzero(found.row >= 0)
            part = part.without_twins(alike(raw[has]), has)
        if part is None or not len(part.train):
            return self._without_evidence(found, raw, unit_rows)
        words = blend.Words(found, part, raw, unit_rows, speller, self.window)
        with self.stage("learning from spelling") as rng:
            evidence, penalty = blend.gather_evidence(words, self.stages, rng, self.progress)
        every = np.concatenate([evidence.types, found.new])
        with self.stage(OWN_SPACE) as rng:
            candidates = place_in_own_space(found, every, self.min_count, self.stages, rng)
        with self.stage(SKIP_GRAM) as rng:
            if not self.enough():  # it takes longest, and seldom joins
                candidates |= learn_by_skip_gram(
                    found, evidence, every, self.min_count, self.stages, rng, self.progress
                )
        fitted = Fitted(words, evidence, penalty, candidates)
        with self.stage("blending") as rng:
            fitted.choose(rng, lambda done, total: self.progress("blending", done, total))
            self.settings |= {"spelling penalty": penalty, **fitted.winner.settings}
        with self.stage("pretend-OOV") as rng:
            self._score(fitted, rng)
        with self.stage("final fit"):
            rows, contexts = fitted.new_rows()
        return rows, contexts, fitted.confidence_of_new()

    def _score(self, fitted: Fitted, rng: np.random.Generator) -> None:
        words, part = fitted.words, fitted.words.part
        found = words.survey
        learned = fitted.judged(rng)
        self.scores, self.held_out = pretend.compare(
            words.unit_rows,
            found.row[part.test],
            learned,
            [found.types[i] for i in part.test],
            found.counts[part.test],
            fitted.relatives_of_test,
        )
        fitted.learn_confidence(self.held_out, rng)
        self.parts = part_scores(self.held_out, self.seed)
        self.settings |= {
            "held-out words": len(part.test),
            "held-out counts": part.band,
            "confidence correlation": fitted.confidence.correlation,
        }
        self.notes.append(
            f"Scores are over {len(part.test):,} known words seen {part.band[0]} to "
            f"{part.band[1]} times and hidden from every fit; the final rows are then fitted "
            "with all known words."
        )
        if SKIP_GRAM not in fitted.known.material.candidates:
            self.notes.append("Stopped early: skip-gram was left out.")

    def _without_evidence(
        self, found: Survey, raw: Floats, unit_rows: Floats
    ) -> tuple[Floats, Ids, None]:
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
        curve = NormCurve(found.counts[has], raw[has])
        return curve.apply(rows, found.counts[found.new]), contexts.seen, None
