"""The freeze proof: known rows have the same bytes before learning and in the assembled table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.result import FreezeProof
from rowtune.vectors import sha256_of_rows

Matrix = NDArray[np.floating[Any]]


def assemble(matrix: Matrix, rows: Matrix) -> Matrix:
    """The table with the new rows behind the old ones, as `rowtune.save` would get it."""
    return np.concatenate([matrix, rows.astype(matrix.dtype)])


def prove(before: str, assembled: Matrix, known_rows: int) -> FreezeProof:
    """Hash the known rows where they now stand and put it beside the hash taken before."""
    return FreezeProof(known_rows, before, sha256_of_rows(assembled[:known_rows]))
