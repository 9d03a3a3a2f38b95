"""Parts of the held-out words, relatives, intervals, and folds of skip-gram."""

from __future__ import annotations

import numpy as np
import pytest

from rowtune.learn import candidates, intervals
from rowtune.learn.corpus import Corpus
from rowtune.learn.nearest import unit
from rowtune.learn.relatives import close_relatives
from rowtune.learn.result import HeldOutWord
from rowtune.learn.survey import survey


@pytest.mark.parametrize(
    ("word", "other", "related"),
    [
        ("connections", "connection", True),
        ("connection", "connections", True),
        ("connection", "connect", True),  # 7 of 10 letters
        ("connectivity", "connect", False),  # 7 of 12
        ("cats", "cat", False),  # three letters are no stem
        ("code", "coder", True),
        ("decode", "encode", False),
        ("same", "same", False),  # no word is a relative of itself
    ],
)
def test_relatives_share_two_thirds_of_their_letters_from_the_start(word, other, related):
    assert close_relatives([word], [word, other, "unlike"]) == [other if related else None]


def words(number, seed=0):
    rng = np.random.default_rng(seed)
    return [
        HeldOutWord(
            f"w{i}",
            int(rng.integers(5, 400)),
            {"a": float(rng.normal(0.5, 0.2)), "b": float(rng.normal(0.1, 0.2))},
            {"a": int(rng.integers(1, 50)), "b": int(rng.integers(1, 5000))},
            {"a": float(rng.integers(0, 11)) / 10, "b": 0.0},
            "kin" if i % 3 == 0 else None,
        )
        for i in range(number)
    ]


def test_every_method_is_scored_over_the_words_of_every_part():
    held_out = words(300)
    found = {(p.part, p.method): p for p in intervals.part_scores(held_out, seed=1)}
    bands = {"seen 0 to 19 times": (0, 20), "seen 50 to 99 times": (50, 100)}
    for name, (low, high) in bands.items():
        inside = [w for w in held_out if low <= w.count < high]
        part = found[name, "a"]
        assert part.words == len(inside)
        assert part.score.cosine == pytest.approx(np.mean([w.cosine["a"] for w in inside]))
        assert part.score.median_rank == np.median([w.rank["a"] for w in inside])
        assert part.score.overlap10 == pytest.approx(np.mean([w.overlap["a"] for w in inside]))
    alone = [w for w in held_out if w.relative is None]
    assert found["no close relative", "b"].words == len(alone) == 200
    assert found["with a close relative", "b"].words == 100
    assert found["all", "a"].words == 300
    over = sum(p.words for (name, m), p in found.items() if m == "a" and name.startswith("seen"))
    assert over == 300


def test_intervals_are_as_wide_as_the_standard_error_says_and_repeat():
    held_out = words(400)
    one, two = (intervals.part_scores(held_out, seed=1) for _ in range(2))
    assert one == two
    every = next(p for p in one if p.part == "all" and p.method == "a")
    low, high = every.cosine_interval
    cosines = np.array([w.cosine["a"] for w in held_out])
    error = cosines.std() / np.sqrt(400)
    assert low < every.score.cosine < high
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.15)
    assert every.rank_interval[0] <= every.score.median_rank <= every.rank_interval[1]


def test_parts_of_few_words_are_left_out():
    assert {p.part for p in intervals.part_scores(words(12), seed=0)} == {"all"}


def test_a_fold_of_skip_gram_never_sees_the_rows_it_predicts(world, corpus):
    """Spoil the true rows of the words that a fold predicts: what it predicts must not notice."""
    found = survey(world.vectors, Corpus([corpus]).documents(), 5, None)
    train, others = found.known[:-40], found.known[-40:]
    target = unit(world.vectors.matrix[found.row[train]])

    def rows(seen):
        rng = np.random.default_rng(5)
        return candidates.skip_gram_rows(found, train, seen, others, 5, rng, lambda *_: None)

    rng = np.random.default_rng(5)
    rng.integers(1 << 62)  # the seed of the walks is drawn first
    fold = rng.permutation(len(train)) % candidates.FOLDS
    spoiled = target.copy()
    spoiled[fold == 0] = -1
    clean, again = rows(target), rows(spoiled)
    first = np.flatnonzero(fold == 0)
    assert clean[first].tobytes() == again[first].tobytes()
    assert clean[len(train) :].tobytes() != again[len(train) :].tobytes()
    similar = (unit(clean[first]) * target[first]).sum(1).mean()
    assert similar > 0.3
