"""Extending a file: the old rows first, byte for byte."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from rowtune.errors import FormatError, ShapeError
from rowtune.vectors import Vectors, extend_file, load, save, verify

NEW = np.array([[0.1, -0.0], [1e-5, 2]])
NEW_TEXT = b"neu 0.1 -0\nr\xc3\xa9 0.00001 2\n"


def extended(folder: Path, source: str, data: bytes, out: str) -> bytes:
    (folder / source).write_bytes(data)
    v = load(folder / source)
    extend_file(folder / source, v, ["neu", "ré"], NEW, folder / out)
    w = load(folder / out)
    result = verify(v, w)
    assert result.ok and result.rows == len(v)
    assert list(w.words)[len(v) :] == ["neu", "ré"]
    assert w.matrix[len(v) :].tobytes() == NEW.astype(v.matrix.dtype).tobytes()
    return (folder / out).read_bytes()


ODD = b'a 0.10 2e0\n. . 3 -0.0\n"\xff 5 nan\na 1 1'  # digits that no writer of ours would choose


@pytest.mark.parametrize(
    ("source", "data", "out", "expected"),
    [
        ("v.txt", ODD, "o.txt", ODD + b"\n" + NEW_TEXT),
        ("v.txt", ODD + b"\n\n", "o.txt", ODD + b"\n" + NEW_TEXT),
        ("v.vec", b"4 2\n" + ODD, "o.vec", b"6 2\n" + ODD + b"\n" + NEW_TEXT),
        ("v.txt", ODD, "o.w2v.txt", b"6 2\n" + ODD + b"\n" + NEW_TEXT),
        ("v.vec", b"4 2\n" + ODD, "o.txt", ODD + b"\n" + NEW_TEXT),
        ("v.txt", b"4 2\n" + ODD, "o.txt", ODD + b"\n" + NEW_TEXT),
        ("v.vec", b"1 2\na 1 2 \n", "o.vec", b"3 2\na 1 2 \n" + NEW_TEXT.replace(b"\n", b" \n")),
        ("v.txt", b"a 1 2\r\n", "o.txt", b"a 1 2\r\n" + NEW_TEXT.replace(b"\n", b"\r\n")),
        ("v.txt.gz", gzip.compress(ODD), "o.txt", ODD + b"\n" + NEW_TEXT),
        ("v.vec", b"0 2\n", "o.vec", b"2 2\n" + NEW_TEXT),
    ],
    ids=[
        "GloVe",
        "blank lines at the end",
        "word2vec",
        "header added",
        "header dropped",
        "header in a .txt",
        "fastText",
        "Windows",
        "gzipped",
        "no rows",
    ],
)
def test_text_lines_are_copied_verbatim(
    tmp_path: Path, source: str, data: bytes, out: str, expected: bytes
) -> None:
    assert extended(tmp_path, source, data, out) == expected


def test_gzipped_out_holds_the_lines_verbatim(tmp_path: Path) -> None:
    packed = extended(tmp_path, "v.txt", ODD, "o.txt.gz")
    assert gzip.decompress(packed) == ODD + b"\n" + NEW_TEXT


@pytest.mark.parametrize("between", [b"", b"\n"])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_binary_rows_are_copied_verbatim(tmp_path: Path, between: bytes, last: bytes) -> None:
    nan = np.array([0x7FC12345, 0xFF800001], "<u4").tobytes()
    first, second = b"a " + np.array([1, -0.0], "<f4").tobytes(), b"\xfe " + nan
    out = extended(tmp_path, "v.bin", b"2 2\n" + first + between + second + last, "o.bin")
    new = NEW.astype("<f4")
    tail = between + b"neu " + new[0].tobytes() + between + "ré ".encode() + new[1].tobytes()
    assert out == b"4 2\n" + first + between + second + tail + between


@pytest.mark.parametrize("out", ["o.txt", "o.vec", "o.bin", "o.npy", "o.safetensors"])
@pytest.mark.parametrize("source", ["v.txt", "v.vec", "v.bin", "v.npy", "v.safetensors"])
def test_every_pair_keeps_the_bits(tmp_path: Path, source: str, out: str) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    rows[:2] = [[-0.0, np.nan], [np.inf, 1e-45]]
    save(Vectors([f"w{i}" for i in range(300)], rows), tmp_path / source)
    extended(tmp_path, source, (tmp_path / source).read_bytes(), out)


@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_the_table_decides_the_dtype(tmp_path: Path, dtype: str) -> None:
    save(Vectors(["a"], np.array([[0.1, 1e-3]], dtype)), tmp_path / "v.npy")
    v = load(tmp_path / "v.npy")
    extend_file(tmp_path / "v.npy", v, ["neu"], NEW[:1], tmp_path / "o.safetensors")
    w = load(tmp_path / "o.safetensors")
    assert w.matrix.dtype == np.dtype(dtype) and verify(v, w).ok
    for out in ("o.txt", "o.bin"):
        with pytest.raises(FormatError, match=r"read as float32; write .npy or .safetensors"):
            extend_file(tmp_path / "v.npy", v, ["neu"], NEW[:1], tmp_path / out)


def test_out_may_be_the_source(tmp_path: Path) -> None:
    out = extended(tmp_path, "v.txt", b"a 1 2\n", "v.txt")
    assert out == b"a 1 2\n" + NEW_TEXT


def test_nothing_new_is_a_copy(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(ODD)
    extend_file(tmp_path / "v.txt", load(tmp_path / "v.txt"), [], [], tmp_path / "o.txt")
    assert (tmp_path / "o.txt").read_bytes() == ODD + b"\n"


@pytest.mark.parametrize(
    ("words", "rows", "out", "message"),
    [
        (["a b"], NEW[:1], "o.txt", "b'a b' is empty or has a blank"),
        (["a\nb"], NEW[:1], "o.vec", "is empty or has a blank"),
        (["a\tb"], NEW[:1], "o.bin", "is empty or has a blank"),
        ([""], NEW[:1], "o.bin", "is empty or has a blank"),
        (["a\nb"], NEW[:1], "o.npy", "is empty or has a blank"),
        (["known"], NEW[:1], "o.txt", "'known' and 0 more of the new words are in the table"),
        (["x", "x"], NEW, "o.txt", "'x' comes twice"),
        (["x"], NEW, "o.txt", r"shape \(2, 2\) for 1 new words"),
        (["x"], NEW[0], "o.txt", r"shape \(2,\) for 1 new words"),
        (["x"], NEW[:1], "o.csv", "says no format"),
    ],
)
def test_what_cannot_be_added(
    tmp_path: Path, words: list[str], rows: np.ndarray, out: str, message: str
) -> None:
    (tmp_path / "v.txt").write_bytes(b"known 1 2\nother 3 4\n")
    v = load(tmp_path / "v.txt", cache=False)
    with pytest.raises((FormatError, ShapeError), match=message):
        extend_file(tmp_path / "v.txt", v, words, rows, tmp_path / out)
    assert [p.name for p in tmp_path.iterdir()] == ["v.txt"]


def test_a_source_that_changed_since_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(b"known 1 2\nother 3 4\n")
    v = load(tmp_path / "v.txt")
    (tmp_path / "v.txt").write_bytes(b"known 1 2\n")
    with pytest.raises(FormatError, match=r"1 rows of 2 values, but .* has 2 of 2; the file has c"):
        extend_file(tmp_path / "v.txt", v, ["x"], NEW[:1], tmp_path / "o.txt")
