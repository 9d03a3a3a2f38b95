"""Rows in one place and words in another: .npz, the projector, gensim's side files, `words=`."""

from __future__ import annotations

import gzip
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from rowtune.errors import FormatError
from rowtune.vectors import Vectors, extend_file, load, save, verify
from rowtune.vectors.opening import MissingFileError
from vectors.reader_seeds import ROWS, WORDS, archive, fasttext, npy, npz, text, values

LISTING = "".join(word + "\n" for word in WORDS)
TABLE = Vectors(WORDS, ROWS)


def same(v: Vectors) -> bool:
    return list(v.words) == WORDS and v.matrix.tobytes() == ROWS.tobytes()


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", matrix=ROWS, words=np.array(WORDS), note=np.array(3))
    assert same(load(tmp_path / "v.npz"))
    (tmp_path / "w").write_bytes(npz(a=np.array([w.encode() for w in WORDS]), b=ROWS.astype(">f4")))
    assert same(load(tmp_path / "w")) and load(tmp_path / "w").matrix.dtype.isnative


NPZ = {
    "objects": (npz(m=ROWS), None),
    "no words": (npz(m=ROWS), "expected one 2-D array of floats and one 1-D array of strings"),
    "two": (npz(a=ROWS, b=ROWS, w=np.array(WORDS)), r"got a \(6, 3\) float32, b"),
    "fewer": (npz(m=ROWS, w=np.array(WORDS[1:])), "5 words in 'w' for the 6 rows of 'm'"),
    "flat": (npz(m=ROWS[:, :0], w=np.array(WORDS)), "expected one 2-D array of floats"),
    "no array": (archive({"m.npy": b"x" * 20, "w.npy": npy(ROWS)}), "v.npz:m.npy: the .npy file"),
    "cut": (npz(m=ROWS, w=np.array(WORDS))[:-9], "zip archive is damaged"),
}


@pytest.mark.parametrize("kind", NPZ)
def test_damaged_npz(tmp_path: Path, kind: str) -> None:
    data, message = NPZ[kind]
    path = tmp_path / "v.npz"
    path.write_bytes(data)
    if message is None:
        message = "a pickle, which runs code"
        np.savez(path, allow_pickle=True, m=ROWS, w=np.array(WORDS, object))
    with pytest.raises(FormatError, match=message):
        load(path)


HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HUGE % b"1000000000000, 3", "needs 12,000,000,000,000 bytes, but 72 follow"),
        (HUGE % b"0, 4611686018427387904, 4", "damaged or cut short"),
        (HUGE % b"-1, 3", r"shape \(-1, 3\)"),
        (HUGE % (b"(" * 5000), "cannot be understood"),
        (HUGE % b"6, 3, '", "cannot be understood"),
        (HUGE % (b"-" * 8000 + b"6, 3"), "cannot be understood"),
        (HUGE[:-4] % b"6, 3", "cannot be understood"),
        (HUGE.replace(b"<f4", b"<O8x") % b"6, 3", "cannot be understood"),
        (HUGE.replace(b"<f4", b"|O") % b"6, 3", "a pickle, which runs code"),
    ],
)
def test_npy_headers_are_believed_only_if_the_bytes_are_there(
    tmp_path: Path, header: bytes, message: str
) -> None:
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "v.npy").write_bytes(head + ROWS.tobytes())
    with pytest.raises(FormatError, match=message):
        load(tmp_path / "v.npy", words=_listing(tmp_path))


def test_npy_of_every_version_order_and_packing(tmp_path: Path) -> None:
    words = _listing(tmp_path)
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / "v.npy").open("wb") as file:
            np.lib.format.write_array(file, np.asfortranarray(ROWS), version)
        assert same(load(tmp_path / "v.npy", words=words))
    (tmp_path / "v.npy.gz").write_bytes(gzip.compress(npy(ROWS)))
    assert same(load(tmp_path / "v.npy.gz", words=words))


def _listing(folder: Path) -> Path:
    (folder / "list.txt").write_text(LISTING, encoding="utf-8")
    return folder / "list.txt"


def test_words_that_are_given(tmp_path: Path) -> None:
    words = _listing(tmp_path)
    np.save(tmp_path / "rows.npy", ROWS)
    assert same(load(tmp_path / "rows.npy", words=words))
    (tmp_path / "rows.words.txt").write_text("a\n" * 6)
    assert same(load(tmp_path / "rows.npy", words=words))
    with pytest.raises(MissingFileError, match=r"none.txt: no such file; expected the words of"):
        load(tmp_path / "rows.npy", words=tmp_path / "none.txt")
    (tmp_path / "v.txt").write_bytes(text())
    with pytest.raises(FormatError, match=r"v.txt: has words of its own"):
        load(tmp_path / "v.txt", words=words)


