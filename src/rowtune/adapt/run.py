"""`adapt`: all ways over several seeds, and new rows from a fit on everything labelled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.adapt.bags import Bags, Texts
from rowtune.adapt.compare import TRIES, SplitResult, run_split
from rowtune.adapt.gathered import best_of_ours, differences, notes_on, score_of, with_new
from rowtune.adapt.labelled import Labelled, check_enough, label_ids
from rowtune.adapt.result import Adaptation
from rowtune.adapt.splits import stratified
from rowtune.adapt.training import PATIENCE, ROUNDS, Task, fit_for
from rowtune.adapt.ways import OURS, WAYS, Setting
from rowtune.errors import CorpusError
from rowtune.learn.result import FreezeProof
from rowtune.vectors import Vectors, sha256_of_rows

Ids = NDArray[np.int64]
Progress = Callable[[str, int, int], None]


def adapt(
    vectors: Vectors,
    labelled: Labelled,
    test: Labelled | None = None,
    *,
    min_count: int = 2,
    seeds: int = 5,
    seed: int = 0,
    final: bool = True,
    progress: Progress | None = None,
) -> Adaptation:
    """Learn rows for words that a table lacks with a classifier, and compare with other ways.

    Each seed is another split (70 % training, 15 % validation, 15 % test, every label alike) and
    other first weights. Every way tries as many settings; validation chooses among them and the
    round, and test texts are scored by what was chosen.

    Parameters
    ----------
    vectors : Vectors
        N words and their (N, D) rows; only read.
    labelled : Labelled
        See `read_labelled`.
    test : Labelled, optional
        The test part where there is one; ``labelled`` is then split in two.
    min_count : int
        How often training texts have a word that gets a row.
    seeds : int
        How many splits.
    seed : int
        The first of them. The same seed, table and texts give the same bits.
    final : bool
        Whether to learn rows from everything labelled, test texts included, in the end.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    Adaptation

    Raises
    ------
    CorpusError
        Too few texts, one label only, or labels in ``test`` that ``labelled`` has not.
    ValueError
        ``min_count`` or ``seeds`` less than 1.
    """
    for name, value in (("min_count", min_count), ("seeds", seeds)):
        if value < 1:
            raise ValueError(f"{name} is {value}; give 1 or more")
    if len(vectors) == 0:
        raise CorpusError("the table holds no words, so there is nothing to adapt")
    check_enough(labelled)
    return _Run(vectors, labelled, test, min_count, progress)(range(seed, seed + seeds), final)


class _Run:
    """One call of `adapt`."""

    def __init__(
        self,
        vectors: Vectors,
        labelled: Labelled,
        test: Labelled | None,
        min_count: int,
        progress: Progress | None,
    ) -> None:
        self.begin = time.perf_counter()
        self.vectors, self.labelled, self.test = vectors, labelled, test
        self.min_count = min_count
        self.progress = progress or (lambda _stage, _done, _total: None)
        self.names, own, given = label_ids(labelled, test)
        self.labels = np.array([*own, *given], np.int64)
        self.given_test = None if test is None else np.arange(len(own), len(self.labels))
        self.progress("reading texts", 0, 1)
        self.texts = Texts(vectors, [*labelled.texts, *(test.texts if test else ())])
        self.progress("reading texts", 1, 1)
        self.matrix = _trainable(vectors.matrix)
        self.before = sha256_of_rows(self.matrix)

    def __call__(self, seeds: Sequence[int], final: bool) -> Adaptation:
        total, done = len(seeds) * TRIES, 0

        def step() -> None:
            nonlocal done
            done += 1
            self.progress("comparing", done, total)

        self.progress("comparing", 0, total)
        splits = [stratified(self.labels, seed, self.given_test) for seed in seeds]
        results: list[SplitResult] = []
        bags: list[Bags] = []
        for seed, split in zip(seeds, splits, strict=True):
            bags.append(self.texts.bags(split.training, self.min_count))
            results.append(run_split(self._task(bags[-1], seed), split, step))
        setting, rounds = best_of_ours(results)
        hashes = [result.sha256_after for result in results]
        words: tuple[str, ...] = ()
        counts: tuple[int, ...] = ()
        rows: NDArray[Any] = np.empty((0, self.vectors.dim))
        if final:
            words, counts, rows = self._final(seeds[0], setting, rounds, hashes)
        changed = [found for found in hashes if found != self.before]
        proof = FreezeProof(len(self.vectors), self.before, (changed or [self.before])[0])
        new = [with_new(each, split.test) for each, split in zip(bags, splits, strict=True)]
        first = splits[0]
        return Adaptation(
            dict(Counter([*self.labelled.labels, *(self.test.labels if self.test else ())])),
            (len(first.training), len(first.validation), len(first.test)),
            tuple(score_of(w, results, splits, new, self.labels, len(self.names)) for w in WAYS),
            differences(results, splits, self.labels, self.test is not None),
            bags[0].coverage,
            tuple(len(each.new) for each in bags),
            float(np.concatenate(new).mean()),
            proof,
            words,
            counts,
            rows.astype(self.vectors.matrix.dtype),
            {
                "seeds": list(seeds),
                "min_count": self.min_count,
                "most_rounds": ROUNDS,
                "patience": PATIENCE,
                "tries_per_way": TRIES // len(WAYS),
                "final": {"lr": setting.lr, "decay": setting.decay, "rounds": rounds},
            },
            time.perf_counter() - self.begin,
            (*self._notes(), *notes_on(bags, final)),
        )

    def _task(self, bags: Bags, seed: int) -> Task:
        return Task(self.matrix, bags, self.labels, len(self.names), seed)

    def _final(
        self, seed: int, setting: Setting, rounds: int, hashes: list[str]
    ) -> tuple[tuple[str, ...], tuple[int, ...], NDArray[Any]]:
        """Words and rows of a fit on all texts, with what validation chose on the splits."""
        self.progress("final fit", 0, 1)
        every = np.arange(len(self.labels))
        bags = self.texts.bags(every, self.min_count)
        fitted = fit_for(OURS, self._task(bags, seed), every, setting, rounds)
        hashes.append(fitted.hash_of_known())
        self.progress("final fit", 1, 1)
        return bags.new, bags.new_counts, fitted.new_rows()

    def _notes(self) -> list[str]:
        return self.labelled.notes + (self.test.notes if self.test else [])


def _trainable(matrix: NDArray[Any]) -> NDArray[Any]:
    """The table in a dtype that rules move rows in: halves become float32, which holds them all."""
    if matrix.dtype in (np.float32, np.float64):
        return matrix
    return np.asarray(matrix, np.float32)
