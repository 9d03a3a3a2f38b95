"""Kernel ridge regression against its closed form, written out plainly."""

from __future__ import annotations

import numpy as np
import pytest

from rowtune.learn import kernel_ridge
from rowtune.learn.kernel_ridge import KernelRidge, Views
from rowtune.learn.nearest import unit


def views(words=90, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((words, 7)) * np.array([1, 5, 0.1, 1, 1, 1, 30]) + 3
    space, spelled = rng.standard_normal((words, 4)), rng.standard_normal((words, 6))
    return Views(features.astype("f"), space.astype("f"), spelled.astype("f"))


def standardized(mine, known):
    """By the training words, without what never varies, over the root of the width."""
    spread = known.std(0, dtype=float)
    varies = spread > 1e-6
    centred = (mine - known.mean(0, dtype=float))[:, varies] / spread[varies]
    return centred / np.sqrt(mine.shape[1])


def plain_kernel(left, right, train):
    """The formula at the head of the module, one pair of words after the other."""
    scaled = [
        (
            standardized(each.features, train.features),
            standardized(unit(each.space), unit(train.space)),
            unit(each.space),
            unit(each.spelled),
        )
        for each in (left, right)
    ]
    found = np.empty((len(left), len(right)))
    for i, (b, s, x, p) in enumerate(zip(*scaled[0], strict=True)):
        for j, (b2, s2, x2, p2) in enumerate(zip(*scaled[1], strict=True)):
            near = np.exp(-np.sum((x - x2) ** 2))
            alike = np.exp(-2 * np.sum((p - p2) ** 2))
            found[i, j] = 3 * (b @ b2 + s @ s2) + near * (near + 2 * alike)
    return found


def target_of(words=90):
    return unit(np.random.default_rng(5).standard_normal((words, 3)))


@pytest.mark.parametrize("penalty", [0.3, 3.0])
def test_with_every_word_a_landmark_it_is_the_closed_form(penalty):
    known, asked, target = views(), views(20, seed=1), target_of()
    fit = KernelRidge(known, target, np.arange(90)).solve(penalty)
    own, cross = plain_kernel(known, known, known), plain_kernel(asked, known, known)
    dual = np.linalg.solve(own + penalty * np.eye(90), target - target.mean(0))
    np.testing.assert_allclose(fit.predict(asked), cross @ dual + target.mean(0), atol=2e-3)
    np.testing.assert_allclose(fit.predict(known), own @ dual + target.mean(0), atol=2e-3)


def test_with_few_landmarks_it_solves_its_own_equations():
    known, asked, target = views(), views(20, seed=1), target_of()
    marks = np.array([3, 30, 31, 60, 80])
    fit = KernelRidge(known, target, marks).solve(1.0)
    near, own = plain_kernel(known, known[marks], known), plain_kernel(*[known[marks]] * 2, known)
    best = np.linalg.solve(near.T @ near + own, near.T @ (target - target.mean(0)))
    expected = plain_kernel(asked, known[marks], known) @ best + target.mean(0)
    np.testing.assert_allclose(fit.predict(asked), expected, atol=2e-3)


def test_a_small_penalty_follows_and_a_great_one_leaves_the_mean():
    known, target = views(), target_of()
    system = KernelRidge(known, target, np.arange(90))
    tight, loose = (system.solve(penalty).predict(known) for penalty in (1e-4, 1e6))
    assert np.abs(tight - target).max() < 0.05
    np.testing.assert_allclose(loose, np.tile(target.mean(0), (90, 1)), atol=1e-2)


def test_blocks_do_not_matter(monkeypatch):
    known, asked, target, marks = views(), views(20, seed=1), target_of(), np.arange(0, 90, 4)
    whole = KernelRidge(known, target, marks).solve(1.0).predict(asked)
    monkeypatch.setattr(kernel_ridge, "_BLOCK", 7)
    cut = KernelRidge(known, target, marks).solve(1.0).predict(asked)
    np.testing.assert_allclose(cut, whole, atol=1e-4)
    assert np.abs(whole - target.mean(0)).max() > 0.1


def test_a_feature_that_never_varies_says_nothing_later_either():
    known, asked, target = views(), views(20, seed=1), target_of()
    known.features[:, 2] = 0.7  # whose mean is not quite 0.7 in float32
    known.space[:, 1:] = 0  # every direction is 1 or -1 times the first axis
    fits = KernelRidge(known, target, np.arange(0, 90, 3)).solve(1.0)
    one = fits.predict(asked)
    asked.features[:, 2] = 1e4
    two = fits.predict(asked)
    assert np.isfinite(one).all()
    assert one.tobytes() == two.tobytes()


def test_words_that_are_the_same_may_both_be_landmarks():
    known, target = views(), target_of()
    twice = Views(*(np.concatenate([a, a]) for a in vars(known).values()))
    goal = np.concatenate([target, target])
    once = KernelRidge(twice, goal, np.arange(90)).solve(1.0).predict(known)
    both = KernelRidge(twice, goal, np.arange(180)).solve(1.0).predict(known)
    np.testing.assert_allclose(both, once, atol=5e-3)


def test_words_without_company_or_spelling_and_no_words_at_all():
    known, target = views(), target_of()
    known.space[:5], known.spelled[3:8] = 0, 0
    fit = KernelRidge(known, target, np.arange(0, 90, 2)).solve(1.0)
    assert np.isfinite(fit.predict(known)).all()
    assert fit.predict(known[:0]).shape == (0, 3)


def test_rows_keep_their_order_and_depend_on_their_own_word():
    known, asked, target = views(), views(20, seed=1), target_of()
    fit = KernelRidge(known, target, np.arange(90)).solve(1.0)
    turned = fit.predict(asked[np.arange(20)[::-1]])
    np.testing.assert_allclose(turned[::-1], fit.predict(asked), atol=1e-5)
