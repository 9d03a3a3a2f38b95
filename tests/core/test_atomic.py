"""Files appear whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap

import pytest

from rowtune.atomic import replacing


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_a_new_file_has_the_permissions_that_open_would_give(tmp_path):
    with replacing(tmp_path / "ours") as file:
        file.write(b"")
    (tmp_path / "theirs").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_after_an_error_all_is_as_it_was(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half of the n")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_file_that_grows_past_its_limit_leaves_the_old_one(tmp_path):
    """A full disk, as a process sees it: a write that fails in the middle."""
    script = """
        import resource, signal, sys
        from rowtune.atomic import replacing
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            with replacing(sys.argv[1]) as file:
                for _ in range(100):
                    file.write(bytes(10_000))
        except OSError as error:
            sys.exit(7)
    """
    path = tmp_path / "file"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], check=False, timeout=60
    )
    assert done.returncode == 7
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_bytes_reach_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    events, sync, rename = [], os.fsync, type(tmp_path).replace

    def seen_sync(descriptor):
        events.append("sync")
        sync(descriptor)

    def seen_rename(old, new):
        events.append("rename")
        return rename(old, new)

    monkeypatch.setattr(os, "fsync", seen_sync)
    monkeypatch.setattr(type(tmp_path), "replace", seen_rename)
    with replacing(tmp_path / "file") as file:
        file.write(b"x")
    assert events == ["sync", "rename", "sync"]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    with replacing(pipe) as file:
        file.write(b"through")
    assert reader.communicate(timeout=20)[0] == b"through"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with replacing("/dev/null") as file:
        file.write(b"away")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(IsADirectoryError, match="name a file"), replacing(tmp_path):
        pass
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "no" / "file"):
        pass
    assert caught.value.filename == str(tmp_path / "no" / "file")
    with replacing(tmp_path / ("n" * 250)) as file:
        file.write(b"a long name")
