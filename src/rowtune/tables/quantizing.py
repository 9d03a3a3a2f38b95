"""`quantize` from a table, wherever it is, into memory or into a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune import quantized
from rowtune.quantized import Quantized
from rowtune.tables.mapped_pages import forget, in_order
from rowtune.tables.opening import open_table
from rowtune.tables.saving import Piece, Progress, layout, write


def quantize(
    weights: NDArray[Any],
    kind: str = "int8",
    *,
    into: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """A table in fewer bits, made by pieces: a memory map is never in memory whole.

    ``"int8"`` keeps max |row| / 127 as the scale of each row, and rounds to the nearest code
    (symmetric absmax quantization by row: Dettmers et al., "LLM.int8()", NeurIPS 2022, section
    2.1): a value is off by at most half of its row's scale, 0.4 % of the row's largest.
    ``"float16"`` and ``"bfloat16"`` round to the nearest, ties to even.

    Parameters
    ----------
    weights : N x D floats, in memory or from `open_table`
    kind : "int8", "float16" or "bfloat16"
    into : path of a ``.safetensors`` file, optional
        Write codes and scales there as they are made, and open that: whatever the size, it takes
        some 100 MB of memory. The file appears whole or not at all.
    progress : callable of (stage, rows done, rows in all), optional

    Raises
    ------
    ShapeError
        Not a matrix of floats, or an unknown kind.
    NonFiniteError
        With int8, a row that holds NaN or infinity; with the others, a number that would become
        infinite.
    FormatError, OSError
        ``into`` has another ending, or cannot be written; an older file of that name is kept.
    """
    if into is None:
        with in_order(weights):
            return quantized.quantize(weights, kind, progress=progress)
    codes = quantized.check(weights, kind)
    shape = (int(weights.shape[0]), int(weights.shape[1]))
    where = layout(into, shape, np.dtype(codes), kind)
    with in_order(weights):
        write(into, where, _pieces(weights, kind), len(weights), progress)
    opened = open_table(into)
    assert isinstance(opened, Quantized)
    return opened


def _pieces(weights: NDArray[Any], kind: str) -> Iterator[Piece]:
    for piece, codes, scales in quantized.narrowed(weights, kind):
        yield piece.start, codes, scales
        forget(weights)
