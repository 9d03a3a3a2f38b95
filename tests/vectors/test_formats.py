"""Round trips of every format: words and bits."""

import bz2
import gzip
import json
import lzma
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rowtune.errors import FormatError
from rowtune.vectors import Vectors, binary, load, save
from rowtune.vectors.sniff import Layout

NAMES = [
    "v.txt", "v.vec", "v.w2v.txt", "v.bin", "v.npy", "v.safetensors",
    "v.txt.gz", "v.vec.gz", "v.bin.gz", "V.TXT", "v.txt.bz2", "v.bin.bz2", "v.vec.xz", "v.bin.zst",
    "v.txt.zst", "v.tsv", "vectors.tsv", "v_tensor.tsv",
]  # fmt: skip
AWKWARD = np.array(
    [[0.1, -0.0, 1e-45], [3.4028235e38, np.inf, -np.inf], [np.nan, 1 / 3, 16777217.0]], np.float32
)


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(tmp_path: Path, name: str) -> None:
    v = Vectors(["the", "caf\udce9", "\u2028"], AWKWARD)
    stages: list[tuple[str, int, int]] = []
    save(v, tmp_path / name, progress=lambda *about: stages.append(about))
    w = load(tmp_path / name, cache=False)
    assert w.words == v.words and w.matrix.tobytes() == v.matrix.tobytes()
    if "npy" not in name and "safetensors" not in name:
        assert stages[-1] == ("writing", 3, 3)


@pytest.mark.parametrize("name", [name for name in NAMES if ".xz" not in name])  # xz takes seconds
def test_round_trip_of_many_rows_in_fortran_order(tmp_path: Path, name: str) -> None:
    matrix = np.asfortranarray(np.random.default_rng(0).normal(size=(9000, 60)).astype("f4"))
    v = Vectors([f"w{i}" for i in range(9000)], matrix)
    save(v, tmp_path / name)
    w = load(tmp_path / name)
    assert w.words == v.words and np.array_equal(w.matrix.view("u4"), v.matrix.view("u4"))


def anything_but(*banned: bytes) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=6).filter(lambda raw: not any(b in raw for b in banned))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["v.txt", "v.vec", "v.bin", "v.npy", "v.safetensors"]))
def test_any_bytes_and_any_bits_come_back(data: st.DataObject, name: str) -> None:
    banned = {"v.npy": [b"\n"], "v.safetensors": []}.get(name, [b"\n", b" "])
    words = data.draw(st.lists(anything_but(*banned), min_size=1, max_size=8))
    shape = (len(words), data.draw(st.integers(2, 4)))
    bits = data.draw(hnp.arrays(np.uint32, shape, elements=st.integers(0, 2**32 - 1)))
    matrix = bits.view(np.float32).copy()
    if name in ("v.txt", "v.vec"):
        matrix[np.isnan(matrix)] = np.nan
    v = Vectors([word.decode("utf-8", "surrogateescape") for word in words], matrix)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        try:
            save(v, path)
        except FormatError:  # refusing is right only if the file could not be read back
            assert name == "v.txt" or b"\r" in b"".join(words)
            return
        w = load(path, cache=False)
        assert list(w.words.iter_raw()) == words
        assert w.matrix.tobytes() == matrix.tobytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(anything_but(b"\n"), min_size=1, max_size=8), st.sampled_from(["txt", "vec"]))
def test_text_with_spaces_in_tokens_comes_back_or_is_refused(words: list[bytes], end: str) -> None:
    matrix = np.arange(3 * len(words), dtype=np.float32).reshape(-1, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"v.{end}"
        try:
            save(Vectors(words, matrix), path)
        except FormatError:
            assert not path.exists()
            return
        w = load(path, cache=False)
        assert list(w.words.iter_raw()) == words
        assert np.array_equal(w.matrix, matrix)


@pytest.mark.parametrize("dtype", ["f2", "f8", "f4"])
@pytest.mark.parametrize("name", ["v.npy", "v.safetensors"])
def test_arrays_keep_their_dtype(tmp_path: Path, name: str, dtype: str) -> None:
    v = Vectors(["a", "b"], np.array([[1.1, -0.0], [np.nan, 1e-3]], dtype))
    save(v, tmp_path / name)
    w = load(tmp_path / name)
    assert w.matrix.dtype == v.matrix.dtype and w.matrix.tobytes() == v.matrix.tobytes()


@pytest.mark.parametrize("name", ["v.txt", "v.bin"])
def test_halves_widen_exactly(tmp_path: Path, name: str) -> None:
    half = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float16)
    save(Vectors([f"w{i}" for i in range(50)], half), tmp_path / name)
    assert np.array_equal(load(tmp_path / name).matrix, half.astype(np.float32))