@pytest.mark.parametrize("side", ["vectors", "wv.vectors", "syn0", "wv.syn0"])
def test_rows_that_gensim_kept_beside_a_pickle(tmp_path: Path, side: str) -> None:
    (tmp_path / "X.kv").write_bytes(pickle.dumps({"vectors": None}, 4))
    np.save(tmp_path / f"X.kv.{side}.npy", ROWS)
    for name in ("X.kv", f"X.kv.{side}.npy"):
        with pytest.raises(FormatError, match=f"X.kv.{side}.words.txt beside it"):
            load(tmp_path / name)
        assert same(load(tmp_path / name, words=_listing(tmp_path)))
    (tmp_path / f"X.kv.{side}.words.txt").write_text(LISTING, encoding="utf-8")
    assert same(load(tmp_path / f"X.kv.{side}.npy")) and same(load(tmp_path / "X.kv"))
    (tmp_path / f"X.kv.{side}.words.txt").rename(tmp_path / "X.kv.words.txt")
    assert same(load(tmp_path / f"X.kv.{side}.npy")) and same(load(tmp_path / "X.kv"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("v.tsv", "v.metadata.tsv"),
        ("vectors.tsv", "metadata.tsv"),
        ("v_tensor.tsv", "v_metadata.tsv"),
    ],
)
def test_the_projector(tmp_path: Path, name: str, words: str) -> None:
    save(TABLE, tmp_path / name)
    assert (tmp_path / words).read_text(encoding="utf-8") == LISTING
    lines = (tmp_path / name).read_text().splitlines()
    assert [[float(x) for x in line.split("\t")] for line in lines] == [
        [float(str(x)) for x in row] for row in ROWS
    ]
    assert same(load(tmp_path / name))
    if name == "vectors.tsv":
        assert same(load(tmp_path))
    columns = "".join(f"{i}\t{word}\n" for i, word in enumerate(WORDS))
    (tmp_path / words).write_text("count\tWord\n" + columns, encoding="utf-8")
    assert same(load(tmp_path / name))


def test_a_projector_table_of_one_value(tmp_path: Path) -> None:
    v = Vectors(["1", "b"], np.array([[0.5], [-0.0]], np.float32))
    save(v, tmp_path / "v.tsv")
    w = load(tmp_path / "v.tsv")
    assert w.words == v.words and w.matrix.tobytes() == v.matrix.tobytes()


PROJECTOR = {
    "short": (values().replace(b"\t", b" ", 1), LISTING, "begins with|line 1"),
    "later": (values() + b"1\t2\n", LISTING, "v.tsv, line 7: 2 values; expected 3: correct"),
    "text": (values() + b"1\tx\t3\n", LISTING, "v.tsv, line 7: b'x' is no number"),
    "empty": (values().replace(b"\n", b"\n\n", 1), LISTING, "line 2: 1 values; expected 3"),
    "fewer words": (values(), "a\n", "1 words for the 6 rows"),
    "columns": (values(), "a\tb\n1\n", r"v.metadata.tsv, line 2: 1 columns; expected 2"),
    "wide": (b"1\t" * 9999 + b"1\n" + b"1\n" * 9999, LISTING, "line 2: 1 values; expected 10000"),
}


@pytest.mark.parametrize("kind", PROJECTOR)
def test_damaged_projector_tables(tmp_path: Path, kind: str) -> None:
    data, words, message = PROJECTOR[kind]
    (tmp_path / "v.tsv").write_bytes(data)
    (tmp_path / "v.metadata.tsv").write_text(words, encoding="utf-8")
    tracemalloc.start()
    with pytest.raises(FormatError, match=message):
        load(tmp_path / "v.tsv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 26  # 10,000 lines of 10,000 values would be 400 MB
    (tmp_path / "v.metadata.tsv").unlink()
    if kind == "columns":
        with pytest.raises(FormatError, match=r"rows without words; expected v.metadata.tsv"):
            load(tmp_path / "v.tsv")


def test_what_the_projector_cannot_hold(tmp_path: Path) -> None:
    for words, message in ((["a\tb"], "word 0, .* has a tab"), (["a\nb"], "has a newline")):
        with pytest.raises(FormatError, match=message):
            save(Vectors(words, ROWS[:1]), tmp_path / "v.tsv")
    with pytest.raises(FormatError, match="no rows, and this format has no header"):
        save(Vectors([], ROWS[:0]), tmp_path / "v.tsv")
    assert not list(tmp_path.iterdir())


def test_text_that_begins_with_numbers_and_tabs_is_text(tmp_path: Path) -> None:
    v = Vectors(["1\t2", "3\t4"], np.ones((2, 1), np.float32))
    save(v, tmp_path / "v.txt")
    assert load(tmp_path / "v.txt").words == v.words
    (tmp_path / "v.vec").write_bytes(b"6\t3\n" + text())
    assert same(load(tmp_path / "v.vec"))


@pytest.mark.parametrize("name", ["v.txt", "v.npz", "v.bin", "vectors.tsv"])
@pytest.mark.parametrize("out", ["o.tsv", "o.vec", "o.bin", "o.npy"])
def test_any_table_is_extended_into_any_format(tmp_path: Path, name: str, out: str) -> None:
    model = np.arange(48, dtype=np.float32).reshape(16, 3)
    files = {
        "v.txt": text(),
        "v.npz": npz(m=ROWS, w=np.array(WORDS)),
        "v.bin": fasttext([word.encode() for word in WORDS], model),
        "vectors.tsv": values(),
    }
    (tmp_path / name).write_bytes(files[name])
    (tmp_path / "metadata.tsv").write_text(LISTING, encoding="utf-8")
    v = load(tmp_path / name)
    extend_file(tmp_path / name, v, ["new"], ROWS[:1] + 1, tmp_path / out)
    w = load(tmp_path / out)
    assert list(w.words) == [*WORDS, "new"] and verify(v, w).ok
    assert (tmp_path / "o.metadata.tsv").is_file() == (out == "o.tsv")
    assert np.array_equal(w["new"], ROWS[0] + 1)
