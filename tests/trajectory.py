"""What a run of the six items has to be on any engine: that of the NumPy engine."""

from __future__ import annotations

import numpy as np

from rowtune import six_items


def assert_is_numpys(run: six_items.Run, problem: six_items.Problem, engine: str) -> None:
    """``run`` is by ``engine``, of 2,000 steps, and equals NumPy's to 1e-9 throughout."""
    reference = six_items.run_numpy(problem)
    assert run.engine == engine
    assert run.trajectory.shape == (21, *problem.start.shape)
    assert run.trajectory.dtype == np.float64
    np.testing.assert_allclose(run.trajectory, reference.trajectory, rtol=0, atol=1e-9)
    np.testing.assert_allclose(run.losses, reference.losses, rtol=0, atol=1e-9)
    assert abs(run.trajectory[-1] - run.trajectory[0]).max() > 0.5, "it has learned something"
