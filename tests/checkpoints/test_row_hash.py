"""The hash of a row is the formula, over every bit, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import rowtune
from rowtune.kernels import row_hash
from rowtune.kernels.row_hash import RowHash

KINDS = [("f4", 6), ("f2", 3), ("i4", 1), ("f8", 2), ("u1", 5), ("f4", 0)]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (50, np.dtype(kind).itemsize * width), np.uint8)
        .view(kind)
        .reshape(50, width)
        for kind, width in KINDS
        if width
    ] + [np.empty((50, 0), "f4")]


def make(arrays):
    return RowHash([array[:1].nbytes for array in arrays])


def test_it_is_the_formula(arrays):
    own = make(arrays)
    keys = [(int(high) << 64) | int(low) for low, high in own._keys]
    for row, found in enumerate(own(arrays).tolist()):
        words = []
        for array in arrays:
            width = array[:1].nbytes
            unit = next(u for u in (8, 4, 2, 1) if width % u == 0)
            words += np.frombuffer(array[row].tobytes(), f"u{unit}").tolist()
        total = keys[0] + sum(k * word for k, word in zip(keys[1:], words, strict=False))
        assert found == (total % 2**128) >> 64


def test_every_bit_counts(arrays):
    own = make(arrays)
    before = own(arrays)
    for array in arrays[:-1]:
        bits = array.view(np.uint8)
        for byte in range(bits.shape[1]):
            for bit in range(8):
                row = (byte * 8 + bit) % 50
                bits[row, byte] ^= 1 << bit
                assert np.flatnonzero(own(arrays) != before).tolist() == [row]
                bits[row, byte] ^= 1 << bit


def test_negative_zero_and_the_payload_of_a_nan_count():
    rows = np.zeros((4, 2), np.float32)
    own = make([rows])
    before = own([rows])
    rows[1, 0] = -0.0
    rows[2, 1] = np.nan
    quiet = own([rows])
    rows.view(np.uint32)[2, 1] ^= 1
    assert (quiet != before).tolist() == [False, True, True, False]
    assert (own([rows]) != quiet).tolist() == [False, False, True, False]


def test_keys_are_nobody_elses_and_hashes_spread(arrays):
    one, other = make(arrays)(arrays), make(arrays)(arrays)
    assert (one != other).all()
    zeros = make([np.zeros((5000, 4))])([np.arange(20_000.0).reshape(5000, 4)])
    assert len(np.unique(zeros)) == 5000
    assert 0.45 < np.mean([bin(int(h)).count("1") for h in zeros]) / 64 < 0.55


def test_threads_chunks_and_memory_layout_change_nothing(arrays, monkeypatch):
    own = make(arrays)
    before, threads = own(arrays), rowtune.get_num_threads()
    monkeypatch.setattr(row_hash, "_BYTES_PER_CHUNK", 200)
    try:
        rowtune.set_num_threads(3)
        assert (own(arrays) == before).all()
    finally:
        rowtune.set_num_threads(threads)
    spread = [np.asfortranarray(array) for array in arrays]
    assert (own(spread) == before).all()


def test_rows_of_megabytes_have_keys_enough(monkeypatch):
    rows = np.zeros((3, 1 << 18), np.float64)
    own = make([rows])
    before = own([rows])
    rows[1, -1] = 1
    assert (own([rows]) != before).tolist() == [False, True, False]
