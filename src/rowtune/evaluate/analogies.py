"""Analogies: how many questions a table answers, by section, for one table or several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import ShapeError
from rowtune.evaluate.answers import best_rows
from rowtune.evaluate.correlation import FEWEST, interval_of
from rowtune.evaluate.lookups import look_up
from rowtune.evaluate.questions import Questions
from rowtune.evaluate.result import Accuracy, AnalogyScores, Difference, Interval, Lookups
from rowtune.learn.intervals import RESAMPLES
from rowtune.vectors import Vectors

Progress = Callable[[str, int, int], None]
Flags = NDArray[np.bool_]

METHODS = ADD, MUL = "3CosAdd", "3CosMul"
ALL, SEMANTIC, SYNTACTIC = "all", "semantic", "syntactic"
_Z = 1.959963984540054  # of the normal distribution, 97.5 %


@dataclass(frozen=True)
class Answers:
    """What one table answers."""

    table: str
    among: int  # rows that answers came from
    known: Flags  # (questions,): all four words have rows
    right: dict[str, Flags]  # method -> (questions,)
    rows: dict[str, NDArray[np.int64]]  # method -> (questions,), the answer; -1 for none
    lookups: Lookups


def answer(
    vectors: Vectors,
    questions: Questions,
    table: str = "vectors",
    *,
    among: int | None = None,
    progress: Progress | None = None,
) -> Answers:
    """Answer every question whose four words the table knows, by two measures.

    3CosAdd is the row d with the greatest cos(d, b) - cos(d, a) + cos(d, c) (Mikolov et al., ICLR
    workshop 2013), 3CosMul the one with the greatest cos(d, b) cos(d, c) / (cos(d, a) + 0.001),
    each cosine moved to 0..1 (Levy and Goldberg, CoNLL 2014). a, b and c are no answers.

    Parameters
    ----------
    among : int, optional
        Know the first so many rows only, for questions and answers: published accuracies are often
        over the most frequent 30,000 or 300,000 words. Default: all rows.

    Raises
    ------
    ShapeError
        If ``among`` is less than 1.
    """
    if among is not None and among < 1:
        raise ShapeError(f"among is {among}; expected 1 or more rows to answer from")
    limit = len(vectors) if among is None else min(among, len(vectors))
    found, lookups = look_up(vectors, (w for own in questions.words for w in own), limit)
    ids = np.array([[found.get(w, -1) for w in own] for own in questions.words], np.int64)
    known: Flags = np.asarray((ids >= 0).all(axis=1))
    rows = np.full((2, len(ids)), -1, np.int64)
    if known.any():
        rows[:, known] = best_rows(vectors, ids[known, :3], limit, progress)
    right = [known & (row == ids[:, 3]) for row in rows]
    return Answers(
        table,
        limit,
        known,
        dict(zip(METHODS, right, strict=True)),
        dict(zip(METHODS, rows, strict=True)),
        lookups,
    )


def compare_answers(
    questions: Questions, tables: Sequence[Answers], seed: int = 0
) -> AnalogyScores:
    """Accuracies of each table over the questions it knows, and of all over those all know.

    Sections whose names begin with ``gram`` are syntactic, the others semantic, as in the file that
    came with word2vec; both totals are there if there are both kinds. The interval of an accuracy
    is Wilson's; that of a difference is from 1,000 paired resamples of the questions.
    """
    parts = list(_parts(questions))
    every = parts[-1][1]
    common: list[Accuracy] = []
    differences: list[Difference] = []
    if len(tables) > 1:
        shared = np.logical_and.reduce([each.known for each in tables])
        common = [_accuracy(ALL, every, shared, each) for each in tables]
        for each in tables[1:] if shared.any() else ():
            for method in METHODS:
                pair = each.right[method][shared], tables[0].right[method][shared]
                differences.append(_difference(each.table, method, *pair, seed))
    return AnalogyScores(
        questions.name,
        len(questions.words),
        tuple(each.table for each in tables),
        tuple(each.among for each in tables),
        tuple(tuple(_accuracy(name, part, each.known, each) for name, part in parts)
              for each in tables),
        tuple(each.lookups for each in tables),
        tuple(common),
        tuple(differences),
        questions.notes,
    )  # fmt: skip


def _parts(questions: Questions) -> Iterator[tuple[str, Flags]]:
    section = np.array(questions.section)
    for number, name in enumerate(questions.sections):
        yield name, section == number
    syntactic = np.array([name.startswith("gram") for name in questions.sections])[section]
    if syntactic.any() and not syntactic.all():
        yield SEMANTIC, ~syntactic
        yield SYNTACTIC, syntactic
    yield ALL, np.ones(len(section), bool)


def _accuracy(name: str, part: Flags, known: Flags, each: Answers) -> Accuracy:
    inside = part & known
    number = int(inside.sum())
    right = {method: int(each.right[method][inside].sum()) for method in METHODS}
    bounds = {method: wilson(right[method], number) for method in METHODS}
    return Accuracy(name, int(part.sum()), number, right, bounds)


def wilson(right: int, number: int) -> Interval | None:
    """The 95 % score interval of a share (Wilson, JASA, 1927); None of nothing."""
    if number == 0:
        return None
    share, spread = right / number, _Z**2 / number
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def _difference(table: str, method: str, new: Flags, old: Flags, seed: int) -> Difference:
    """A question is won, lost or neither: resampling them draws from a multinomial."""
    number = len(new)
    won, lost = int((new & ~old).sum()), int((old & ~new).sum())
    interval = None
    if number >= FEWEST:
        shares = np.array([won, lost, number - won - lost]) / number
        drawn = np.random.default_rng([seed, number]).multinomial(number, shares, RESAMPLES)
        interval = interval_of((drawn[:, 0] - drawn[:, 1]) / number)
    return Difference(table, method, (won - lost) / number, interval)
