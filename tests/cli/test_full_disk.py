"""A disk that is full, or a folder that may not be written to: one line, exit code 2, old files."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

import rowtune

# Every verb that writes, with the files that it names.
WRITES = {
    "convert before.vec": ["out.txt", "out.vec", "out.bin.gz", "out.npy", "out.tsv",
                           "out.safetensors"],
    "extend before.vec corpus.txt --min-count 3 -o": ["out.vec", "out.npy"],
    "apply before.vec rows.safetensors -o": ["out.vec", "out.npy", "out.safetensors"],
    "patch before.vec after.vec -o": ["out.safetensors"],
    "info before.vec --json": ["out.json"],
    "neighbors before.vec badan --json": ["out.json"],
    "coverage before.vec corpus.txt --json": ["out.json"],
    "diff before.vec after.vec --json": ["out.json"],
    "verify before.vec after.vec --json": ["out.json"],
    "rules --json": ["out.json"],
    "six-items --steps 2 --json": ["out.json"],
    "six-items --steps 2 --out": ["out.png"],
}  # fmt: skip
CASES = [(line, name) for line, names in WRITES.items() for name in names]
BESIDE = {"out.npy": "out.words.txt", "out.tsv": "out.metadata.tsv"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    words = [f"{a}{b}{c}{d}" for a in "bdgklm" for b in "aei" for c in "nr" for d in ("an", "o")]
    rows = rng.standard_normal((len(words), 6)).astype(np.float32)
    rowtune.save(rowtune.Vectors(words, rows), folder / "before.vec")
    rowtune.save(
        rowtune.Vectors([*words, "new"], np.vstack([rows, rows[:1]])), folder / "after.vec"
    )
    table = rowtune.Table(rows, train=[0, 1])
    table.save_patch(folder / "rows.safetensors")
    lines = [" ".join([*rng.choice(words, 7), f"z{rng.choice(list('ae'))}z"]) for _ in range(60)]
    (folder / "corpus.txt").write_text("\n".join(lines))
    return folder


@contextlib.contextmanager
def no_room_beyond(size):
    """Every write past so many bytes of a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores SIGXFSZ itself
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def here(files, tmp_path):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    return tmp_path


def put_old(folder, name):
    old = {each: b"what was there\n" for each in (name, BESIDE.get(name)) if each}
    for each, data in old.items():
        (folder / each).write_bytes(data)
    return old


def check_refused(done, name, folder, old, there):
    assert done.code == 2, done.text
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert name in done.err or BESIDE.get(name, name) in done.err
    for each, data in old.items():
        assert (folder / each).read_bytes() == data
    assert {path.name for path in folder.iterdir()} - {"cache"} == there


@pytest.mark.parametrize(("line", "name"), CASES, ids=[f"{a} {b}" for a, b in CASES])
@pytest.mark.parametrize("share", [0, 0.6])
def test_a_full_disk_leaves_the_old_files(command, here, line, name, share):
    arguments = [*line.split(), name]
    first = command(*arguments)  # also compiles and caches what it needs
    assert first.code in (0, 1), first.text
    size = max((here / each).stat().st_size for each in (name, BESIDE.get(name, name)))
    old = put_old(here, name)
    there = {path.name for path in here.iterdir()} - {"cache"}
    with no_room_beyond(int(share * size)):
        done = command(*arguments)
    check_refused(done, name, here, old, there)


@pytest.fixture
def read_only(files):
    """A folder with an old file in it, as somebody who may read it and no more."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "shut")
        shutil.copytree(files, folder)
        Path(place).chmod(0o755)
        yield folder
        folder.chmod(0o755)


@contextlib.contextmanager
def nobody():
    """Root may write anywhere; so what is tested is done as nobody where root runs the tests."""
    if os.geteuid():
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize(("line", "name"), CASES, ids=[f"{a} {b}" for a, b in CASES])
def test_a_folder_that_is_read_only(command, read_only, monkeypatch, line, name):
    old = put_old(read_only, name)
    for path in read_only.iterdir():
        path.chmod(0o644)
    monkeypatch.chdir(read_only)
    there = {path.name for path in read_only.iterdir()}
    read_only.chmod(0o555)
    with nobody():
        done = command(*line.split(), name)
    read_only.chmod(0o755)
    assert done.code == 2, done.text
    assert "Traceback" not in done.err and len(done.err.strip().splitlines()) == 1, done.err
    assert {path.name for path in read_only.iterdir()} == there
    for each, data in old.items():
        assert (read_only / each).read_bytes() == data
