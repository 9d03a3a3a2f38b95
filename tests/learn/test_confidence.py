"""Expected cosines of new rows: a planted relation, noise, limits and no variance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rowtune.learn.confidence import Confidence, Predicted

DIM = 8


def predicted(words, seed=0):
    rng = np.random.default_rng(seed)
    rows, blind, spelled = (
        (rng.standard_normal((words, DIM)) * rng.uniform(0.2, 1, (words, 1))).astype("f")
        for _ in range(3)
    )
    kin = ["kin" if rng.random() < 0.5 else None for _ in range(words)]
    return Predicted(rows, blind, spelled, rng.integers(5, 500, words), kin)


def confidence_of(hidden, cosines):
    return Confidence(hidden, np.asarray(cosines, np.float32), np.random.default_rng(1))


def cosine(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_signs_are_what_their_names_say():
    words = predicted(40)
    expected = [
        np.log(1 + words.counts),
        np.linalg.norm(words.rows, axis=1),
        np.linalg.norm(words.blind, axis=1),
        cosine(words.rows, words.spelled),
        cosine(words.blind, words.spelled),
        [name == "kin" for name in words.relatives],
    ]
    np.testing.assert_allclose(words.signs(), np.stack(expected, 1), atol=1e-5)


@pytest.mark.parametrize("sign", range(6))
def test_a_planted_relation_to_any_sign_is_found_and_carries_over(sign):
    def cosines(words, seed):
        values = words.signs()[:, sign]
        low, high = np.quantile(hidden.signs()[:, sign], [0, 1])
        errors = np.random.default_rng(seed).normal(0, 0.02, len(values))
        return 0.2 + 0.6 * (values - low) / (high - low) + errors

    hidden, new = predicted(400), predicted(200, seed=7)
    found = confidence_of(hidden, cosines(hidden, 2))
    assert found.correlation > 0.9
    np.testing.assert_allclose(found.of(new), cosines(new, 3), atol=0.12)


def test_on_noise_the_correlation_is_near_zero_as_it_is_measured_out_of_fold():
    """In its own training words six signs of so few words would correlate at about 0.4."""
    found = []
    for seed in range(30):
        noise = np.random.default_rng(seed).uniform(0.2, 0.8, 40)
        found.append(confidence_of(predicted(40, seed), noise).correlation)
    assert abs(np.mean(found)) < 0.15
    expected = confidence_of(predicted(40), noise).of(predicted(40))
    assert np.abs(expected - 0.5).max() < 0.5


def test_expectations_stay_within_cosines():
    hidden = predicted(100)
    steep = hidden.signs()[:, 1]
    found = confidence_of(hidden, 2 * (steep - steep.mean()))
    new = predicted(50)
    for factor, limit in ((100, 1), (0, None)):
        expected = found.of(replace(new, rows=new.rows * np.float32(factor)))
        assert expected.shape == (50,) and np.abs(expected).max() <= 1
        assert limit is None or (expected == limit).all()
    falling = confidence_of(hidden, -2 * (steep - steep.mean()))
    assert (falling.of(replace(new, rows=new.rows * 100)) == -1).all()


@pytest.mark.parametrize("value", [0.7, 0.3, 0.1, 0.0, 0.5])
def test_without_variance_there_is_no_correlation_and_the_mean_is_expected(value):
    hidden = predicted(64)
    found = confidence_of(hidden, np.full(64, value))
    assert found.correlation == 0
    np.testing.assert_allclose(found.of(predicted(9, seed=3)), value, atol=1e-5)


def test_signs_that_are_all_alike_expect_the_mean():
    one = predicted(1)
    many = Predicted(
        *(np.repeat(a, 30, 0) for a in (one.rows, one.blind, one.spelled)),
        np.full(30, 40),
        ["kin"] * 30,
    )
    cosines = np.linspace(0.1, 0.9, 30)
    found = confidence_of(many, cosines)
    np.testing.assert_allclose(found.of(many), 0.5, atol=1e-5)
    assert np.isfinite(found.correlation)


def test_the_fewest_words_and_no_new_ones():
    found = confidence_of(predicted(6), np.linspace(0.1, 0.9, 6))
    assert -1 <= found.correlation <= 1
    assert found.of(predicted(0)).shape == (0,)
