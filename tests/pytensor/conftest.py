"""Compiled code of PyTensor stays in pytest's own cache, and a step of any rule is one fixture."""

from __future__ import annotations

import os
from importlib.metadata import version

import pytest


def pytest_configure(config):
    """Before anything imports PyTensor, which makes its folder then."""
    folder = config.cache.mkdir(f"pytensor-{version('pytensor')}-numba-{version('numba')}")
    os.environ["PYTENSOR_FLAGS"] = f"base_compiledir={folder}"


@pytest.fixture
def stepper():
    """Compile ``step(ids, grads)``: the cost is sum(rows * grads), so ``grads`` is its gradient."""
    import pytensor
    import pytensor.tensor as pt

    import rowtune.pytensor as rp

    def compiled(table, rule, ndim=1, mode="FAST_COMPILE", inputs=(), **hyper):
        ids = pt.tensor("ids", dtype="int64", shape=(None,) * ndim)
        grads = pt.tensor("grads", dtype=table.dtype.name, shape=(None,) * (ndim + 1))
        rows = table[ids]
        updates = rp.updates(pt.sum(rows * grads), rows, rule, **hyper)
        return pytensor.function([ids, grads, *inputs], rows, updates=updates, mode=mode)

    return compiled
