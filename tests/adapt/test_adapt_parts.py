"""The parts of `adapt`, each against something simpler."""

from __future__ import annotations

import numpy as np
import pytest

import rowtune
from rowtune.adapt import classifier as classifiers
from rowtune.adapt.bags import Texts
from rowtune.adapt.classifier import Classifier
from rowtune.adapt.lbfgs import minimise
from rowtune.adapt.products import product, transposed_product
from rowtune.adapt.scores import difference, macro_f1
from rowtune.adapt.segments import broadcast, places, softmax_of, sums_of
from rowtune.adapt.splits import stratified
from rowtune.adapt.ways import DROPPED, EVERYTHING, OURS, RANDOM, SETTINGS, Given, WayRows
from rowtune.vectors import sha256_of_rows


@pytest.mark.parametrize("lengths", [[2, 0, 3], [0, 0], [0, 4, 0], [1]])
def test_segments_are_summed_one_by_one(lengths):
    lengths = np.array(lengths)
    values = np.random.default_rng(0).standard_normal((lengths.sum(), 3)).astype(np.float32)
    parts = np.split(values, np.cumsum(lengths)[:-1])
    np.testing.assert_allclose(sums_of(values, lengths), [part.sum(0) for part in parts], 1e-6)
    shares = softmax_of(values[:, 0], lengths)
    sums = sums_of(shares, lengths)
    np.testing.assert_allclose(sums, lengths > 0, rtol=1e-6)
    by_hand = [np.exp(part[:, 0]) / np.exp(part[:, 0]).sum() for part in parts]
    np.testing.assert_allclose(shares, np.concatenate(by_hand), 1e-5)
    assert broadcast(np.arange(len(lengths)), lengths).tolist() == [
        i for i, n in enumerate(lengths) for _ in range(n)
    ]


def test_places_of_segments():
    assert places(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]


@pytest.mark.parametrize("shape", [(7, 3, 2), (130, 50, 64), (257, 300, 64), (0, 5, 3)])
def test_products_in_pieces(shape):
    n, k, m = shape
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((n, k)), rng.standard_normal((k, m)), rng.standard_normal((n, m))
    np.testing.assert_allclose(product(a, b), a @ b, atol=1e-12)
    np.testing.assert_allclose(transposed_product(a, c), a.T @ c, atol=1e-12)


def test_gradients_are_those_of_small_steps(monkeypatch):
    monkeypatch.setattr(classifiers, "DROPOUT", 0.0)
    rng = np.random.default_rng(3)
    model = Classifier(5, 3, rng, lr=0.1, decay=0.0)
    model.parts = [np.array(part, np.float64) for part in model.parts]
    lengths, labels = np.array([3, 0, 1, 4]), np.array([0, 2, 1, 2])
    rows = rng.standard_normal((8, 5))
    recorded = []
    monkeypatch.setattr(model.table, "update", lambda ids, grads: recorded.append(grads))

    def cost():
        scores = model.logits(rows, lengths)
        return np.mean(np.log(np.exp(scores).sum(1)) - scores[np.arange(4), labels])

    by_rows = model.learn(rows, lengths, labels, want=True)
    flat = recorded[0][0]
    at = 0
    for array in [rows, *model.parts]:
        numeric = np.empty(array.shape)
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + 1e-5
            above = cost()
            array[place] = kept - 1e-5
            numeric[place] = (above - cost()) / 2e-5
            array[place] = kept
        gradient = by_rows
        if array is not rows:
            gradient = flat[at : at + array.size].reshape(array.shape)
            at += array.size
        np.testing.assert_allclose(gradient, numeric, atol=2e-6)
    assert at == flat.size
    assert model.learn(rows, lengths, labels, want=False) is None


def test_dropout_keeps_the_mean():
    model = Classifier(5, 2, np.random.default_rng(0), 0.1, 0.0)
    kept = model._dropped((400, 400))
    assert abs(kept.mean() - 1) < 0.02
    assert abs((kept == 0).mean() - classifiers.DROPOUT) < 0.02


def test_every_label_has_its_share_of_each_part():
    labels = np.array([0] * 100 + [1] * 40 + [2] * 5)
    split = stratified(labels, 7)
    parts = split.training, split.validation, split.test
    assert sorted(np.concatenate(parts).tolist()) == list(range(145))
    counts = [np.bincount(labels[part]).tolist() for part in parts]
    assert counts == [[70, 28, 3], [15, 6, 1], [15, 6, 1]]
    assert stratified(labels, 8).test.tolist() != split.test.tolist()
    given = stratified(labels, 7, np.arange(90, 145))
    assert given.test.tolist() == list(range(90, 145))
    assert (len(given.training), len(given.validation)) == (90 - 14, 14)


