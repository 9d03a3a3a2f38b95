"""State in files: the same bits, room to grow, and errors before anything is lost."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

from rowtune import StateFolder, Table, state_folder

RULES = ["adam", "adagrad", "rowwise_adagrad"]
D = 4


def trained(rule, folder, grown=0, **options):
    if rule == "adagrad":
        options["initial_accumulator_value"] = 0.25
    table = Table(np.ones((50, D), np.float32), rule=rule, lr=0.1, state_folder=folder, **options)
    rng = np.random.default_rng(0)
    for i in range(8):
        ids = rng.integers(0, len(table), 30)
        table.update(ids, rng.standard_normal((30, D)))
        if grown:
            table.grow(np.full((grown, D), float(i)))
    return table


def assert_same(table, other):
    np.testing.assert_array_equal(table.weights.view("u4"), other.weights.view("u4"))
    np.testing.assert_array_equal(table.steps, other.steps)
    assert table.state.keys() == other.state.keys()
    for name, array in table.state.items():
        np.testing.assert_array_equal(array.view("u4"), other.state[name].view("u4"))


def open_files(folder):
    """Files of a folder that this process has mapped, named or not."""
    with open("/proc/self/maps") as maps:
        return sum(str(folder) in line for line in maps)


@pytest.mark.parametrize("grown", [0, 60])
@pytest.mark.parametrize("rule", RULES)
def test_results_have_the_same_bits_as_in_memory(rule, grown, tmp_path):
    table = trained(rule, tmp_path, grown)
    assert_same(table, trained(rule, None, grown))
    arrays = [table._block.steps, *table._block.state.values()]
    assert open_files(tmp_path) >= len(arrays)
    assert list(tmp_path.iterdir()) == []  # they have no names


@pytest.mark.parametrize("options", [{"catch_up": True}, {"lr_scale": np.full(50, 0.5)}])
def test_options_go_with_it(options, tmp_path):
    assert_same(trained("adam", tmp_path, 3, **options), trained("adam", None, 3, **options))


def test_growing_maps_the_files_anew_and_copies_nothing(tmp_path, monkeypatch):
    table = Table(np.ones((50, D)), rule="adam", state_folder=tmp_path)
    table.grow(np.ones((1, D)))
    opened = []
    whole = state_folder._new_file
    monkeypatch.setattr(state_folder, "_new_file", lambda f: opened.append(f) or whole(f))
    seen = table.state["m"]
    for _ in range(500):
        table.grow(np.ones((1, D)))
    assert opened == []
    table.update([0, 550], np.ones((2, D)))
    assert seen[0, 0] == table.state["m"][0, 0] == table.state["m"][550, 0] != 0


def test_two_tables_may_share_a_folder(tmp_path):
    folder = StateFolder(tmp_path)
    first, second = trained("adam", folder), Table(np.ones((50, D)), state_folder=folder)
    assert_same(first, trained("adam", None))
    assert not second.state["m"].any()


def test_copies_pickles_and_patches_are_in_memory_and_whole(tmp_path):
    table = trained("adam", tmp_path, 2)
    for twin in (copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        assert_same(twin, table)
        twin.update([1], np.ones((1, D)))
        twin.grow(np.ones((1, D)))
        assert not np.array_equal(twin.state["m"][1], table.state["m"][1])
    table.save_patch(tmp_path / "patch", state=True)
    again = Table(np.ones((50, D), np.float32), rule="adam", lr=0.1, state_folder=tmp_path)
    again.grow(np.zeros((16, D)))
    again.load_patch(tmp_path / "patch")
    assert_same(again, table)
    assert open_files(tmp_path)
    again.update([1], np.ones((1, D)))
    again.load_patch(tmp_path / "patch", force=True)
    assert_same(again, table)


def test_a_folder_that_is_missing_or_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="state_folder is a folder that can be written"):
        Table(np.ones((5, D)), state_folder=tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        StateFolder(tmp_path / "file")

    def refused(**given):
        raise PermissionError(errno.EACCES, "Permission denied", "x")

    monkeypatch.setattr(state_folder.tempfile, "TemporaryFile", refused)
    with pytest.raises(PermissionError, match=r"Permission denied; state_folder.*" + str(tmp_path)):
        StateFolder(tmp_path)


FULL = """
import numpy as np, resource, signal, sys
from rowtune import Table
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file beyond the limit is an error, as ENOSPC is
table = Table(np.ones((1000, 4), np.float32), rule="adam", state_folder=sys.argv[1])
table.update([3], np.ones((1, 4)))
before = table.state["m"].copy()
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, 1 << 15))
try:
    table.grow(np.ones((5000, 4)))
except OSError as error:
    print(type(error).__name__, error)
assert len(table) == 1000 and table.block.shape == (1000, 4)
assert np.array_equal(table.state["m"], before)
table.update([3, 999], np.ones((2, 4)))
table.grow(np.ones((2, 4)))
assert len(table.state["m"]) == len(table.steps) == 1002
print("goes on")
"""


def test_a_file_that_cannot_grow_changes_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[1:] == ["goes on"], done.stderr
    assert done.stdout.startswith("OSError [Errno 27]")
    assert "GB of state do not fit" in done.stdout


def test_no_space_left_is_said_at_once(tmp_path, monkeypatch):
    def full(descriptor, begin, end):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state_folder, "_reserved", full)
    with pytest.raises(OSError, match=r"No space left.*2e-05 GB of state do not fit"):
        Table(np.ones((1250, D), np.float32), state_folder=tmp_path)


def test_space_is_reserved_or_not_as_was_asked(tmp_path):
    rows = 1 << 16
    tables = [
        Table(np.zeros((rows, D), np.float32), "all", "adam", state_folder=folder)
        for folder in (StateFolder(tmp_path), StateFolder(tmp_path, reserve=False))
    ]
    blocks = [
        sum(os.fstat(f.descriptor).st_blocks for f in t._block._state_memory._files.values())
        for t in tables
    ]
    assert blocks[0] * 512 >= rows * (2 * D + 1) * 4
    assert blocks[1] == 0


def test_where_space_cannot_be_reserved_a_warning_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(state_folder, "_reserved", lambda *a: False)
    with pytest.warns(RuntimeWarning, match="cannot reserve space.*SIGBUS"):
        table = trained("adam", tmp_path)
    assert_same(table, trained("adam", None))
    assert_same(trained("adam", StateFolder(tmp_path, reserve=False)), table)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((1, 1, 9, 9, 9, *[0] * 5)))
    with pytest.raises(OSError, match="do not fit"):
        trained("adam", tmp_path)


KILLED = """
import numpy as np, os, signal, sys
from rowtune import Table
table = Table(np.ones((100_000, 4), np.float32), rule="adam", state_folder=sys.argv[1])
table.update([3], np.ones((1, 4)))
print("there", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_nothing_behind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "there\n"
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
