"""A small table."""

from __future__ import annotations

import numpy as np
import pytest

import rowtune
from judged_texts import KNOWN


@pytest.fixture
def vectors():
    rows = np.random.default_rng(0).standard_normal((len(KNOWN), 8)).astype(np.float32)
    return rowtune.Vectors(KNOWN, rows)
