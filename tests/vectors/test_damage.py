"""Each kind of damage has its own message; nothing unsafe is opened; nothing is half written."""

import bz2
import gzip
import json
import lzma
import pickle
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy

from rowtune.errors import FormatError
from rowtune.vectors import Vectors, load, save, unpacking
from rowtune.vectors.opening import MissingFileError

LINES = b"".join(b"w%d %d 0.5 1.5\n" % (i, i) for i in range(30))
ZSTD = pa.Codec("zstd").compress(LINES, asbytes=True)
BINARY = b"2 3\na " + np.ones(3, "<f4").tobytes() + b"b " + np.zeros(3, "<f4").tobytes()

DAMAGED = {
    "short line": (LINES + b"x 1 2\ny 1 2 3\n", "v.txt, line 31: 2 values; expected 3: correct or"),
    "only a word": (LINES + b"x\ny 1 2 3\n", "line 31: 0 values; expected 3"),
    "cut last line": (LINES + b"x 1 2", "line 31: 2 values; expected 3: the file ends in the mid"),
    "empty line": (LINES + b"\ny 1 2 3\n", "line 31: empty; expected a word and 3 values"),
    "no number": (LINES + b"x 1 zwei 3\n", "line 31: b'zwei' stands where value 2 of 3"),
    "python number": (LINES + b"x 1 1_0 3\n", "line 31: b'1_0' stands where value 2 of 3"),
    "return in a value": (LINES + b"x 1 2\r2 3\n", r"line 31: b'2\\r2' stands where value 2"),
    "header line number": (b"31 3\n" + LINES + b"x 1 2\n", "line 32: 2 values"),
    "header promises more": (b"31 3\n" + LINES, "promises 31 rows, but 30 follow.*write 30 in"),
    "header promises fewer": (b"29 3\n" + LINES, "promises 29 rows, but 30 follow"),
    "header dimension": (b"30 4\n" + LINES, "says 4 values per row.* have 3; correct.*'30 3'"),
    "header of nothing": (b"30 0\n" + LINES, "promises rows of 0 values"),
    "tabs": (LINES.replace(b" ", b"\t"), "begins with b'w0.*single spaces between"),
    "empty": (b"", "v.txt: empty; expected a table"),
    "blank": (b"\n\n", "v.txt: empty; expected a table"),
    "endless line": (
        b"w" + b" 0" * (1 << 20),
        "line 1 goes on beyond 1,048,576 bytes; expected at",
    ),
    "long lines": (
        b"w" + b" 0" * 70_000 + b"\n",
        "rows of 70,000 values; expected at most 32,768",
    ),
    "long line promised": (b"1 999999\nw" + b" 0" * 999_999, "rows of 999,999 values; expected"),
    "no table, one number": (b"x" * (1 << 20) + b" 19 tail words", "begins with b'xxx"),
    "prose": (b"Once upon a time\nthere was a table\n", "begins with b'Once upon"),
    "binary cut short": (BINARY[:-1], "has room for 1 at most|ends within row 2 of the 2"),
    "binary cut in a word": (BINARY[:-14], "room for 1 at most"),
    "binary goes on": (BINARY + b"xy", "2 bytes follow the 2 rows"),
    "binary without space": (b"2 3\n" + b"\x01" * 40, "ends within row 1 of the 2"),
    "binary huge count": (b"9" * 18 + BINARY[1:], "promises 999,999,999,999,999,999 rows"),
    "bad bzip2": (b"BZh91AY&SY" + b"0" * 20, "bzip2 data is damaged or cut short"),
    "cut bzip2": (bz2.compress(LINES)[:-20], "bzip2 data is damaged or cut short"),
    "cut xz": (lzma.compress(LINES)[:-20], "xz data is damaged or cut short"),
    "bad xz": (lzma.compress(LINES)[:30] + b"0" * 20, "xz data is damaged or cut short"),
    "cut zstd": (ZSTD[:-20], "zstd data is damaged or cut short"),
    "bad zstd": (ZSTD[:20] + b"0" * 20, "zstd data is damaged or cut short"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + b"0" * 20, "packed with 7z; expected .gz, .bz2"),
    "cut gzip": (gzip.compress(LINES)[:-20], "gzip data is damaged or cut short"),
    "bad gzip": (gzip.compress(LINES)[:20] + b"\xff" * 90, "gzip data is damaged"),
    "bad zip": (b"PK\x03\x04" + b"0" * 50, "zip archive is damaged"),
    "fastText model": (b"\xba\x16\x4f\x2f" + b"\x0c\0\0\0" * 9, "model is cut short .40 bytes"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_has_its_own_message(tmp_path: Path, kind: str) -> None:
    data, message = DAMAGED[kind]
    (tmp_path / "v.txt").write_bytes(data)
    with pytest.raises(FormatError, match=message) as caught:
        load(tmp_path / "v.txt")
    assert str(caught.value).startswith(str(tmp_path / "v.txt"))
    assert not list(tmp_path.glob("cache/vectors/*"))


class Trap:
    """Unpickling this would end the test run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return sys.exit, ("a pickle was opened",)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["v.txt", "v.pkl", "v.model", "v.kv", "v.bin", "v.kv.gz"])
def test_pickles_are_refused_and_never_opened(tmp_path: Path, name: str, protocol: int) -> None:
    data = pickle.dumps(Trap(), protocol)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(FormatError, match=r"a pickle, which runs code.*save_word2vec_format"):
        load(tmp_path / name)


@pytest.mark.parametrize("value", [["plain"], {"words": []}, (1, 2)])
@pytest.mark.parametrize("protocol", [0, 1])
def test_old_pickles_are_known_by_their_names(tmp_path: Path, value: object, protocol: int) -> None:
    (tmp_path / "v.kv").write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(FormatError, match="a pickle, which runs code"):
        load(tmp_path / "v.kv")


def test_pickles_inside_arrays_and_archives_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([Trap(), None], object), allow_pickle=True)
    (tmp_path / "v.words.txt").write_text("a\nb\n")
    with zipfile.ZipFile(tmp_path / "torch.zip", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
        archive.writestr("archive/version", "3")
    for name in ("v.npy", "torch.zip"):
        with pytest.raises(FormatError, match="a pickle, which runs code"):
            load(tmp_path / name)


def test_names_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no such file.*glove-6b-50d"):
        load(tmp_path / "nothing.txt")
    with pytest.raises(FileNotFoundError):
        load("glove-7b")
    with pytest.raises(FormatError, match="a folder"):
        load(tmp_path)


@pytest.mark.parametrize("flags", [0, 1])
def test_archives_that_are_not_unpacked(tmp_path: Path, flags: int) -> None:
    method = zipfile.ZIP_DEFLATED if flags else zipfile.ZIP_LZMA
    with zipfile.ZipFile(tmp_path / "v.zip", "w", method) as archive:
        archive.writestr("a.txt", LINES)
    whole = bytearray((tmp_path / "v.zip").read_bytes())
    whole[6] = whole[whole.index(b"PK\x01\x02") + 8] = flags  # 1: encrypted
    (tmp_path / "v.zip").write_bytes(whole)
    with pytest.raises(FormatError, match=r"v.zip: (a zip .*by LZMA|.*encrypted).*unpack the arch"):
        load(tmp_path / "v.zip")


def test_what_unpacks_to_far_more_than_a_table_is_refused_before_all_of_it_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a thousand times and a gigabyte, so that little is unpacked.
    monkeypatch.setattr(unpacking, "_MOST_TIMES", 10)
    monkeypatch.setattr(unpacking, "_SMALL", 1 << 22)
    one_line = b"w" + b" 0" * (10 << 20)
    packed = {"v.bz2": bz2.compress(one_line), "v.xz": lzma.compress(one_line, preset=0)}
    packed["v.zst"] = pa.Codec("zstd").compress(one_line, asbytes=True)
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
    with zipfile.ZipFile(tmp_path / "v.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", one_line)
    data = bytearray((tmp_path / "v.zip").read_bytes())
    size = data.index(b"PK\x01\x02") + 24  # of what is unpacked, as the directory has it
    data[size : size + 4] = (1 << 10).to_bytes(4, "little")
    (tmp_path / "claims.zip").write_bytes(data)
    for name in (*packed, "claims.zip"):
        tracemalloc.start()
        with pytest.raises(FormatError, match=r"bytes unpack to more than .*unpack it and|damaged"):
            load(tmp_path / name)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12e6, name


@pytest.mark.parametrize("ending", ["vec.gz", "vec.bz2", "vec.xz", "vec.zst"])
def test_a_table_of_zeros_packs_well_and_loads(tmp_path: Path, ending: str) -> None:
    zeros = Vectors([f"w{i}" for i in range(20_000)], np.zeros((20_000, 300), np.float32))
    save(zeros, tmp_path / f"v.{ending}")
    assert load(tmp_path / f"v.{ending}", cache=False).matrix.shape == zeros.matrix.shape


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.tsv"])
def test_rows_too_long_for_text_are_refused_where_they_are_written(
    tmp_path: Path, name: str
) -> None:
    wide = Vectors(["a", "b"], np.zeros((2, 40_000), np.float32))
    with pytest.raises(FormatError, match=r"rows of 40,000 values; expected .* save .* as .npy"):
        save(wide, tmp_path / name)
    assert not list(tmp_path.iterdir())
    save(wide, tmp_path / "v.bin")  # which is not parsed
    assert load(tmp_path / "v.bin", cache=False).dim == 40_000


def test_rows_that_fill_the_first_quarter_of_a_megabyte_are_read_whole(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((2, 30_000)).astype(np.float32)
    save(Vectors(["a", "b"], values), tmp_path / "v.txt")
    assert np.array_equal(load(tmp_path / "v.txt", cache=False).matrix, values)


@pytest.mark.parametrize("letter", ["\n", "\r", "\x1b", "\x7f", "\x85", "\u2028"])
def test_archives_whose_members_have_no_names(tmp_path: Path, letter: str) -> None:
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("a.txt", LINES)
        archive.writestr(f"b{letter}c.txt", LINES)
    with pytest.raises(FormatError, match=r"v.zip: .*damaged.*a member is called 'b\\") as caught:
        load(tmp_path / "v.zip")
    assert letter not in str(caught.value)


def test_archives_with_several_members(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("a.txt", LINES)
        archive.writestr("b.txt", LINES)
    with pytest.raises(FormatError, match=r"2 members.*'v.zip:a.txt'.*a.txt, b.txt"):
        load(tmp_path / "v.zip")
    with pytest.raises(FormatError, match=r"no such member; the archive has: a.txt, b.txt"):
        load(f"{tmp_path}/v.zip:c.txt")


def npy(path: Path, array: np.ndarray, words: str | None = "a\nb\n") -> None:
    np.save(path, array)
    if words is not None:
        path.with_suffix(".words.txt").write_text(words)


def test_damaged_npy(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    npy(path, np.zeros((2, 3)), None)
    with pytest.raises(FormatError, match=r"expected v.words.txt beside it"):
        load(path)
    npy(path, np.zeros((2, 3)), "a\nb\nc\n")
    with pytest.raises(FormatError, match="3 words for the 2 rows of"):
        load(path)
    for array in (np.zeros(2), np.zeros((2, 3), int), np.zeros((2, 3, 4))):
        npy(path, array)
        with pytest.raises(FormatError, match="expected a matrix of float16"):
            load(path)
    npy(path, np.zeros((2, 3)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="damaged or cut short"):
        load(path)
    path.write_bytes(b"something")
    with pytest.raises(FormatError, match=r"as no .npy file does"):
        load(path)


def test_a_member_larger_than_its_archive_is_refused_before_memory_is_asked_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "v.npz"
    np.savez(path, matrix=np.zeros((2, 3)), words=np.array(["a", "b"]))
    data = bytearray(path.read_bytes())
    size = data.index(b"PK\x01\x02") + 20  # of what is packed, in the directory at the end
    data[size : size + 4] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"matrix.npy is said to have 1,073,741,824 bytes in a f"):
        load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


def test_damaged_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    save(Vectors(["a", "b"], np.zeros((2, 3), np.float32)), path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    damaged = {
        "header that cannot be understood": whole.replace(b'"dtype"', b'"dtyqe"'),
        "at bytes .* of": whole[:-3],
        "a header of": whole[: length // 2],
        "dtype Q4": whole.replace(b'"F32"', b'"Q4" '),
        "understood .OverflowError": whole.replace(b": [2, 3]", b":[1e309]"),
        "understood .RecursionError": (10**5).to_bytes(8, "little") + b'{"a":' + b"[" * 10**5,
        "not the words of 2 rows": whole.replace(b'"words"', b'"wards"'),
    }
    for message, data in damaged.items():
        path.write_bytes(data)
        with pytest.raises(FormatError, match=message):
            load(path)


def test_safetensors_without_one_clear_table(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    zeros = np.zeros((2, 3), np.float32)
    safetensors.numpy.save_file({"x": zeros, "y": zeros}, path)
    with pytest.raises(FormatError, match=r"2 tensors could be the table .x, y."):
        load(path)
    safetensors.numpy.save_file({"x": zeros[0]}, path)
    with pytest.raises(FormatError, match="0 tensors could be the table"):
        load(path)
    safetensors.numpy.save_file({"x": zeros}, path)
    with pytest.raises(FormatError, match=r"expected v.words.txt beside it"):
        load(path)


def test_bfloat16_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.safetensors"
    about = {"matrix": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}
    header = json.dumps(about).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(FormatError, match="pip install ml_dtypes"):
        load(path)


V = Vectors(["a", "b c"], np.ones((2, 2), np.float32))
REFUSED = {
    "v.csv": (V, "says no format.*ends in .txt"),
    "v.npy.gz": (V, "says no format"),
    "a.bin": (V, "word 1, 'b c', has a space"),
    "a.txt": (Vectors(["a", "b\nc"], V.matrix), "word 1, .* has a newline"),
    "a.npy": (Vectors(["b\nc", "a"], V.matrix), "word 0, .* has a newline"),
    "b.npy": (Vectors(["b\r", "a\r"], V.matrix), "ends in a carriage return"),
    "c.bin": (Vectors(["a", "b"], np.ones((2, 2))), "float64 rows"),
    "d.txt": (Vectors([], np.ones((0, 2), np.float32)), "no rows"),
    "e.txt": (Vectors(["a 1", "b 2"], V.matrix), "would not read back"),
    "f.txt": (Vectors(["5"], np.ones((1, 1), np.float32)), "would not read back"),
    "g.txt": (Vectors([b"\x80\x02x", b"a"], V.matrix), "begins as a packed file or a pickle"),
    "h.vec": (Vectors(["a"], -np.full((1, 2), np.nan, np.float32)), "row 0 has a NaN with a sign"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_format_cannot_hold_is_refused_before_writing(tmp_path: Path, name: str) -> None:
    vectors, message = REFUSED[name]
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(FormatError, match=message):
        save(vectors, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"old"
