"""Runs the ranks once: on two processes, and on three."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "placed_cases.py"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where one process, and then the ranks, have left what they ended with."""
    folder = tmp_path_factory.mktemp("placed")
    table = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    table[33] = np.uint32(0xFFC01234).view(np.float32)  # a NaN with a payload, frozen
    table[34] = -0.0
    np.save(folder / "table.npy", table)
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, folder],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=[2, 3], ids=["two ranks", "three ranks"], scope="session")
def ranks(request, folder):
    """What each rank ended with, by case."""
    world = request.param
    found = []
    for rank in range(world):
        path = folder / f"rank {rank} of {world}"
        assert path.exists(), f"rank {rank} of {world} was killed, or died"
        found.append(torch.load(path, weights_only=False))
    return found
