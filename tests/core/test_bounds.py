"""Bounds on an update: gradients clipped by row and together, rows held to a norm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rowtune import Bounds, Table, rules
from rowtune.errors import RuleError

N, D = 9, 7
TRAIN = [0, 2, 3, 5, 8]
KINDS = [np.float64, np.float32, np.float16]
TIGHT = {np.float64: 1e-13, np.float32: 1e-6, np.float16: 2e-3}


def weights_of(dtype=np.float64):
    return np.random.default_rng(0).standard_normal((N, D)).astype(dtype)


def batch(dtype=np.float64, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, N, 12), rng.standard_normal((12, D)).astype(dtype)


def clipped_by_hand(ids, grads, row_norm=None, norm=None):
    """Summed and clipped with plain loops, as one gradient for each trainable row."""
    sums = {i: np.zeros(D) for i in TRAIN if i in ids}
    for i, grad in zip(ids, grads, strict=True):
        if i in sums:
            sums[i] += grad
    if row_norm is not None:
        for i, total in sums.items():
            length = math.sqrt(sum(x * x for x in total))
            sums[i] = total * min(1, row_norm / length)
    if norm is not None:
        length = math.sqrt(sum(x * x for total in sums.values() for x in total))
        sums = {i: total * min(1, norm / length) for i, total in sums.items()}
    return np.array(list(sums)), np.array(list(sums.values()))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(("row_norm", "norm"), [(0.7, None), (None, 2.0), (1.5, 2.0), (1e6, 1e6)])
@pytest.mark.parametrize("name", rules.names())
def test_clipping_is_that_of_the_sums(name, row_norm, norm, dtype):
    table = Table(weights_of(dtype), TRAIN, name, lr=0.1, clip_row_norm=row_norm, clip_norm=norm)
    by_hand = Table(weights_of(dtype), TRAIN, name, lr=0.1)
    for seed in range(3):
        ids, grads = batch(dtype, seed)
        table.update(ids, grads)
        by_hand.update(*clipped_by_hand(ids.tolist(), grads.astype(float), row_norm, norm))
    np.testing.assert_allclose(table.weights, by_hand.weights, 2 * TIGHT[dtype], 2 * TIGHT[dtype])
    assert (table.steps == by_hand.steps).all()


def test_bounds_that_nothing_reaches_change_no_bit():
    loose = Table(weights_of(np.float32), clip_row_norm=1e9, clip_norm=1e9, max_norm=1e9)
    free = Table(weights_of(np.float32))
    for seed in range(3):
        for table in (loose, free):
            table.update(*batch(np.float32, seed))
    assert loose.weights.tobytes() == free.weights.tobytes()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("name", rules.names())
def test_no_touched_row_is_longer_than_max_norm(name, dtype):
    table = Table(weights_of(dtype), TRAIN, name, lr=0.1, max_norm=2.0)
    free = Table(weights_of(dtype), TRAIN, name, lr=0.1)
    ids, grads = batch(dtype)
    ids[ids == 2] = 3
    for each in (table, free):
        each.update(ids, grads)
    lengths = np.linalg.norm(free.weights.astype(float), axis=1)
    assert (lengths[TRAIN] > 2).any() and (lengths[TRAIN] < 2).any()
    for i in range(N):
        row, moved = table.weights[i], free.weights[i]
        if i in TRAIN and i in ids and lengths[i] > 2:
            np.testing.assert_allclose(np.linalg.norm(row.astype(float)), 2, 2 * TIGHT[dtype])
            np.testing.assert_allclose(row, moved * (2 / lengths[i]), 2 * TIGHT[dtype])
        else:
            assert row.tobytes() == moved.tobytes()


def test_max_norm_is_of_the_columns_that_train():
    weights = np.full((3, 4), 10.0)
    table = Table(weights.copy(), rule="sgd", lr=1.0, columns=[1, 2], max_norm=1.0)
    table.update([1], np.zeros((1, 4)))
    assert np.linalg.norm(table.weights[1, [1, 2]]) == pytest.approx(1)
    assert (table.weights[1, [0, 3]] == 10).all() and (table.weights[[0, 2]] == 10).all()


def test_a_row_of_scale_zero_keeps_its_length():
    for dtype in KINDS:
        weights = np.full((2, 3), 5, dtype)
        table = Table(weights, rule="sgd", lr_scale=[0, 0.5], max_norm=1.0)
        table.update([0, 1], np.zeros((2, 3)))
        assert (table.weights[0] == 5).all()
        assert np.linalg.norm(table.weights[1].astype(float)) == pytest.approx(1, 1e-3)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_norms_whose_squares_no_float_holds(size):
    table = Table(np.zeros((2, 3)), rule="sgd", lr=1.0, clip_row_norm=1.0)
    table.update([0], np.full((1, 3), size))
    expected = -min(size, 1 / math.sqrt(3))
    np.testing.assert_allclose(table.weights[0], expected, 1e-14)
    both = Table(np.zeros((2, 3)), rule="sgd", lr=1.0, clip_norm=1.0)
    both.update([0, 1], np.full((2, 3), size))
    np.testing.assert_allclose(both.weights, -min(size, 1 / math.sqrt(6)), 1e-14)


def test_large_batches_are_clipped_on_several_threads_alike():
    rng = np.random.default_rng(3)
    grads = rng.standard_normal((40_000, 64)).astype(np.float32)
    ids = rng.integers(0, 30_000, 40_000)
    table = Table(np.zeros((30_000, 64), np.float32), rule="sgd", lr=1.0, clip_row_norm=5.0)
    table.update(ids, grads)
    sums = np.zeros((30_000, 64))
    np.add.at(sums, ids, grads)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    expected = -sums * np.minimum(1, 5 / np.maximum(lengths, 1e-9))
    np.testing.assert_allclose(table.weights, expected, 1e-4, 1e-5)


def test_bounds_are_refused_where_they_say_nothing():
    for name in ("clip_row_norm", "clip_norm", "max_norm"):
        for value in (0, -1.0, float("nan"), "1", True):
            with pytest.raises(RuleError, match=f"{name}=.*expected a positive number"):
                Table(weights_of(), **{name: value})


def test_bounds_may_change_between_updates():
    table = Table(np.zeros((2, 3)), rule="sgd", lr=1.0)
    table.bounds = Bounds(clip_norm=1.0)
    table.update([0], np.full((1, 3), 9.0))
    table.bounds = None
    assert table.bounds == Bounds() and Bounds(clip_norm=np.float32(2)).clips
    table.update([1], np.full((1, 3), 9.0))
    assert np.linalg.norm(table.weights[0]) == pytest.approx(1) and table.weights[1, 0] == -9


def test_max_norm_and_catch_up_are_not_promised_together():
    with pytest.raises(RuleError, match="max_norm cannot go with catch_up"):
        Table(weights_of(), catch_up=True, max_norm=1.0)
    table = Table(weights_of(), catch_up=True, clip_norm=1.0)
    with pytest.raises(RuleError, match="max_norm cannot go with catch_up"):
        table.bounds = Bounds(max_norm=1.0)


@pytest.mark.parametrize("name", rules.names())
def test_catch_up_equals_dense_with_clipped_gradients(name):
    lazy = Table(weights_of(), rule=name, catch_up=True, clip_row_norm=0.5, clip_norm=0.8)
    eager = Table(weights_of(), rule=name, clip_row_norm=0.5, clip_norm=0.8)
    for seed in range(20):
        ids, grads = (x[: seed % 3] for x in batch(seed=seed))
        whole = np.zeros((N, D))
        np.add.at(whole, ids, grads)
        lazy.update(ids, grads)
        eager.update(np.arange(N), whole)
    np.testing.assert_allclose(lazy.weights, eager.weights, 1e-12, 1e-12)
