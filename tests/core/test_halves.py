"""Every one of the 65,536 codes of both kinds of half precision, as the kernels widen it."""

import numpy as np
import pytest

from rowtune.kernels.widened_bags import sum_widened_bags
from rowtune.kernels.widening import take_bits

CODES = np.arange(1 << 16, dtype=np.uint16).reshape(-1, 64)
IDS, FROZEN = np.arange(len(CODES)), np.full(len(CODES), -1, np.int32)


def expected(are_halves):
    """What NumPy makes of float16; a bfloat16 is the upper half of a float32."""
    if are_halves:
        return CODES.view(np.float16).astype(np.float32).view(np.uint32)
    return CODES.astype(np.uint32) << 16


def looked_up(codes, are_halves):
    out = np.empty(codes.shape, np.uint32)
    take_bits(codes, are_halves, out[:0], IDS[: len(codes)], FROZEN[: len(codes)], out)
    return out


@pytest.mark.parametrize("are_halves", [True, False])
def test_lookups_widen_bit_for_bit(are_halves):
    """Subnormal numbers, both zeros, infinities, quiet and signalling NaN with their payloads."""
    assert (looked_up(CODES, are_halves) == expected(are_halves)).all()


def test_values_are_those_of_the_standard():
    codes = np.array([[0, 0x0001, 0x8001, 0x03FF, 0x8000, 0x0400, 0x3C00, 0x7BFF]], np.uint16)
    values = [0, 2**-24, -(2**-24), 1023 * 2**-24, -0.0, 2**-14, 1, 65504]
    assert (looked_up(codes, True).view(np.float32) == np.array([values], np.float32)).all()


@pytest.mark.parametrize("are_halves", [True, False])
def test_bags_of_one_row_are_that_row(are_halves):
    out = np.empty(CODES.shape, np.float32)
    no_weights, bounds = np.empty(0, np.float32), np.arange(len(CODES) + 1)
    sum_widened_bags(
        CODES, None, are_halves, out[:0], IDS, FROZEN, bounds, no_weights, -1, False, out
    )
    np.testing.assert_array_equal(out, expected(are_halves).view(np.float32))