def test_doubles_keep_all_their_digits_in_text(tmp_path: Path) -> None:
    save(Vectors(["a"], np.array([[1 / 3, 1e300]])), tmp_path / "v.txt")
    assert (tmp_path / "v.txt").read_text() == "a 0.3333333333333333 1e+300\n"


def test_text_is_the_shortest_that_reads_back(tmp_path: Path) -> None:
    save(Vectors(["a"], np.array([[0.1, -0.0, 2]], np.float32)), tmp_path / "v.vec")
    assert (tmp_path / "v.vec").read_bytes() == b"1 3\na 0.1 -0 2\n"


def test_bfloat16_in_safetensors(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    v = Vectors(["a", "b"], np.array([[1, -0.0], [3, 1e9]], ml_dtypes.bfloat16))
    save(v, tmp_path / "v.safetensors")
    w = load(tmp_path / "v.safetensors")
    assert w.matrix.dtype == ml_dtypes.bfloat16 and w.matrix.tobytes() == v.matrix.tobytes()


def test_safetensors_are_what_the_library_reads_and_writes(tmp_path: Path) -> None:
    v = Vectors(["a", "", "c d\n"], AWKWARD)
    save(v, tmp_path / "v.safetensors")
    tensors = safetensors.numpy.load_file(tmp_path / "v.safetensors")
    assert tensors["matrix"].tobytes() == AWKWARD.tobytes()
    assert bytes(tensors["words"]) == b"ac d\n" and tensors["words_offsets"].tolist() == [
        0,
        1,
        1,
        5,
    ]
    odd = {"emb.weight": AWKWARD, "bias": np.zeros(3, np.float32), "flag": np.zeros(1, np.uint8)}
    safetensors.numpy.save_file(odd, tmp_path / "w.safetensors")
    (tmp_path / "w.words.txt").write_text("x\ny\nz\n")
    w = load(tmp_path / "w.safetensors")
    assert w["y"].tobytes() == AWKWARD[1].tobytes()


@pytest.mark.parametrize("shift", range(4))
def test_unaligned_tensors_are_copied_into_place(tmp_path: Path, shift: int) -> None:
    about = {"matrix": {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 36]}}
    header = json.dumps(about).encode()
    header += b" " * ((shift - len(header)) % 4)
    head = len(header).to_bytes(8, "little") + header
    (tmp_path / "v.safetensors").write_bytes(head + AWKWARD.tobytes())
    (tmp_path / "v.words.txt").write_text("a\nb\nc\n")
    v = load(tmp_path / "v.safetensors")
    assert v.matrix.flags.aligned and v.matrix.tobytes() == AWKWARD.tobytes()