def test_training_texts_alone_decide_which_words_get_a_row(vectors):
    texts = ["ban zog zog isn't", "bar ban/bar zug", "zog zig \U0001f602 42", "dan-xx \U0001f602 !"]
    bags = Texts(vectors, texts).bags(np.array([0, 1]), 1)
    assert (bags.new, bags.new_counts) == (("zog", "is", "n't", "zug"), (2, 1, 1, 1))
    of_text = [bags.ids[a:b] for a, b in zip(bags.offsets, bags.offsets[1:], strict=False)]
    assert of_text[1].tolist()[:3] == vectors.ids(["bar", "ban", "bar"]).tolist()
    zog = bags.known + 0
    assert of_text[2].tolist() == [zog, -1, -1, -1]  # zig, the emoji and 42 have no row
    every = Texts(vectors, texts).bags(np.arange(4), 2)
    assert set(every.new) == {"zog", "\U0001f602"}
    assert Texts(vectors, texts).bags(np.arange(4), 4).new == ()


def test_texts_without_a_token_are_texts(vectors):
    bags = Texts(vectors, ["ban", "", "\u200b", "bar"]).bags(np.arange(4), 1)
    assert len(bags) == 4
    assert Given(bags, OURS).lengths.tolist()[:2] == [1, 0]
    assert Given(bags, OURS).lengths.tolist()[3] == 1


def test_words_with_unusable_rows_are_left_out(vectors):
    rows = vectors.matrix.copy()
    rows[0, 0], rows[1, 3] = np.nan, 1e30
    words = list(vectors.words)
    table = rowtune.Vectors(words, rows)
    bags = Texts(table, [f"{words[0]} {words[1]} {words[2]}"]).bags(np.arange(1), 1)
    assert bags.ids.tolist() == [-1, -1, 2]
    assert (bags.unusable, bags.new) == (2, ())


def test_what_moves_is_what_the_way_says(vectors):
    texts = ["ban bar zog", "dan zug zog"]
    bags = Texts(vectors, texts).bags(np.arange(2), 1)
    before = sha256_of_rows(vectors.matrix)
    for way, new, known in (
        (DROPPED, 0, False), (RANDOM, 0, False), (OURS, 2, False), (EVERYTHING, 2, True),
    ):  # fmt: skip
        given, rng = Given(bags, way), np.random.default_rng(0)
        rows = WayRows(way, vectors.matrix, bags, given, np.arange(2), rng, SETTINGS[1])
        ids, _ = given.of(np.arange(2))
        assert len(ids) == (3 if way == DROPPED else 6)
        first, kept = rows.lookup(ids), rows.snapshot()
        if rows.trains:
            rows.learn(ids, np.ones((len(ids), 8), np.float32))
        moved = np.unique(ids[(rows.lookup(ids) != first).any(1)])
        assert (moved >= bags.known).sum() == new
        assert bool((moved < bags.known).any()) == known
        assert (rows.hash_of_known() == before) != known
        rows.restore(kept)
        assert np.array_equal(rows.lookup(ids), first)
        assert rows.hash_of_known() == before


def test_macro_f1_is_the_mean_over_labels():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, 200), rng.integers(0, 3, 200)
    expected = f1_score(labels, predicted, average="macro", zero_division=0)
    assert macro_f1(predicted, labels, 4) == pytest.approx(expected)


def test_a_difference_says_something_where_it_is_beyond_its_error():
    rng = np.random.default_rng(0)
    ours = [rng.random(300) < 0.9 for _ in range(5)]
    theirs = [rng.random(300) < 0.6 for _ in range(5)]
    found = difference("x", ours, theirs, 1400, same_test=False)
    gaps = np.array([a.mean() - b.mean() for a, b in zip(ours, theirs, strict=True)])
    assert found.mean == pytest.approx(gaps.mean())
    assert found.standard_error == pytest.approx(gaps.std(ddof=1) * (1 / 5 + 300 / 1400) ** 0.5)
    assert found.verdict == "better"
    assert difference("x", theirs, ours, 1400, same_test=False).verdict == "worse"
    assert difference("x", ours, ours, 1400, same_test=False).verdict == "not told apart"
    close = [a & (np.arange(300) != i) for i, a in enumerate(ours)]
    assert difference("x", ours, close, 1400, same_test=False).verdict == "not told apart"
    alone = difference("x", ours[:1], theirs[:1], 1400, same_test=False)
    assert (alone.standard_error, alone.verdict) == (None, "not told apart")
    # One test part for all seeds: which texts are in it is a part of the error.
    same = [ours[0]] * 5, [theirs[0]] * 5
    by_text = (ours[0].astype(float) - theirs[0]).var() / 300
    assert difference("x", *same, 1400, True).standard_error == pytest.approx(by_text**0.5)


def test_the_minimum_of_a_bent_valley():
    def cost(x):
        value = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        slope = [-400 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0]), 200 * (x[1] - x[0] ** 2)]
        return value, np.array(slope)

    np.testing.assert_allclose(minimise(cost, np.array([-1.2, 1.0]), 1e-8), [1, 1], atol=1e-6)
