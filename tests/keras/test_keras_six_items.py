"""The six items on Keras, on the backend of this process."""

from __future__ import annotations

import keras
from trajectory import assert_is_numpys

from rowtune import engines, six_items


def test_the_trajectory_is_numpys():
    problem = six_items.Problem.draw(3, 2_000, seed=1)
    assert_is_numpys(engines.run_six_items(problem, "keras"), problem, "keras")
    assert keras.config.floatx() == "float32", "as it was before"
