"""The smallest example finds what it should find."""

from __future__ import annotations

import numpy as np
import pytest

from rowtune import engines, six_items
from rowtune.errors import RowtuneError


def plain_loop(problem):
    """The blog's program as written: one pair, one subtraction, no library."""
    items = problem.start.copy()
    losses, places = [], [items.copy()]
    for i, ((a, b), label) in enumerate(zip(problem.pairs, problem.labels, strict=True), start=1):
        miss = items[a] @ items[b] - label
        losses.append(abs(miss))
        step = np.zeros_like(items)
        step[a] += np.sign(miss) * items[b]
        step[b] += np.sign(miss) * items[a]
        items -= 0.01 * step
        if i % 100 == 0:
            places.append(items.copy())
    return np.array(places), np.array(losses)


@pytest.mark.parametrize("dim", [2, 3])
def test_the_trajectory_is_that_of_a_plain_loop(dim):
    problem = six_items.Problem.draw(dim, 2000, seed=3)
    run = engines.run_six_items(problem, "numpy")
    places, losses = plain_loop(problem)
    assert run.trajectory.shape == (21, 6, dim)
    np.testing.assert_allclose(run.trajectory, places, atol=1e-9)
    np.testing.assert_allclose(run.losses, losses, atol=1e-9)


def test_in_the_plane_one_pair_ends_at_the_origin():
    for seed in range(3):
        run = engines.run_six_items(six_items.Problem.draw(2, 10_000, seed))
        norms = np.sort(np.linalg.norm(run.trajectory[-1], axis=1))
        assert (norms[:2] < 0.1).all()
        assert (abs(norms[2:] - 1) < 0.1).all()
        assert run.final_loss > 0.05


def test_in_space_all_three_pairs_find_room():
    run = engines.run_six_items(six_items.Problem.draw(3, 40_000, 0))
    last = run.trajectory[-1]
    assert run.final_loss < 0.02
    np.testing.assert_allclose(last @ last.T, np.kron(np.eye(3), np.ones((2, 2))), atol=0.1)


def test_its_facts_for_json():
    run = engines.run_six_items(six_items.Problem.draw(2, 1050, 1))
    facts = run.as_dict()
    assert facts["engine"] == "numpy"
    assert facts["dim"] == 2
    assert facts["final_loss"] == run.losses[-1000:].mean()
    assert np.shape(facts["trajectory"]) == (11, 6, 2)
    by_snapshot = run.losses_by_snapshot()
    assert np.isnan(by_snapshot[0])
    assert by_snapshot[10] == run.losses[900:1000].mean()


def test_an_engine_that_is_not_there():
    with pytest.raises(RowtuneError, match="no engine 'theano'; expected one of numpy"):
        engines.run_six_items(six_items.Problem.draw(), "theano")
    with pytest.raises(RowtuneError, match="dim is 0"):
        six_items.Problem.draw(0)
