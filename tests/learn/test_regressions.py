from __future__ import annotations

import numpy as np
import pytest

from rowtune.learn.nearest import nearest, ranks, unit
from rowtune.learn.ngrams import NGrams
from rowtune.learn.norms import NormCurve
from rowtune.learn.ridge import Ridge
from rowtune.learn.spelling import Spelling


def test_a_la_carte_recovers_a_planted_map():
    rng = np.random.default_rng(1)
    planted = rng.standard_normal((8, 8)).astype(np.float32)
    context = rng.standard_normal((500, 8)).astype(np.float32)
    noise = 0.01 * rng.standard_normal((500, 8)).astype(np.float32)
    fit = Ridge(context, context @ planted + 3 + noise, np.ones(500, np.float32), 1e-6)
    fresh = rng.standard_normal((50, 8)).astype(np.float32)
    np.testing.assert_allclose(fit.predict(fresh), fresh @ planted + 3, atol=0.02)


def test_ridge_weights_count_as_repeats_and_constant_features_are_left_out():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((30, 4)).astype(np.float32)
    x[:, 3] = 5
    y = rng.standard_normal((30, 2)).astype(np.float32)
    times = rng.integers(1, 4, 30)
    weighted = Ridge(x, y, times.astype(np.float32), 0.1).predict(x)
    repeated = Ridge(
        np.repeat(x, times, 0), np.repeat(y, times, 0), np.ones(times.sum(), np.float32), 0.1
    ).predict(x)
    np.testing.assert_allclose(weighted, repeated, atol=1e-5)
    assert np.isfinite(weighted).all()


def test_ngrams_are_the_ones_a_plain_loop_finds():
    words = ["walk", "walks", "talk", "talking"]

    def plain(word):
        marked = f"<{word}>"
        return {marked[i : i + n] for n in (3, 4) for i in range(len(marked) - n + 1)}

    shared = [g for w in words for g in plain(w)]
    shared = {g for g in shared if shared.count(g) >= 2}
    grams = NGrams(words, 3, 4)
    assert len(grams.known) == len(shared)
    assert np.diff(grams.matrix.starts).tolist() == [len(plain(w) & shared) for w in words]
    again = grams.encode(words)
    np.testing.assert_array_equal(again.columns, grams.matrix.columns)
    assert np.diff(grams.encode(["balk", "xyz", "é"]).starts).tolist() == [
        3,
        0,
        0,
    ]  # alk, lk>, alk>
    dense = np.random.default_rng(0).standard_normal((len(grams.known), 3)).astype(np.float32)
    full = np.zeros((4, len(grams.known)), np.float32)
    for i in range(4):
        part = slice(grams.matrix.starts[i], grams.matrix.starts[i + 1])
        full[i, grams.matrix.columns[part]] = grams.matrix.values[part]
    np.testing.assert_allclose(grams.matrix @ dense, full @ dense, atol=1e-6)
    back = np.ones((4, 3), np.float32)
    np.testing.assert_allclose(grams.matrix.transpose() @ back, full.T @ back, atol=1e-6)


def spelling_example():
    rng = np.random.default_rng(3)
    stems, endings = ["kalo", "mirt", "besu", "dovan"], ["ing", "ed", "er", "s"]
    part = {piece: rng.standard_normal(6) for piece in stems + endings}
    words = [s + e for s in stems for e in endings]
    rows = np.array([part[s] + part[e] for s in stems for e in endings], np.float32)
    return words, rows


def test_spelling_solves_its_normal_equations():
    words, rows = spelling_example()
    weights = np.linspace(0.5, 2, len(words)).astype(np.float32)
    speller = Spelling(words, rows)
    fit = speller.fit(weights, 0.1, steps=200)
    x = speller.matrix @ np.eye(speller.matrix.width, dtype=np.float32)
    w = weights / weights.mean()
    centred = rows - (w @ rows) / w.sum()
    gram = (x.T * w) @ x + 0.1 * np.eye(x.shape[1])
    np.testing.assert_allclose(
        fit.coefficients, np.linalg.solve(gram, (x.T * w) @ centred), atol=2e-4
    )


def test_spelling_predicts_a_hidden_word_from_its_parts_and_never_sees_it():
    words, rows = spelling_example()
    weights = np.ones(len(words), np.float32)
    weights[5] = 0
    guess = Spelling(words, rows).fit(weights, 0.01, 50).predict([words[5]])
    assert (unit(guess) * unit(rows[5:6])).sum() > 0.8
    spoiled = rows.copy()
    spoiled[5] = 1e6
    again = Spelling(words, spoiled).fit(weights, 0.01, 50).predict([words[5]])
    assert guess.tobytes() == again.tobytes()


@pytest.mark.parametrize("size", [3, 200, 20_000])
def test_ranks_and_neighbours_equal_a_full_sort(size):
    rng = np.random.default_rng(4)
    table = unit(rng.standard_normal((size, 6)))
    true = rng.integers(0, size, 40)
    queries = unit(table[true] + 0.3 * rng.standard_normal((40, 6)))
    similar = queries.astype(np.float64) @ table.T.astype(np.float64)
    rank = 1 + (similar > similar[np.arange(40), true][:, None] + 1e-7).sum(1)
    np.testing.assert_allclose(ranks(table, queries, true), rank, atol=1)
    similar[np.arange(40), true] = -np.inf
    k = min(10, size - 1)
    ids, cosines = nearest(table, queries, 10, hide=true)
    best = -np.sort(-similar, axis=1)[:, :k]
    np.testing.assert_allclose(cosines, best, atol=1e-5)
    assert ids.shape == (40, k)
    assert (ids != true[:, None]).all()
    np.testing.assert_allclose(np.take_along_axis(similar, ids, 1), cosines, atol=1e-5)


def test_norms_follow_the_curve_of_the_table():
    rng = np.random.default_rng(5)
    counts = rng.integers(5, 5000, 400)
    rows = unit(rng.standard_normal((400, 8))) * (1 + np.log(counts))[:, None]
    curve = NormCurve(counts, rows)
    asked = np.array([10, 100, counts.max(), 10**9])
    lengths = np.linalg.norm(curve.apply(np.ones((4, 8), np.float32), asked), axis=1)
    np.testing.assert_allclose(lengths[:2], 1 + np.log([10, 100]), rtol=0.05)
    assert lengths[3] == lengths[2]  # not extrapolated
