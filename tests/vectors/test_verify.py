"""`verify` sees one flipped bit, wherever it is."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from rowtune.errors import ShapeError
from rowtune.vectors import Vectors, load, save, sha256_of_rows, verify
from rowtune.vectors import verify as verify_function  # the name is the function, not the file

N = 20_000  # more than two runs of rows
WORDS = [f"w{i}" for i in range(N)]
ROWS = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
TABLE = Vectors(WORDS, ROWS)


def reordered(rows: np.ndarray) -> Vectors:
    order = np.random.default_rng(1).permutation(N)
    words = [WORDS[i] for i in order] + ["new"]
    return Vectors(words, np.concatenate([rows[order], ROWS[:1]]))


def in_order(rows: np.ndarray) -> Vectors:
    return Vectors([*WORDS, "new"], np.concatenate([rows, ROWS[:1]]))


@pytest.mark.parametrize("arranged", [in_order, reordered])
def test_the_same_rows_are_the_same(arranged: object) -> None:
    result = verify_function(TABLE, arranged(ROWS))  # type: ignore[operator]
    assert result.ok and result.rows == N and not result.differing and not result.missing
    assert result.sha256_before == result.sha256_after == hashlib.sha256(ROWS).hexdigest()
    assert result.sha256_before == sha256_of_rows(ROWS) == sha256_of_rows(np.asfortranarray(ROWS))


@pytest.mark.parametrize("arranged", [in_order, reordered])
@pytest.mark.parametrize("row", [0, 8191, 8192, N - 1])
@pytest.mark.parametrize("bit", [0, 31])
def test_one_flipped_bit_is_found(arranged: object, row: int, bit: int) -> None:
    rows = ROWS.copy()
    rows.view(np.uint32)[row, 3] ^= np.uint32(1 << bit)
    result = verify_function(TABLE, arranged(rows))  # type: ignore[operator]
    assert not result.ok and [d.word for d in result.differing] == [f"w{row}"]
    gap = abs(float(rows[row, 3]) - float(ROWS[row, 3]))
    assert result.differing[0].max_abs == gap and result.differing[0].row_before == row
    assert result.sha256_before == sha256_of_rows(ROWS) != result.sha256_after


def test_zeros_and_nans_are_compared_as_bits() -> None:
    bits = np.array([[0x7FC00000, 0x80000000]], np.uint32)
    other = np.array([[0x7FC00001, 0x80000000]], np.uint32)
    minus, plus = (np.array([[np.nan, z]], np.float32) for z in (-0.0, 0.0))
    assert verify(Vectors(["a"], bits.view("f4")), Vectors(["a"], bits.view("f4"))).ok
    changed = verify(Vectors(["a"], bits.view("f4")), Vectors(["a"], other.view("f4")))
    assert not changed.ok and np.isnan(changed.differing[0].max_abs)
    assert not verify(Vectors(["a"], minus), Vectors(["a"], plus)).ok
    zero = verify(Vectors(["a"], minus[:, 1:]), Vectors(["a"], plus[:, 1:]))
    assert zero.differing[0].max_abs == 0.0


def test_missing_words_are_named() -> None:
    result = verify(TABLE, Vectors(["x", *WORDS[2:]], np.concatenate([ROWS[:1], ROWS[2:]])))
    assert not result.ok and result.missing == ("w0", "w1") and not result.differing
    assert result.sha256_before == result.sha256_after == sha256_of_rows(ROWS[2:])


def test_duplicates_are_compared_in_the_order_they_occur() -> None:
    rows = ROWS[:4]
    before = Vectors(["a", "b", "a"], rows[:3])
    assert verify(before, Vectors(["b", "a", "a"], rows[[1, 0, 2]])).ok
    swapped = verify(before, Vectors(["b", "a", "a"], rows[[1, 2, 0]]))
    assert [d.row_after for d in swapped.differing] == [1, 2]
    once = verify(before, Vectors(["b", "a", "c"], rows[[1, 0, 2]]))
    assert once.missing == ("a",) and not once.differing


def test_tables_that_cannot_be_compared() -> None:
    with pytest.raises(ShapeError, match="4 x float32 before and 4 x float64 after"):
        verify(TABLE, Vectors(WORDS, ROWS.astype(float)))
    with pytest.raises(ShapeError, match="4 x float32 before and 3 x float32 after"):
        verify(TABLE, Vectors(WORDS, ROWS[:, :3]))


@pytest.mark.parametrize("name", ["o.txt", "o.bin", "o.npy", "o.safetensors"])
def test_one_changed_byte_in_a_file(tmp_path: Path, name: str) -> None:
    save(TABLE, tmp_path / "v.vec")
    save(TABLE, tmp_path / name)
    assert verify(tmp_path / "v.vec", tmp_path / name).ok
    data = bytearray((tmp_path / name).read_bytes())
    if name == "o.txt":
        at = data.index(b"\n", 1000) - 1
        data[at] = ord("1") if data[at] != ord("1") else ord("2")
    else:
        at = data.index(ROWS[1234].tobytes())
        data[at] ^= 1
    (tmp_path / name).write_bytes(data)
    result = verify(tmp_path / "v.vec", tmp_path / name)
    assert not result.ok and len(result.differing) == 1
    if name != "o.txt":
        assert result.differing[0].word == "w1234"


def test_an_empty_table_is_in_every_table() -> None:
    assert verify(Vectors([], ROWS[:0]), TABLE).ok
    assert load is not verify
