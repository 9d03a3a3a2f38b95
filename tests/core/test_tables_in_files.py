"""Tables in files: opened in place, written whole, and refused where they are damaged."""

from __future__ import annotations

import copy
import json
import mmap
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import rowtune
from rowtune import Quantized, Table, open_table, quantize, save_table
from rowtune.errors import FormatError, NonFiniteError, ShapeError
from rowtune.tables.mapped_pages import forget, map_behind

N, D = 33, 7


@pytest.fixture
def weights():
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


def is_mapped(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


def write(path, header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_an_array_comes_back_bit_for_bit(weights, dtype, ending, tmp_path):
    path, given = tmp_path / f"t.{ending}", weights.astype(dtype)
    given[0, 0] = -0.0
    given[1].view(f"u{given.itemsize}")[:] |= 0x7E01 << (8 * given.itemsize - 16)
    save_table(path, given)
    opened = open_table(path)
    assert opened.tobytes() == given.tobytes() and opened.dtype == given.dtype
    assert is_mapped(opened) and not opened.flags.writeable and opened.ctypes.data % 64 == 0
    theirs = np.load(path) if ending == "npy" else load_file(path)["weight"]
    assert theirs.tobytes() == given.tobytes()


@pytest.mark.parametrize("kind", ["int8", "float16", "bfloat16"])
@pytest.mark.parametrize("rows", [N, 64, 0])
def test_a_quantized_table_comes_back_as_one(weights, kind, rows, tmp_path):
    path, given = tmp_path / "t.safetensors", quantize(np.resize(weights, (rows, D)), kind)
    save_table(path, given)
    opened = open_table(path)
    assert isinstance(opened, Quantized) and (opened.kind, opened.shape) == (kind, (rows, D))
    assert opened.codes.tobytes() == given.codes.tobytes()
    if kind == "int8":
        assert opened.scales.tobytes() == given.scales.tobytes()
        assert rows == 0 or opened.scales.ctypes.data % 64 == 0
    if rows:
        assert is_mapped(opened.codes) and opened.codes.ctypes.data % 64 == 0
        assert (Table(opened, train=[1]).lookup([0, 1]) == given.rows([0, 1])).all()


@pytest.mark.parametrize("kind", ["int8", "float16", "bfloat16"])
def test_quantizing_into_a_file_gives_the_same_bytes(weights, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("rowtune.quantized._PIECE", 4 * D)  # nine pieces
    save_table(tmp_path / "w.npy", weights)
    seen = []
    made = quantize(
        open_table(tmp_path / "w.npy"), kind, into=tmp_path / "a.safetensors",
        progress=lambda *said: seen.append(said),
    )  # fmt: skip
    save_table(tmp_path / "b.safetensors", quantize(weights, kind))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert is_mapped(made.codes) and seen[-1] == ("writing", N, N) and len(seen) == 9
    with pytest.raises(FormatError, match=r"ends in .safetensors"):
        quantize(weights, kind, into=tmp_path / "a.npy")


def test_an_error_on_the_way_leaves_the_old_file(weights, tmp_path):
    path = tmp_path / "t.safetensors"
    save_table(path, weights)
    before = path.read_bytes()
    weights[N - 1] = np.nan
    with pytest.raises(NonFiniteError):
        quantize(weights, into=path)
    with pytest.raises(ShapeError):
        save_table(path, weights[0])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_reader_keeps_the_file_that_it_has_mapped(weights, tmp_path):
    path = tmp_path / "t.npy"
    save_table(path, weights)
    opened = open_table(path)
    save_table(path, weights * 2)
    assert (opened == weights).all() and (open_table(path) == weights * 2).all()


def test_a_matrix_is_chosen_by_name(weights, tmp_path):
    path = tmp_path / "t.safetensors"
    save_file({"a": weights, "b": weights[:3], "ids": np.arange(4), "bias": weights[0]}, path)
    assert len(open_table(path, "b")) == 3
    with pytest.raises(FormatError, match=r"which tensor. There are 'a', 'b'"):
        open_table(path)
    with pytest.raises(FormatError, match="no matrix 'ids'; there are 'a', 'b'"):
        open_table(path, "ids")
    save_file({"ids": np.arange(4), "codes": np.zeros((2, 2), np.int8)}, path)
    with pytest.raises(FormatError, match="no matrix of F16, F32"):
        open_table(path)


def test_bfloat16_and_scales_of_others_are_understood(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_tensors

    table = torch.randn(N, D).to(torch.bfloat16)
    codes, scales = torch.randint(-127, 128, (N, D), dtype=torch.int8), torch.rand(N, 1).half()
    path = tmp_path / "t.safetensors"
    save_tensors({"w": table, "q": codes, "q.scales": scales}, path)
    opened = open_table(path, "w")
    assert opened.kind == "bfloat16"
    assert (opened.rows(slice(None)) == table.to(torch.float32).numpy()).all()
    want = codes.to(torch.float32) * scales.to(torch.float32)
    assert (open_table(path, "q").rows(slice(None)) == want.numpy()).all()


def test_a_model_in_several_files(weights, tmp_path):
    save_file({"a": weights}, tmp_path / "one.safetensors")
    save_file({"b": weights[:5]}, tmp_path / "two.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    names = {"a": "one.safetensors", "b": "two.safetensors"}
    index.write_text(json.dumps({"weight_map": names}))
    assert (open_table(index, "a") == weights).all() and len(open_table(index, "b")) == 5
    with pytest.raises(FormatError, match="which tensor"):
        open_table(index)
    for damaged in ("{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": "../up.safetensors"}}'):
        index.write_text(damaged)
        with pytest.raises(FormatError):
            open_table(index, "a")


@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_a_file_that_is_cut_anywhere_is_refused(weights, ending, tmp_path):
    path = tmp_path / f"t.{ending}"
    save_table(path, weights)
    whole = path.read_bytes()
    for length in [*range(0, 140, 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"damaged|empty|header"):
            open_table(path)


def test_arrays_that_cannot_be_mapped_are_refused_with_a_cure(weights, tmp_path):
    path = tmp_path / "t.npy"
    for array, why in [
        (np.asfortranarray(weights), "column order"),
        (weights.astype(">f4"), "other byte order"),
        (weights.astype(int), "dtype int64"),
        (weights[0], "expected a matrix"),
        (weights.astype("c8"), "complex64"),
    ]:
        np.save(path, array)
        with pytest.raises(FormatError, match=why):
            open_table(path)
    np.save(path, np.array([[{}]]), allow_pickle=True)
    with pytest.raises(FormatError, match="pickle"):
        open_table(path)
    head = b"\x93NUMPY\x01\x00" + (53).to_bytes(2, "little")
    path.write_bytes(head + b"{'descr':'<f4','fortran_order':False,'shape':(2,2)}".ljust(53))
    with path.open("ab") as file:
        file.write(bytes(16))
    with pytest.raises(FormatError, match="byte 63, which is no multiple of 4"):
        open_table(path)


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 12]}, "damaged"),
        ({"dtype": "F32", "shape": [2, 2], "data_offsets": [8, 24]}, "damaged"),
        ({"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}, "damaged"),
        ({"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 16]}, "damaged"),
        ({"dtype": "F32", "shape": [0, 1 << 62], "data_offsets": [0, 0]}, "damaged"),
        ({"dtype": "F32", "shape": [2, 2]}, "damaged"),
        ({"dtype": "Q4", "shape": [2, 2], "data_offsets": [0, 16]}, "dtype Q4"),
        ({"dtype": "F8_E4M3", "shape": [4, 4], "data_offsets": [0, 16]}, "no matrix"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "no matrix"),
        ([], "damaged"),
    ],
)
def test_a_header_that_lies_is_refused(about, why, tmp_path):
    with pytest.raises(FormatError, match=why):
        open_table(write(tmp_path / "t.safetensors", {"w": about}, bytes(16)))


def test_a_tensor_at_an_odd_place_is_refused(tmp_path):
    about = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    raw = json.dumps({"w": about}).encode()
    odd = raw + b" " * (1 + -(8 + len(raw)) % 4)
    with pytest.raises(FormatError, match="no multiple of 4"):
        open_table(write(tmp_path / "t.safetensors", odd, bytes(16)))


def test_other_names_and_missing_files(weights, tmp_path):
    with pytest.raises(FormatError, match=r"expected a name that ends in .npy"):
        open_table(tmp_path / "t.bin")
    with pytest.raises(FileNotFoundError):
        open_table(tmp_path / "t.npy")
    with pytest.raises(FileNotFoundError):
        open_table(tmp_path / "t.safetensors")
    with pytest.raises(FormatError, match=r".safetensors or .npy"):
        save_table(tmp_path / "t.txt", weights)
    with pytest.raises(FormatError, match=r"quantized table \(bfloat16\) goes into"):
        save_table(tmp_path / "t.npy", quantize(weights, "bfloat16"))
    assert {"open_table", "save_table", "quantize", "Quantized"} <= set(rowtune.__all__)


def test_a_large_file_is_not_pickled_by_accident(tmp_path):
    rows = (1 << 30) // 256 + 1
    about = {"w": {"dtype": "F32", "shape": [rows, 64], "data_offsets": [0, rows * 256]}}
    path = write(tmp_path / "t.safetensors", json.dumps(about).encode().ljust(248))
    with path.open("r+b") as file:
        file.truncate(256 + rows * 256)  # holes
    table = Table(open_table(path), train=[1])
    with pytest.raises(FormatError, match=r"rowtune.open_table"):
        pickle.dumps(table)
    assert copy.deepcopy(table).base is table.base
    save_table(tmp_path / "small.npy", np.ones((3, 3)))
    small = Table(open_table(tmp_path / "small.npy"), train=[1])
    assert (pickle.loads(pickle.dumps(small)).weights == 1).all()


def test_pages_of_a_map_are_let_go_of(weights, tmp_path):
    save_table(tmp_path / "t.npy", np.zeros((100_000, 64), np.float32))
    table = open_table(tmp_path / "t.npy")
    view = Table(table, train=[0]).base[5:].T
    assert map_behind(view) is not None and map_behind(weights) is None
    before = resident()
    table.sum()
    assert resident() - before > 20
    forget(view)
    assert resident() - before < 10


@pytest.mark.parametrize("of_a_file", [True, False])
def test_what_was_written_into_a_private_map_is_kept(weights, tmp_path, of_a_file, monkeypatch):
    monkeypatch.setattr("rowtune.tables.saving._BYTES_AT_A_TIME", 256)
    np.save(tmp_path / "t.npy", weights)
    if of_a_file:
        table = np.load(tmp_path / "t.npy", mmap_mode="c")
    else:
        pages = mmap.mmap(-1, weights.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        table = np.frombuffer(pages, np.float32).reshape(weights.shape)
    table[:] = expected = weights + 1
    save_table(tmp_path / "copy.npy", table)
    assert (np.load(tmp_path / "copy.npy") == expected).all()
    quantize(table, into=tmp_path / "codes.safetensors")
    Table(table, train=[1]).save_patch(tmp_path / "patch.safetensors")
    assert (table == expected).all()


def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) / 1000
