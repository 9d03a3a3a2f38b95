"""`extend`: learn rows for the words that a table lacks, with every known row frozen."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence

from rowtune.errors import CorpusError
from rowtune.learn.corpus import Progress
from rowtune.learn.result import Extension
from rowtune.learn.resume import stages_of
from rowtune.learn.run import Run
from rowtune.vectors import Vectors


def extend(
    vectors: Vectors,
    sources: Sequence[str | os.PathLike[str]],
    *,
    min_count: int = 5,
    words: Collection[str] | None = None,
    phrases: bool = False,
    glossary: Mapping[str, str] | None = None,
    seed: int = 0,
    window: int = 10,
    enough: Callable[[], bool] | None = None,
    resume: str | os.PathLike[str] | None = None,
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
        Learn these words only, each from as little as one occurrence. One of several words, such as
        ``"dead letter queue"``, becomes one type with underscores, ``dead_letter_queue``.
    phrases : bool
        Join words that stand side by side far more often than chance would have it, up to four, and
        learn those phrases too: ``event_loop`` (`rowtune.learn.phrases.join_phrases`).
    glossary : mapping of str to str, optional
        Words and their definitions. Each is learned too, however rare; its definition is read as
        text around it, behind the corpus.
    seed : int
        The same seed, table and corpus give the same bits.
    window : int
        Tokens whose rows are averaged on either side of a word; the text's own space and skip-gram
        look at 5.
    enough : callable, optional
        Asked now and then; once it says yes, reading ends, what is optional is left out, and the
        result is made of what was read.
    resume : path, optional
        A folder for finished stages. Those that an earlier call with the same table, corpus and
        settings left there are read instead of computed; the result has the same bits. They stay
        until the caller, with the result safe, deletes them: `rowtune.learn.stages.forget`.
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
    settings = {"min_count": min_count, "seed": seed, "window": window, "words": words,
                "phrases": phrases, "glossary": glossary}  # fmt: skip
    stages = stages_of(resume, vectors, sources, settings, enough)
    run = Run(vectors, min_count, seed, window, stages, enough, progress)
    return run(sources, words, phrases, glossary)
