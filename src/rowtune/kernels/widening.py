"""Rows of a base in fewer bits, widened to float32 on their way from there to where they go."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.gather import in_chunks, taking
from rowtune.kernels.halves import bits_of_bfloat16, bits_of_float16
from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.reach import reach


def take_scaled(
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    block: NDArray[np.float32],
    ids: NDArray[Any],
    slots: NDArray[np.int32],
    out: NDArray[np.float32],
) -> None:
    """``out[i]`` = row ``slots[i]`` of the block, or the codes times the scale of ``ids[i]``."""

    def take(begin: int, end: int) -> None:
        _take_scaled(codes, scales, block, ids, slots, out, begin, end)

    in_chunks(take, out, reach(codes, scales))


def take_bits(
    codes: NDArray[np.uint16],
    are_halves: bool,
    block: NDArray[np.uint32],
    ids: NDArray[Any],
    slots: NDArray[np.int32],
    out: NDArray[np.uint32],
) -> None:
    """The same of float16 or bfloat16, all as bits; those of bfloat16 are a float32's upper ones.

    NaN payloads arrive as NumPy widens them.
    """

    kernel = _take_float16 if are_halves else _take_bfloat16

    def take(begin: int, end: int) -> None:
        kernel(codes, None, block, ids, slots, out, begin, end)

    in_chunks(take, out, reach(codes))


@numba.njit(nogil=True)
def ask_scaled(codes: Any, scales: Any, row: int) -> None:
    """Ask for a row and its scale, which lies far from it."""
    prefetch_row(codes, row)
    prefetch_row(scales, row)


@numba.njit(nogil=True)
def ask_bits(codes: Any, more: Any, row: int) -> None:  # noqa: ARG001
    """Ask for a row that has no scale."""
    prefetch_row(codes, row)


@numba.njit(nogil=True)
def _put_scaled(codes: Any, scales: Any, row: int, out: Any, place: int) -> None:
    factor = scales[row]
    for j in range(out.shape[1]):
        out[place, j] = np.float32(codes[row, j]) * factor


@numba.njit(nogil=True)
def _put_float16(codes: Any, nothing: Any, row: int, out: Any, place: int) -> None:  # noqa: ARG001
    for j in range(out.shape[1]):
        out[place, j] = bits_of_float16(codes[row, j])


@numba.njit(nogil=True)
def _put_bfloat16(codes: Any, nothing: Any, row: int, out: Any, place: int) -> None:  # noqa: ARG001
    for j in range(out.shape[1]):
        out[place, j] = bits_of_bfloat16(codes[row, j])


_take_scaled = taking(_put_scaled, ask_scaled)
_take_float16 = taking(_put_float16, ask_bits)
_take_bfloat16 = taking(_put_bfloat16, ask_bits)
