"""The baseline without word vectors equals scikit-learn's, in its weights and in what it gets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from rowtune.adapt.tfidf import path, scores_of, tf_idf


def texts(count=400, classes=2, seed=0):
    """Words of a skewed vocabulary, some of which lean to a label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    weights = 1 / np.arange(1, 301)
    lengths = rng.integers(0, 30, count)
    bags = []
    for label, length in zip(labels, lengths, strict=True):
        lean = weights * (1 + 0.8 * (np.arange(300) % classes == label))
        bags.append(rng.choice(300, length, p=lean / lean.sum()))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return np.concatenate(bags), offsets, labels, [[str(i) for i in bag] for bag in bags]


def terms(pairs):
    def of(words):
        both = [f"{a} {b}" for a, b in pairwise(words)]
        return words + both if pairs else words

    return of


@pytest.mark.parametrize("pairs", [False, True])
def test_weights_are_those_of_scikit_learn(pairs):
    types, offsets, _, words = texts()
    training = np.arange(0, 400, 2)
    ours = tf_idf(types, offsets, training, pairs)
    theirs = TfidfVectorizer(analyzer=terms(pairs)).fit([words[i] for i in training])
    expected = theirs.transform(words).toarray()
    dense = np.zeros((400, ours.width))
    of_row = np.repeat(np.arange(400), ours.lengths)
    dense[of_row, ours.columns] = ours.values
    # Columns are in another order, so inner products of texts are compared.
    np.testing.assert_allclose(dense @ dense.T, expected @ expected.T, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("pairs", [False, True])
def test_it_gets_as_many_right(classes, pairs):
    types, offsets, labels, words = texts(900, classes)
    training, test = np.arange(600), np.arange(600, 900)
    x = tf_idf(types, offsets, training, pairs)
    cs = [1.0, 10.0]
    vectorizer = TfidfVectorizer(analyzer=terms(pairs))
    their_x = vectorizer.fit_transform([words[i] for i in training])
    their_test = vectorizer.transform([words[i] for i in test])
    for c, weights in zip(cs, path(x.rows(training), labels[training], classes, cs), strict=True):
        # Of two labels scikit-learn has one column: half the weights, a quarter of the penalty.
        theirs = LogisticRegression(C=2 * c if classes == 2 else c, max_iter=1000)
        theirs.fit(their_x, labels[training])
        right = (scores_of(x.rows(test), weights).argmax(1) == labels[test]).mean()
        expected = theirs.score(their_test, labels[test])
        assert expected > 1 / classes + 0.05
        assert abs(right - expected) <= 0.01


def test_products_with_a_sparse_matrix():
    types, offsets, _, _ = texts(50)
    x = tf_idf(types, offsets, np.arange(50), False)
    dense = np.zeros((50, x.width))
    dense[np.repeat(np.arange(50), x.lengths), x.columns] = x.values
    right = np.random.default_rng(0).standard_normal((x.width, 3))
    np.testing.assert_allclose(x.times(right), dense @ right, atol=1e-12)
    np.testing.assert_allclose(x.transposed_times(dense[:, :2]), dense.T @ dense[:, :2], atol=1e-12)
    chosen = np.array([7, 3, 3])
    np.testing.assert_allclose(x.rows(chosen).times(right), dense[chosen] @ right, atol=1e-12)


def test_texts_without_words():
    x = tf_idf(np.empty(0, np.int64), np.zeros(5, np.int64), np.arange(4), True)
    (weights,) = path(x, np.array([0, 1, 1, 1]), 2, [1.0])
    assert scores_of(x, weights).argmax(1).tolist() == [1, 1, 1, 1]
