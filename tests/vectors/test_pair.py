"""A table and its words in two files: whatever goes wrong, they are never one old and one new."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from rowtune.errors import FormatError
from rowtune.vectors import Vectors, load, save
from rowtune.vectors.pair import put_in_place, replacing_pair

OLD = Vectors(["a", "b"], np.zeros((2, 3), np.float32))
NEW = Vectors(["c", "d"], np.ones((2, 3), np.float32))
NAMES = {"v.npy": "v.words.txt", "v.tsv": "v.metadata.tsv", "vectors.tsv": "metadata.tsv"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=NAMES)
def path(request, tmp_path):
    """Where an old table lies; the test looks for nothing else in the folder."""
    path = tmp_path / request.param
    save(OLD, path)
    assert contents(tmp_path).keys() == {request.param, NAMES[request.param]}
    return path


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_at_any_change_of_a_name_leaves_both_old_or_both_new(path, monkeypatch, at, error):
    """Before each change of a name and, for Ctrl-C, right after it."""
    old = contents(path.parent)
    whole, names = Path.replace, []

    def failing(new, target):
        names.append(target)
        if len(names) - 1 == at and isinstance(error, OSError):
            raise error
        result = whole(new, target)
        if len(names) - 1 == at:
            raise error
        return result

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", failing)
        with pytest.raises(type(error)):
            save(NEW, path)
    assert len(names) > at
    now = contents(path.parent)
    if now != old:
        assert isinstance(error, KeyboardInterrupt) or at == 4, "the rows had no new name yet"
        assert now.keys() == old.keys()
        assert list(load(path, cache=False).words) == ["c", "d"]
        assert (load(path, cache=False).matrix == 1).all()
    save(NEW, path)
    assert list(load(path, cache=False).words) == ["c", "d"]


def test_what_lies_between_the_changes_is_refused(path, monkeypatch):
    """What a kill would leave, seen before each change of a name."""
    whole, seen = Path.replace, []

    def looked_at(new, target):
        try:
            seen.append(list(load(path, cache=False).words))
        except FormatError as error:
            seen.append(str(error))
        return whole(new, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", looked_at)
        save(NEW, path)
    assert seen[:-2] == [["a", "b"]] * 3  # two files made, the old words put aside
    assert all("words" in said for said in seen[-2:])
    assert "rows without words" in seen[-1]


def test_new_values_of_the_same_words_are_one_change(path, monkeypatch):
    whole, seen = Path.replace, []
    monkeypatch.setattr(Path, "replace", lambda a, b: seen.append(b.name) or whole(a, b))
    save(Vectors(OLD.words, NEW.matrix), path)
    assert [name for name in seen if not name.startswith(".")] == [path.name]
    assert contents(path.parent).keys() == {path.name, NAMES[path.name]}
    assert (load(path, cache=False).matrix == 1).all()


def test_permissions_and_links_stay(path):
    words = path.with_name(NAMES[path.name])
    path.chmod(0o640)
    words.rename(path.parent / "elsewhere")
    words.symlink_to("elsewhere")
    save(NEW, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert words.is_symlink()
    assert list(load(path, cache=False).words) == ["c", "d"]


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    with (
        pytest.raises(FileNotFoundError) as caught,
        replacing_pair(tmp_path / "no" / "words", tmp_path / "rows"),
    ):
        pass
    assert caught.value.filename == str(tmp_path / "no" / "words")
    full = OSError(28, "No space left on device")
    with (
        pytest.raises(OSError, match="No space") as caught,
        replacing_pair(tmp_path / "words", tmp_path / "rows"),
    ):
        raise full
    assert caught.value.filename == str(tmp_path / "rows")
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_written_to(tmp_path):
    with replacing_pair(tmp_path / "words", "/dev/null") as (words, rows):
        words.write(b"a\n")
        rows.write(b"away")
    assert (tmp_path / "words").read_bytes() == b"a\n"
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("name", ["v.vec", *NAMES])
def test_a_file_from_a_folder_of_its_own(tmp_path, name):
    target, own = tmp_path / name, tmp_path / "own"
    own.mkdir()
    save(OLD, target)
    target.chmod(0o600)
    save(NEW, own / name)
    put_in_place(own / name, target)
    assert list(load(target, cache=False).words) == ["c", "d"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not list(own.iterdir())


def test_a_link_to_rows_keeps_its_own_words_beside_it(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "own").mkdir()
    save(OLD, tmp_path / "v.npy")
    (tmp_path / "v.npy").rename(tmp_path / "data" / "real.npy")
    (tmp_path / "v.npy").symlink_to(tmp_path / "data" / "real.npy")
    assert list(load(tmp_path / "v.npy", cache=False).words) == list(OLD.words)
    save(NEW, tmp_path / "own" / "v.npy")
    put_in_place(tmp_path / "own" / "v.npy", tmp_path / "v.npy")
    assert (tmp_path / "v.npy").is_symlink()
    assert list(load(tmp_path / "v.npy", cache=False).words) == ["c", "d"]
    assert sorted(path.name for path in tmp_path.rglob("*.words.txt")) == ["v.words.txt"]
