"""Which words stand near which: the compiled walk against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rowtune.kernels import threads
from rowtune.learn import cooccurrence
from rowtune.learn.cooccurrence import associations
from rowtune.learn.sparse import Sparse

TYPES = 30


def plain(stream, counts, targets, min_count, window, places=cooccurrence._PLACES):
    """(targets, contexts), as the docstring has it."""
    contexts = [c for c in np.argsort(-counts, kind="stable") if counts[c] >= max(min_count, 1)]
    flat = np.array([float(counts[c]) for c in contexts]) ** 0.75
    column = {int(c): i for i, c in enumerate(contexts)}
    found = np.zeros((len(targets), len(contexts)))
    for row, target in enumerate(targets):
        mass = np.zeros(len(contexts))
        every = max(-(-int(counts[target]) // places), 1)
        for t in np.flatnonzero(stream == target)[::every]:
            for side in (-1, 1):
                for step in range(1, window + 1):
                    at = t + side * step
                    if not 0 <= at < len(stream) or stream[at] < 0:
                        break
                    if stream[at] != target and int(stream[at]) in column:
                        mass[column[int(stream[at])]] += 1 / step
        for c in np.flatnonzero(mass):
            found[row, c] = max(math.log(mass[c] / mass.sum() / (flat[c] / flat.sum())), 0)
    return found


def dense(matrix):
    rows = np.zeros((len(matrix.starts) - 1, matrix.width), np.float32)
    for row, (begin, end) in enumerate(zip(matrix.starts[:-1], matrix.starts[1:], strict=True)):
        assert len(set(matrix.columns[begin:end])) == end - begin
        rows[row, matrix.columns[begin:end]] = matrix.values[begin:end]
    return rows


def example():
    """Words of very different frequency; -1 ends a document; the last type is alone in its own."""
    rng = np.random.default_rng(0)
    ids = np.minimum(rng.zipf(1.4, 4000) - 1, TYPES).astype(np.int32)
    ids[ids > TYPES - 2] = -1
    ids = np.append(ids, [-1, TYPES - 1, -1]).astype(np.int32)
    counts = np.bincount(ids[ids >= 0], minlength=TYPES)
    return ids, counts, np.array([29, 0, 7, 20, 3, 12])


@pytest.mark.parametrize(("min_count", "window"), [(1, 5), (46, 5), (47, 5), (1, 1), (1, 40)])
def test_the_walk_equals_plain_loops(min_count, window):
    ids, counts, targets = example()
    assert (counts == 46).any() and (ids < 0).sum() > 50
    found = associations(ids, counts, targets, min_count, window)
    expected = plain(ids, counts, targets, min_count, window)
    assert found.width == (counts >= min_count).sum() == expected.shape[1]
    assert found.values.min() > 0
    np.testing.assert_allclose(dense(found), expected, rtol=1e-4, atol=1e-5)
    assert np.count_nonzero(expected) > 15
    assert found.starts[1] == 0  # nobody stands near the word that is a document of its own


def test_of_a_frequent_word_each_nth_place_is_looked_at(monkeypatch):
    monkeypatch.setattr(cooccurrence, "_PLACES", 50)
    ids, counts, targets = example()
    found = dense(associations(ids, counts, targets, 1))
    assert counts[0] // 50 > 5
    np.testing.assert_allclose(
        found, plain(ids, counts, targets, 1, cooccurrence.WINDOW, 50), rtol=1e-4, atol=1e-5
    )
    whole = plain(ids, counts, targets, 1, cooccurrence.WINDOW)
    assert np.abs(found - whole).max() > 0.01


def test_a_word_may_stand_near_thousands_of_others():
    others = np.arange(2, 3002)
    many = np.stack([np.zeros(3000, int), others, np.full(3000, -1)], 1).ravel()
    ids = np.concatenate([[1, 7, 9, -1], many]).astype(np.int32)
    counts = np.bincount(ids[ids >= 0])
    found = dense(associations(ids, counts, np.array([1, 0]), 1, 2))
    chance = counts**0.75 / (counts**0.75).sum()
    order = np.argsort(-counts, kind="stable")
    expected = np.maximum(np.log(1 / 3000 / chance[order]), 0) * (order > 1)
    np.testing.assert_allclose(found[1], expected, atol=1e-4)
    assert np.flatnonzero(found[0]).tolist() == sorted(
        np.flatnonzero((order == 7) | (order == 9)).tolist()
    )


def test_only_the_most_frequent_types_are_contexts_in_falling_order(monkeypatch):
    monkeypatch.setattr(cooccurrence, "_CONTEXTS", 4)
    ids = np.array([5, 4, 4, 3, 3, 3, 2, 2, 2, 2, 1, 0, 0, 5], np.int32)
    counts = np.bincount(ids)
    found = associations(ids, counts, np.array([1]), 1, 2)
    # 2, 3, then of 0, 4 and 5, seen twice each, the first two: 1 has 2 twice and 0 twice about it.
    assert found.width == 4
    assert sorted(found.columns.tolist()) == [0, 2]


def test_nothing_to_find():
    ids, counts, targets = example()
    for matrix in (
        associations(ids, counts, targets[:0], 1),
        associations(ids, counts, targets, 10**6),
        associations(np.full(3, -1, np.int32), np.zeros(TYPES, np.int64), targets, 1),
    ):
        assert len(matrix.values) == len(matrix.columns) == 0
        assert not (matrix @ np.ones((matrix.width, 2), np.float32)).any()
        assert len(matrix.transpose().starts) == matrix.width + 1
    assert len(matrix.starts) == len(targets) + 1


def random_sparse():
    rng = np.random.default_rng(2)
    full = rng.standard_normal((70, 40)).astype(np.float32) * (rng.random((70, 40)) < 0.1)
    full[5] = 0
    rows, columns = np.nonzero(full)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=70))])
    return full, Sparse(starts, columns.astype(np.int32), full[rows, columns], 40)


def test_products_and_the_transposed_matrix_equal_dense_ones():
    full, sparse = random_sparse()
    rng = np.random.default_rng(3)
    right = rng.standard_normal((3, 40)).astype(np.float32).T  # not contiguous
    left = rng.standard_normal((70, 2)).astype(np.float32)
    np.testing.assert_allclose(sparse @ right, full @ right, atol=1e-5)
    turned = sparse.transpose()
    assert (turned.width, len(turned.starts)) == (70, 41)
    np.testing.assert_array_equal(dense(turned), full.T)
    np.testing.assert_allclose(turned @ left, full.T @ left, atol=1e-5)
    np.testing.assert_array_equal(dense(turned.transpose()), full)


def test_the_same_bits_on_one_thread_two_and_five():
    ids, counts, targets = example()
    outcomes, before = [], threads.get_num_threads()
    for number in (1, 2, 5):
        threads.set_num_threads(number)
        found = associations(ids, counts, targets, 1)
        product = found @ np.random.default_rng(0).standard_normal((found.width, 9), np.float32)
        arrays = (found.starts, found.columns, found.values, product)
        outcomes.append([array.tobytes() for array in arrays])
    threads.set_num_threads(before)
    assert outcomes[0] == outcomes[1] == outcomes[2]
