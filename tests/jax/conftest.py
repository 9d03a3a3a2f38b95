"""JAX on the CPU, whatever else there is; float64 where a test asks for it."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """The dtype's name; float64 is on for one test, and no user's setting is changed."""
    import jax

    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def x64():
    import jax

    with jax.enable_x64(True):
        yield
