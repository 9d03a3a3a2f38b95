"""By how much a process grows: for tests of tables that are larger than any memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# 20 GB of zeros that take no place on the disk.
N, D = 20_000_000, 256
BASES = f"""
import os
import numpy as np
from rowtune.quantized import Quantized

N, D = {N}, {D}


def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1000


def base(kind, path):
    rows = N if kind == "float32" else 2 * N if kind == "bfloat16" else 4 * N
    dtype = {{"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}}[kind]
    codes = np.memmap(path, dtype, "r", shape=(rows, D))
    if kind == "float32":
        return codes
    scales = np.memmap(path, np.float32, "r", shape=(rows,)) if kind == "int8" else None
    return Quantized(codes, scales)


rng = np.random.default_rng(0)
"""


def of(program, folder, seconds=200, **environment):
    """What a program prints, with ``base(kind, PATH)`` of 20 GB and ``resident()`` in MB."""
    path = Path(folder, "large.bin")
    path.touch()
    os.truncate(path, N * D * 4)
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"PATH = {str(path)!r}\n{BASES}\n{program}"],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
    finally:
        path.unlink()
    assert done.returncode == 0, done.stderr
    return done.stdout
