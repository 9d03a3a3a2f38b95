"""The cache: the second load is a map, and nothing about the cache makes a load fail or lie."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rowtune.vectors import Vectors, load, reading, save, writing
from rowtune.vectors import cache as caching

ROWS = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
TABLE = Vectors([f"w{i}" for i in range(1998)] + ["caf\udce9", "w0"], ROWS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(TABLE, tmp_path / "v.vec")
    return tmp_path / "v.vec"


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the sources that were really read."""
    seen: list[str] = []
    read = reading.read

    def counting(source: object, *rest: object) -> Vectors:
        seen.append(str(source))
        return read(source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "read", counting)
    return seen


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "vectors").glob("*"))


def same(v: Vectors) -> bool:
    return v.words == TABLE.words and v.matrix.tobytes() == ROWS.tobytes() and v.index("w0") == 0


def test_the_second_load_maps_what_the_first_parsed(
    path: Path, cache_folder: Path, parses: list[str]
) -> None:
    for _ in range(3):
        v = load(path)
        assert same(v) and isinstance(v.matrix, np.memmap)
        assert not v.matrix.flags.writeable
        assert v["caf\udce9"].tobytes() == ROWS[1998].tobytes()
    assert len(parses) == 1 and len(entries(cache_folder)) == 1


def test_a_second_load_imports_no_parser(path: Path) -> None:
    load(path)
    code = (
        "import sys; from rowtune.vectors import load; "
        f"assert load({str(path)!r})['w7'].shape == (8,); "
        "print([m for m in ('pyarrow', 'numba', 'torch', 'gzip', 'zipfile') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_changed_file_is_read_again_and_its_old_entry_goes(
    path: Path, cache_folder: Path, parses: list[str]
) -> None:
    load(path)
    (old,) = entries(cache_folder)
    changed = path.read_bytes().replace(b"w5 ", b"v5 ")
    path.write_bytes(changed)
    assert "v5" in load(path) and len(parses) == 2
    assert len(entries(cache_folder)) == 1 and not old.exists()


def test_same_size_and_time_but_other_ends(path: Path, parses: list[str]) -> None:
    load(path)
    about = path.stat()
    path.write_bytes(path.read_bytes().replace(b"\nw1 ", b"\nv1 "))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert "v1" in load(path) and len(parses) == 2


def test_another_time_alone_is_another_file(path: Path, parses: list[str]) -> None:
    load(path)
    os.utime(path, ns=(1, 1))
    assert same(load(path)) and len(parses) == 2


def cut(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-10])


def blank_rows(entry: Path) -> None:
    data = bytearray(entry.read_bytes())
    data[-60_000:-20_000] = bytes(40_000)
    entry.write_bytes(data)


def spoil_header(entry: Path) -> None:
    data = bytearray(entry.read_bytes())
    data[20:30] = b"\xff" * 10
    entry.write_bytes(data)


def empty(entry: Path) -> None:
    entry.write_bytes(b"")


def other_shape(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes().replace(b"[2000, 8]", b"[8, 2000]"))


@pytest.mark.parametrize("damage", [cut, blank_rows, spoil_header, empty, other_shape])
def test_a_damaged_entry_is_rebuilt(
    path: Path, cache_folder: Path, parses: list[str], damage: Callable[[Path], None]
) -> None:
    load(path)
    (entry,) = entries(cache_folder)
    damage(entry)
    assert same(load(path)) and len(parses) == 2
    assert same(load(path)) and len(parses) == 2


def test_cache_off_leaves_no_trace(path: Path, cache_folder: Path, parses: list[str]) -> None:
    for _ in range(2):
        assert same(load(path, cache=False))
    assert len(parses) == 2 and not cache_folder.exists()


def test_a_folder_that_cannot_be_made_is_no_error(path: Path, cache_folder: Path) -> None:
    cache_folder.write_text("a file stands where the folder should be")
    assert same(load(path)) and same(load(path))


def test_a_full_disk_is_no_error_and_leaves_nothing(
    path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object, *rest: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching, "write_tensors", full)
    assert same(load(path)) and entries(cache_folder) == []


def test_clear_and_the_limit(
    path: Path, tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [Path(shutil.copy(path, tmp_path / f"{i}.vec")) for i in range(3)]
    load(copies[0])
    (first,) = entries(cache_folder)
    os.utime(first, (1, 1))
    monkeypatch.setattr(caching, "LIMIT_BYTES", int(2.5 * first.stat().st_size))
    load(copies[1])
    load(copies[2])
    assert len(entries(cache_folder)) == 2 and not first.exists()
    caching.clear()
    assert entries(cache_folder) == []


def test_two_processes_at_once(path: Path, cache_folder: Path) -> None:
    code = f"from rowtune.vectors import load; print(len(load({str(path)!r}).words))"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in running] == ["2000"] * 3
    assert len(entries(cache_folder)) == 1 and same(load(path))


def test_fortran_ordered_npy_is_cached_row_by_row(tmp_path: Path, cache_folder: Path) -> None:
    np.save(tmp_path / "v.npy", np.asfortranarray(ROWS))
    (tmp_path / "v.words.txt").write_bytes(b"".join(w + b"\n" for w in TABLE.words.iter_raw()))
    assert not load(tmp_path / "v.npy", cache=False).matrix.flags.c_contiguous
    for _ in range(2):
        v = load(tmp_path / "v.npy")
        assert v.matrix.flags.c_contiguous and same(v)
    save(TABLE, tmp_path / "v.npy")  # row by row itself: only words and index are cached
    v = load(tmp_path / "v.npy")
    assert same(load(tmp_path / "v.npy")) and str(v.matrix.filename) == str(tmp_path / "v.npy")  # type: ignore[attr-defined]


def test_a_new_word_list_beside_the_same_rows(tmp_path: Path, cache_folder: Path) -> None:
    save(Vectors(["a", "b"], ROWS[:2]), tmp_path / "v.npy")
    assert "a" in load(tmp_path / "v.npy")
    (tmp_path / "v.words.txt").write_text("c\nd\n")
    v = load(tmp_path / "v.npy")
    assert "a" not in v and v["d"].tobytes() == ROWS[1].tobytes()


def test_interrupted_save_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*about: object) -> None:
        raise KeyboardInterrupt

    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        writing.save(Vectors(["x"], ROWS[:1]), path, progress=interrupt)
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*"))
