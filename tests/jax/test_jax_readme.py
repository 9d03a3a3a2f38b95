"""The README's lines for JAX."""

from __future__ import annotations

import numpy as np
from readme import engine_code

import rowtune.jax as rj


def test_the_code_of_the_readme_runs():
    names = {}
    exec(engine_code("jax"), names)
    rows = np.asarray(rj.merge(names["table"]))
    assert (np.delete(rows, 3, axis=0) == 1).all()
    np.testing.assert_allclose(rows[3], 1 - 1e-3, rtol=1e-6)
    assert names["value"] == 100
