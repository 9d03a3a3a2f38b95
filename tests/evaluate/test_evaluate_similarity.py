"""Correlations with what people said, beside SciPy and gensim, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import rowtune
from rowtune.evaluate import Pairs, compare_cosines, correlation, cosines_of, read_pairs


def pairs_of(words, scores):
    return Pairs("pairs", tuple(words), np.array(scores, float), ())


@pytest.fixture(scope="module")
def letters():
    """200 words, and 300 pairs whose scores follow the cosines with noise and have ties."""
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in range(200)]
    rows = rng.standard_normal((200, 8)).astype(np.float32)
    pairs = [tuple(f"w{i}" for i in rng.integers(0, 220, 2)) for _ in range(300)]
    scores = np.round(rng.uniform(0, 4, 300))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for n, pair in enumerate(pairs):
        i, j = (int(word[1:]) for word in pair)
        if i < 200 and j < 200:
            scores[n] = np.round(5 * (unit[i] @ unit[j]) + rng.standard_normal())
    return rowtune.Vectors(words, rows), pairs_of(pairs, scores)


def test_correlations_are_those_of_scipy(letters):
    rng = np.random.default_rng(0)
    x, y = np.round(rng.standard_normal((2, 5, 60)), 1)
    ranks = correlation.mean_ranks(x)
    assert np.array_equal(ranks, stats.rankdata(x, axis=1))
    for i in range(5):
        found = correlation.spearman(x, y)[i], correlation.pearson(x, y)[i]
        right = stats.spearmanr(x[i], y[i])[0], stats.pearsonr(x[i], y[i])[0]
        assert np.allclose(found, right, atol=1e-12)
    assert correlation.spearman(np.arange(9), np.exp(np.arange(9))) == pytest.approx(1)
    assert np.isnan(correlation.pearson(np.full(9, 0.1), np.arange(9)))


def test_scores_are_those_of_gensim(letters, tmp_path):
    vectors, pairs = letters
    path = tmp_path / "pairs.tsv"
    lines = zip(pairs.words, pairs.scores, strict=True)
    path.write_text("".join(f"{a}\t{b}\t{score}\n" for (a, b), score in lines))
    keyed = rowtune.vectors.to_gensim(vectors)
    found = compare_cosines(read_pairs(path), [cosines_of(vectors, read_pairs(path))])
    (own,) = found.own
    linear, ranked, unknown = keyed.evaluate_word_pairs(path)
    assert own.spearman == pytest.approx(ranked[0], abs=1e-6)
    assert own.pearson == pytest.approx(linear[0], abs=1e-6)
    assert 100 * (1 - own.known / found.pairs) == pytest.approx(unknown)
    assert 0 < own.known < found.pairs
    _, zeros, _ = keyed.evaluate_word_pairs(path, dummy4unknown=True)
    assert found.unknown_as_zero[0] == pytest.approx(zeros[0], abs=1e-6)
    assert abs(zeros[0] - ranked[0]) > 0.01


def test_an_interval_is_that_of_a_plain_bootstrap(letters, monkeypatch):
    vectors, pairs = letters
    monkeypatch.setattr(correlation, "_AT_ONCE", 10_000)  # in several parts
    rng = np.random.default_rng(99)
    pairs = pairs_of(pairs.words, pairs.scores + 4 * rng.standard_normal(300))  # wider intervals
    cosines = cosines_of(vectors, pairs)
    (own,) = compare_cosines(pairs, [cosines], seed=3).own
    known = ~np.isnan(cosines.values)
    x, y = cosines.values[known], pairs.scores[known]
    plain = []
    for _ in range(2000):
        at = rng.integers(0, len(x), len(x))
        plain.append((stats.spearmanr(x[at], y[at])[0], stats.pearsonr(x[at], y[at])[0]))
    low, high = np.percentile(plain, (2.5, 97.5), axis=0)
    assert own.spearman_interval == pytest.approx((low[0], high[0]), abs=0.012)
    assert own.pearson_interval == pytest.approx((low[1], high[1]), abs=0.012)
    again, other = (compare_cosines(pairs, [cosines], seed=seed).own[0] for seed in (3, 4))
    assert again == own != other


def test_progress_is_told(letters):
    vectors, pairs = letters
    told = []
    compare_cosines(pairs, [cosines_of(vectors, pairs)], 0, lambda *step: told.append(step))
    assert told[-1] == ("resampling", 1000, 1000)


def test_words_in_another_case_and_rows_without_direction():
    words = ["paris", "Rome", "ROME", "USA", "New York", "zero", "nan", "huge", "Frog", "frog"]
    rows = np.eye(10, 4, dtype=np.float32) + 0.1
    rows[5], rows[6, 0], rows[7, 1] = 0, np.nan, np.inf
    vectors = rowtune.Vectors(words, rows)
    asked = ["Paris", "rome", "usa", "new york", "zero", "nan", "huge", "frog", "Frog", "gone"]
    pairs = pairs_of([(word, "paris") for word in asked], range(10))
    found = cosines_of(vectors, pairs)
    assert found.lookups.words == 11
    assert found.lookups.exact == 6  # paris, zero, nan, huge, frog, Frog
    assert found.lookups.other_case == 4
    assert found.lookups.unknown == ("gone",)
    assert found.lookups.unusable == ("zero", "nan", "huge")
    rows[5:8] = 1
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    right = [unit[i] @ unit[0] for i in (0, 1, 3, 4)]  # of Rome and ROME the first that is asked
    assert found.values[:4] == pytest.approx(right)
    assert np.isnan(found.values[[4, 5, 6, 9]]).all()
    assert found.values[7:9] == pytest.approx([unit[9] @ unit[0], unit[8] @ unit[0]])


@pytest.mark.parametrize(
    ("words", "scores", "why"),
    [
        ([("a", "x")] * 12, range(12), "no pair is known"),
        ([("a", "b"), ("a", "x")], [1, 2], "one pair alone is known"),
        ([("a", "b"), ("a", "c")] * 6, [0.1] * 12, "all scores of the known pairs are equal"),
        ([("a", "b"), ("b", "a")] * 6, range(12), "all cosines of the known pairs are equal"),
    ],
)
def test_no_correlation_and_why(words, scores, why):
    vectors = rowtune.Vectors(["a", "b", "c"], np.array([[1, 2], [2, 1], [0, 1]], "f4"))
    found = compare_cosines(
        pairs_of(words, scores), [cosines_of(vectors, pairs_of(words, scores))] * 2
    )
    for own in (*found.own, *found.common):
        assert own.undefined == why
        assert (own.spearman, own.pearson, own.spearman_interval) == (None, None, None)
    assert [each.difference for each in found.differences] == [None]


def test_few_pairs_have_no_interval(letters):
    vectors, _ = letters
    for number in (9, 10):
        few = pairs_of([("w1", f"w{i}") for i in range(2, 2 + number)], range(number))
        (own,) = compare_cosines(few, [cosines_of(vectors, few)]).own
        assert own.known == number
        assert (own.spearman_interval is None) == (number == 9)


def test_side_by_side_over_what_all_tables_know(letters):
    vectors, pairs = letters
    rng = np.random.default_rng(5)
    noisy = vectors.matrix + rng.standard_normal(vectors.matrix.shape).astype(np.float32)
    worse = rowtune.Vectors(vectors.words[50:], noisy[50:])
    more = rowtune.Vectors(
        [*vectors.words, "w205"], np.vstack([vectors.matrix, vectors.matrix[:1]])
    )
    tables = [cosines_of(each, pairs, str(n)) for n, each in enumerate((vectors, worse, more))]
    found = compare_cosines(pairs, tables)
    shared = ~np.isnan(tables[1].values)
    alone = [stats.spearmanr(each.values[shared], pairs.scores[shared])[0] for each in tables]
    assert [each.known for each in found.common] == [shared.sum()] * 3
    assert [each.spearman for each in found.common] == pytest.approx(alone)
    assert found.own[0].known > found.own[1].known
    assert found.own[2].known > found.own[0].known
    down, same = found.differences
    assert (down.table, down.measure) == ("1", "spearman")
    assert down.difference == pytest.approx(alone[1] - alone[0])
    low, high = down.interval
    assert low < down.difference < high < 0
    # Paired: what the resamples share is not in it.
    assert high - low < np.diff(found.common[0].spearman_interval) + np.diff(
        found.common[1].spearman_interval
    )
    assert (same.difference, same.interval) == (0, (0, 0))


def test_one_table_has_nothing_beside_it(letters):
    vectors, pairs = letters
    found = compare_cosines(pairs, [cosines_of(vectors, pairs)])
    assert found.common == found.differences == ()
