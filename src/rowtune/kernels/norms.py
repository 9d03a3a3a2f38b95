"""Norms of rows, and rows made shorter: what clipping and max-norm are.

Squares are summed in float64, so that float32 rows of any length have a norm.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.row_sum import LANES, row_sum
from rowtune.kernels.threads import for_each_chunk

_BYTES_PER_CHUNK = 1 << 20


def shorten_rows(rows: NDArray[Any], places: NDArray[Any], most: float) -> None:
    """Scale each of ``rows[places]`` that is longer than ``most`` to that norm, in place."""
    _in_chunks(rows, len(places), lambda begin, end: _shorten(rows, places, most, begin, end))


def shorten_together(rows: NDArray[Any], most: float) -> None:
    """Scale all of ``rows`` (u, D) by one factor, to the norm ``most`` where theirs is above it."""
    norms = np.empty(len(rows))
    _in_chunks(rows, len(rows), lambda begin, end: _norms(rows, norms, begin, end))
    largest = norms.max(initial=0.0)
    if not 0 < largest < math.inf:
        return
    total = largest * math.sqrt(np.square(norms / largest).sum())
    if total > most:
        factor = most / total
        _in_chunks(rows, len(rows), lambda begin, end: _scale(rows, factor, begin, end))


def _in_chunks(rows: NDArray[Any], count: int, work: Any) -> None:
    per_chunk = max(1, _BYTES_PER_CHUNK // max(1, rows[:1].nbytes))
    for_each_chunk(
        lambda chunk: work(chunk * per_chunk, min((chunk + 1) * per_chunk, count)),
        -(-count // per_chunk),
    )


@numba.njit(nogil=True, error_model="numpy")
def _memory_of_squares(width: Any) -> Any:
    return np.zeros(-(-width // LANES) * LANES)  # zeros past the width, up to whole lanes


@numba.njit(nogil=True, error_model="numpy")
def _norm(row: Any, squares: Any) -> Any:
    for j in range(row.shape[0]):
        squares[j] = np.float64(row[j]) * np.float64(row[j])
    total = row_sum(squares)
    if total < math.inf:
        return math.sqrt(total)
    largest = 0.0  # float64 rows whose squares overflow
    for j in range(row.shape[0]):
        largest = max(largest, abs(np.float64(row[j])))
    for j in range(row.shape[0]):
        squares[j] = (np.float64(row[j]) / largest) ** 2
    return largest * math.sqrt(row_sum(squares))


@numba.njit(nogil=True, error_model="numpy")
def _shorten(rows: Any, places: Any, most: float, begin: int, end: int) -> None:
    squares = _memory_of_squares(rows.shape[1])
    for i in range(begin, end):
        row = rows[places[i]]
        norm = _norm(row, squares)
        if norm > most:
            for j in range(row.shape[0]):
                row[j] = row[j] * (most / norm)


@numba.njit(nogil=True, error_model="numpy")
def _norms(rows: Any, norms: Any, begin: int, end: int) -> None:
    squares = _memory_of_squares(rows.shape[1])
    for i in range(begin, end):
        norms[i] = _norm(rows[i], squares)


@numba.njit(nogil=True, error_model="numpy")
def _scale(rows: Any, factor: float, begin: int, end: int) -> None:
    for i in range(begin, end):
        for j in range(rows.shape[1]):
            rows[i, j] = rows[i, j] * factor
