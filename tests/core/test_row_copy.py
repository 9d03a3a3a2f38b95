"""The copy of a row by ``memcpy``: every bit of it, and nothing beside it."""

import numba
import numpy as np
import pytest

from rowtune.kernels.row_copy import copy_row


@numba.njit
def copied(source, row, target, place):
    copy_row(source, np.int64(row), target, np.int64(place))


@pytest.mark.parametrize("kind", ["i2", "i4", "i8"])
@pytest.mark.parametrize("width", [0, 1, 3, 64])
def test_one_row_is_copied_and_its_neighbours_stay(kind, width):
    source = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, (5, width)).astype(kind)
    target = np.full((4, width), 7, kind)
    copied(source, 3, target, 2)
    assert (target[2] == source[3]).all() and (np.delete(target, 2, axis=0) == 7).all()


def test_read_only_rows_and_matrices_of_one_row_with_any_stride():
    source = np.arange(6, dtype=np.int32)[None]
    source.flags.writeable = False
    target = np.lib.stride_tricks.as_strided(np.zeros(6, np.int32), (1, 6), (0, 4))
    copied(source, 0, target, 0)
    assert (target == source).all()


def test_rows_that_are_not_in_one_piece_or_of_two_dtypes_are_refused():
    with pytest.raises(numba.TypingError, match="C-contiguous"):
        copied(np.zeros((4, 6))[:, ::2], 0, np.zeros((4, 3)), 0)
    with pytest.raises(numba.TypingError, match="of one dtype"):
        copied(np.zeros((4, 6), np.int32), 0, np.zeros((4, 6), np.int64), 0)