def test_npy_is_mapped_and_its_words_lie_beside(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", AWKWARD)
    (tmp_path / "v.words.txt").write_bytes("a\u2028\n\nc d".encode())
    v = load(tmp_path / "v.npy")
    assert isinstance(v.matrix, np.memmap) and not v.matrix.flags.writeable
    assert list(v.words.iter_raw()) == ["a\u2028".encode(), b"", b"c d"]
    (tmp_path / "v.words.txt").write_bytes(b"a\r\nb\r\nc\r\n")
    assert list(load(tmp_path / "v.npy").words) == ["a", "b", "c"]
    (tmp_path / "v.words.txt").unlink()
    (tmp_path / "v.vocab").write_bytes(b"a 12\nb c 7\nd 1\n")
    assert list(load(tmp_path / "v.npy").words) == ["a", "b c", "d"]
    (tmp_path / "v.vocab").write_bytes(b"a 12\nb\nd 1\n")
    assert list(load(tmp_path / "v.npy").words) == ["a 12", "b", "d 1"]


def test_npy_in_the_other_byte_order(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", AWKWARD.astype(">f4"))
    (tmp_path / "v.words.txt").write_text("a\nb\nc\n")
    v = load(tmp_path / "v.npy")
    assert v.matrix.dtype.isnative and v.matrix.tobytes() == AWKWARD.tobytes()


@pytest.mark.parametrize("between", [b"", b"\n"])
def test_binary_with_and_without_newlines(tmp_path: Path, between: bytes) -> None:
    words = [b"the", "naïve".encode(), b"\xff", b"w" * 100]
    matrix = np.random.default_rng(0).normal(size=(4, 5)).astype("<f4")
    matrix[0] = np.frombuffer((b"\n   \n \n " * 3)[:20], "<f4")  # separators inside values
    records = [w + b" " + row.tobytes() + between for w, row in zip(words, matrix, strict=True)]
    (tmp_path / "v.bin").write_bytes(b"4 5\n" + b"".join(records))
    v = load(tmp_path / "v.bin")
    assert list(v.words.iter_raw()) == words and v.matrix.tobytes() == matrix.tobytes()


@pytest.mark.parametrize("between", [b"", b"\n"])
def test_binary_run_by_run(monkeypatch: pytest.MonkeyPatch, between: bytes) -> None:
    rows = np.arange(50, dtype="<f4").reshape(10, 5)
    records = [b"w%d " % i + row.tobytes() + between for i, row in enumerate(rows)]
    data = np.frombuffer(b"10 5\n" + b"".join(records), np.uint8)
    monkeypatch.setattr(binary, "_RUN_BYTES", 3 * 20)
    layout = Layout(10, 5, 5, binary=True)
    runs = list(binary.binary_runs("v.bin", data, layout))
    assert [len(words) for words, _ in runs] == [3, 3, 3, 1]
    assert [word for words, _ in runs for word in words] == [f"w{i}" for i in range(10)]
    assert np.array_equal(np.concatenate([part for _, part in runs]), rows)
    with pytest.raises(FormatError, match="promises 10 rows of 500 values, but the file has room"):
        next(binary.binary_runs("v.bin", data, Layout(10, 500, 5, binary=True)))
    words, matrix = binary.parse_binary("v.bin", data, layout)
    assert len(words) == 10 and words[9] == "w9" and np.array_equal(matrix, rows)


def test_gzip_and_zip_are_read_directly(tmp_path: Path) -> None:
    text = b"2 2\na 1 2\nb c 3 4\n"
    (tmp_path / "v.vec.gz").write_bytes(gzip.compress(text[:7]) + gzip.compress(text[7:]))
    with zipfile.ZipFile(tmp_path / "one.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/v.vec", text)
        archive.writestr("__MACOSX/folder/._v.vec", b"x")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.txt", b"x 1 2 3\n")
        archive.writestr("b.txt", text)
    for name in ("v.vec.gz", "one.zip", "two.zip:b.txt", "one.zip:folder/v.vec"):
        v = load(f"{tmp_path}/{name}")
        assert list(v.words) == ["a", "b c"] and v["b c"].tolist() == [3, 4]
    assert load(f"{tmp_path}/two.zip:a.txt").dim == 3


PACKED = {
    "gz": (gzip.compress, gzip.decompress),
    "bz2": (bz2.compress, bz2.decompress),
    "xz": (lzma.compress, lzma.decompress),
    "zst": (lambda raw: pa.Codec("zstd").compress(raw, asbytes=True), None),
}


@pytest.mark.parametrize("packing", PACKED)
def test_packed_files_are_those_of_the_packer(
    tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    v = Vectors(["a", "b c"], np.array([[1, 2], [3, 4]], np.float32))
    pack, unpack = PACKED[packing]
    text = b"2 2\na 1 2\nb c 3 4\n"
    (tmp_path / "named.anyhow").write_bytes(pack(text[:7]) + pack(text[7:]))  # two pieces in one
    assert load(tmp_path / "named.anyhow").matrix.tobytes() == v.matrix.tobytes()
    for name, clock in (("a", 1e9), ("b", 1.1e9)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        save(v, tmp_path / f"{name}.vec.{packing}")
    written = (tmp_path / f"a.vec.{packing}").read_bytes()
    assert written == (tmp_path / f"b.vec.{packing}").read_bytes()  # no time, no name inside
    assert written[:4] == pack(text)[:4]
    assert unpack is None or unpack(written) == text
