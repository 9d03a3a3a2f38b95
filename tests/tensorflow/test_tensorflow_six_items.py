"""Six items on TensorFlow: the trajectory of the NumPy engine."""

from __future__ import annotations

import numpy as np
import pytest
from trajectory import assert_is_numpys

from rowtune import six_items
from rowtune.tensorflow.six_items import run


@pytest.mark.parametrize(("dim", "seed"), [(2, 0), (3, 2)])
def test_the_trajectory_is_that_of_the_numpy_engine(dim, seed):
    problem = six_items.Problem.draw(dim, 2000, seed)
    assert_is_numpys(run(problem), problem, "tensorflow")


def test_the_problem_stays_as_it_was_drawn():
    problem, twin = (six_items.Problem.draw(2, 150, seed=4) for _ in range(2))
    found = run(problem)
    assert problem.start.tobytes() == twin.start.tobytes() == found.trajectory[0].tobytes()
    assert len(np.unique(found.trajectory, axis=0)) == 2, "snapshots are not the same memory"


@pytest.mark.parametrize("steps", [0, 1, 350])
def test_progress_is_told_as_the_numpy_engine_tells_it(steps):
    def told_by(engine):
        told = []
        found = engine(six_items.Problem.draw(2, steps), lambda *all: told.append(all))
        return told, found.losses.shape, found.trajectory.shape

    assert told_by(run) == told_by(six_items.run_numpy)
