"""The text's own space against a full decomposition, and its rotation onto a table."""

from __future__ import annotations

import numpy as np
import pytest

from rowtune.learn.nearest import unit
from rowtune.learn.space import rotated, strongest_directions
from rowtune.learn.sparse import Sparse


def sparse(full):
    rows, columns = np.nonzero(full)
    starts = np.concatenate([[0], np.cumsum((full != 0).sum(1))])
    values = full[rows, columns].astype(np.float32)
    return Sparse(starts, columns.astype(np.int32), values, full.shape[1])


def planted(rows, width, values, seed=0):
    """A matrix with these singular values."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((rows, len(values))))
    right, _ = np.linalg.qr(rng.standard_normal((width, len(values))))
    return (left * values) @ right.T


@pytest.mark.parametrize("shape", [(200, 120), (120, 200)])
def test_directions_and_their_lengths_are_those_of_a_full_decomposition(shape):
    values = np.concatenate([40 * 0.8 ** np.arange(12), np.full(60, 0.5)])
    full = planted(*shape, values)
    found = strongest_directions(sparse(full), 8, np.random.default_rng(1)).astype(np.float64)
    left, exact, _ = np.linalg.svd(full, full_matrices=False)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), np.sqrt(exact[:8]), rtol=1e-3)
    np.testing.assert_allclose(
        np.abs(np.einsum("ij,ij->j", unit(found.T).T, left[:, :8])), 1, atol=1e-3
    )
    assert found.shape == (shape[0], 8)


def test_a_slowly_falling_spectrum_is_found_within_a_percent():
    full = planted(300, 250, 1 / np.sqrt(np.arange(1, 200)))
    found = strongest_directions(sparse(full), 20, np.random.default_rng(1))
    exact = np.linalg.svd(full, compute_uv=False)[:20]
    # Subspace iteration with two turns and 16 spare directions; without turns it is far off.
    np.testing.assert_allclose(np.linalg.norm(found, axis=0) ** 2, exact, rtol=0.03)


@pytest.mark.parametrize(("rows", "width", "rank"), [(5, 40, 5), (40, 6, 6), (60, 80, 3)])
def test_a_matrix_of_fewer_directions_leaves_the_last_columns_zero(rows, width, rank):
    full = planted(rows, width, np.arange(rank, 0, -1.0))
    found = strongest_directions(sparse(full), 10, np.random.default_rng(0))
    assert found.shape == (rows, 10) and found.dtype == np.float32
    assert not found[:, rank:].any()
    np.testing.assert_allclose(
        np.linalg.norm(found[:, :rank], axis=0), np.sqrt(np.arange(rank, 0, -1.0)), rtol=1e-4
    )


def test_an_empty_matrix_gives_zeros_and_a_seed_decides_the_bits():
    for shape in ((0, 5), (5, 0), (4, 3)):
        found = strongest_directions(sparse(np.zeros(shape)), 7, np.random.default_rng(0))
        assert found.shape == (shape[0], 7) and not found.any()
    matrix = sparse(planted(40, 50, np.ones(30)))
    one, two, three = (
        strongest_directions(matrix, 5, np.random.default_rng(seed)).tobytes() for seed in (1, 1, 2)
    )
    assert one == two != three


@pytest.mark.parametrize("width", [4, 6, 9])
def test_a_planted_rotation_is_undone_also_where_widths_differ(width):
    """The space holds what the table holds, turned, moved and of other lengths."""
    rng = np.random.default_rng(2)
    inner = min(width, 6)
    table = np.zeros((80, 6))
    table[:, :inner] = rng.standard_normal((80, inner))
    table = unit(table)
    turn, _ = np.linalg.qr(rng.standard_normal((width, width)))
    space = np.pad(table[:, :inner], ((0, 0), (0, width - inner))) @ turn
    space *= rng.uniform(0.5, 2, (80, 1))
    back = rotated(space.astype(np.float32), slice(0, 60), table[:60])
    assert back.shape == (80, 6)
    assert np.einsum("ij,ij->i", unit(back), table)[60:].min() > 0.99


def test_the_rotation_keeps_angles_and_lands_on_the_mean_of_the_table():
    rng = np.random.default_rng(3)
    space = unit(rng.standard_normal((50, 5)))
    target = unit(rng.standard_normal((40, 5)) + 2)
    shared = slice(5, 45)
    back = rotated(space, shared, target) - target.mean(0)
    centred = unit(space - space[shared].mean(0))
    np.testing.assert_allclose(back @ back.T, centred @ centred.T, atol=1e-5)


def test_words_outside_the_shared_ones_do_not_move_the_others():
    rng = np.random.default_rng(4)
    space, target = rng.standard_normal((50, 5), np.float32), unit(rng.standard_normal((30, 5)))
    spoiled = space.copy()
    spoiled[30:] = 100
    one, two = (rotated(each, slice(0, 30), target)[:30] for each in (space, spoiled))
    assert one.tobytes() == two.tobytes()
