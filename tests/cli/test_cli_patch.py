"""`rowtune patch` and `rowtune apply`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import rowtune
from rowtune.patch_file import read_patch


@pytest.fixture
def after(table, tmp_path):
    """Two rows changed, two new."""
    rows = np.array(table.matrix)
    rows[1] += 1
    rows[4, 2] = -0.0
    words = [*table.words, "toad", "caf\udce9"]
    vectors = rowtune.Vectors(words, np.vstack([rows, np.ones((2, 3), np.float32) / 3]))
    rowtune.save(vectors, tmp_path / "after.vec")
    return vectors


def test_apply_makes_after_of_before_and_the_patch(command, table, after, tmp_path):
    done = command("patch", "before.vec", "after.vec", "-o", "rows.safetensors", "--json", "-")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["changed"], facts["added"], facts["rows"]) == (2, 2, 4)
    patch = read_patch(tmp_path / "rows.safetensors")
    assert patch.ids.tolist() == [1, 4, 6, 7]
    assert patch.tokens == ["queen", "frog", "toad", "caf\udce9"]
    for out in ("out.vec", "out.txt", "out.bin", "out.npy", "out.safetensors"):
        done = command("apply", "before.vec", "rows.safetensors", "-o", out)
        assert done.code == 0, done.err
        assert "2 rows changed, 2 added, 4 as they were" in done.text
        assert command("verify", "after.vec", out).code == 0
        assert command("diff", "after.vec", out).code == 0


def test_rows_that_are_only_added_leave_the_old_lines_as_they_are(command, table, tmp_path):
    text = (tmp_path / "before.vec").read_bytes().replace(b"frog 0 0 2\n", b"frog 0.0 0e0 2.00\n")
    (tmp_path / "before.vec").write_bytes(text)
    rows = np.vstack([table.matrix, [[1, 2, 3]]]).astype(np.float32)
    rowtune.save(rowtune.Vectors([*table.words, "toad"], rows), tmp_path / "after.npy")
    assert command("patch", "before.vec", "after.npy", "-o", "r.safetensors").code == 0
    assert command("apply", "before.vec", "r.safetensors", "-o", "out.vec").code == 0
    out = (tmp_path / "out.vec").read_bytes()
    assert out == text.replace(b"6 3\n", b"7 3\n") + b"toad 1 2 3\n"
    assert command("verify", "before.vec", "out.vec").code == 0
    assert command("apply", "before.vec", "r.safetensors", "-o", "before.vec").code == 0
    assert (tmp_path / "before.vec").read_bytes() == out


@pytest.mark.parametrize("word", ["king", "of the", ""])
def test_new_rows_of_words_that_learning_would_not_add(command, table, tmp_path, word):
    rows = np.vstack([table.matrix, [[1, 2, 3]]]).astype(np.float32)
    rowtune.save(rowtune.Vectors([*table.words, word], rows), tmp_path / "after.npy")
    assert command("patch", "before.vec", "after.npy", "-o", "r.safetensors").code == 0
    assert command("apply", "before.vec", "r.safetensors", "-o", "out.vec").code == 0
    out = rowtune.load(tmp_path / "out.vec", cache=False)
    assert list(out.words) == [*table.words, word]
    assert out.matrix.tobytes() == rows.tobytes()


def test_another_base_is_refused(command, table, after, tmp_path):
    assert command("patch", "before.vec", "after.vec", "-o", "rows.safetensors").code == 0
    other = np.array(table.matrix)
    other[0, 0] = np.nextafter(other[0, 0], np.float32(9))
    rowtune.save(rowtune.Vectors(table.words, other), tmp_path / "other.vec")
    done = command("apply", "other.vec", "rows.safetensors", "-o", "out.vec")
    assert done.code == 2
    assert "another base" in done.err
    assert not (tmp_path / "out.vec").exists()
    done = command("apply", "other.vec", "rows.safetensors", "-o", "out.vec", "--force")
    assert done.code == 0
    assert rowtune.load("out.vec", cache=False).matrix[0].tobytes() == other[0].tobytes()
    # The same rows under other words: the fingerprint cannot know.
    renamed = ["king", "Queen", *table.words[2:]]
    rowtune.save(rowtune.Vectors(renamed, table.matrix), tmp_path / "renamed.vec")
    done = command("apply", "renamed.vec", "rows.safetensors", "-o", "no.vec")
    assert done.code == 2
    assert "'queen'" in done.err
    assert "'Queen'" in done.err
    assert command("apply", "renamed.vec", "rows.safetensors", "-o", "no.vec", "--force").code == 0


def test_several_patches_of_disjoint_rows(command, table, tmp_path):
    for i in (1, 4):
        rows = np.array(table.matrix)
        rows[i] *= 2
        rowtune.save(rowtune.Vectors(table.words, rows), tmp_path / "after.vec")
        assert command("patch", "before.vec", "after.vec", "-o", f"{i}.safetensors").code == 0
    patches = ["1.safetensors", "4.safetensors"]
    assert command("apply", "before.vec", *patches, "-o", "out.vec").code == 0
    out = rowtune.load("out.vec", cache=False).matrix
    assert (out[[1, 4]] == 2 * table.matrix[[1, 4]]).all()
    assert (out[[0, 2, 3, 5]] == table.matrix[[0, 2, 3, 5]]).all()
    done = command("apply", "before.vec", *patches, patches[0], "-o", "out2.vec")
    assert done.code == 2
    assert "another patch holds too" in done.err


def test_what_a_patch_cannot_say_is_noted(command, table, tmp_path):
    order = [5, 4, 3, 2, 1]
    words = [table.words[i] for i in order]
    rowtune.save(rowtune.Vectors(words, table.matrix[order]), tmp_path / "after.vec")
    done = command("patch", "before.vec", "after.vec", "-o", "r.safetensors", "--json", "f.json")
    assert done.code == 0
    assert "AFTER lacks 1 row of BEFORE" in done.text
    assert "another order" in done.text
    assert json.loads((tmp_path / "f.json").read_text())["not_in_after"] == ["king"]
    assert command("apply", "before.vec", "r.safetensors", "-o", "out.vec").code == 0
    assert command("diff", "before.vec", "out.vec").code == 0  # no row was in it


def test_rows_that_changed_and_stand_elsewhere(command, table, tmp_path):
    order = [4, 0, 1, 2, 3, 5]
    rows = np.array(table.matrix[order])
    rows[1] *= 2  # of king, row 0 before
    words = [table.words[i] for i in order]
    rowtune.save(rowtune.Vectors(words, rows), tmp_path / "after.vec")
    assert command("patch", "before.vec", "after.vec", "-o", "r.safetensors").code == 0
    patch = read_patch(tmp_path / "r.safetensors")
    assert (patch.ids.tolist(), patch.tokens) == ([0], ["king"])
    assert (patch.rows == 2 * table.matrix[:1]).all()


def test_mistakes(command, table, after, tmp_path):
    rowtune.save(rowtune.Vectors(after.words, after.matrix.astype("f8")), tmp_path / "wide.npy")
    bare = rowtune.Table(np.array(table.matrix), train=[0])
    bare.grow(np.ones((2, 3), np.float32))
    bare.save_patch(tmp_path / "bare.safetensors")
    for arguments, said in (
        (["patch", "before.vec", "wide.npy", "-o", "r.safetensors"], "one dtype"),
        (["patch", "before.vec", "after.vec", "-o", "r.npz"], ".safetensors"),
        (["patch", "before.vec", "after.vec", "-o", "no/r.safetensors"], "no such folder"),
        (["apply", "before.vec", "after.vec", "-o", "out.vec"], "after.vec"),
        (["apply", "before.vec", "bare.safetensors", "-o", "out.vec"], "without words"),
        (["apply", "before.vec", "bare.safetensors", "-o", "bare.safetensors"], "is read by"),
    ):
        done = command(*arguments)
        assert done.code == 2, arguments
        assert said in done.err, arguments
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"before.vec", "after.vec", "wide.npy", "wide.words.txt", "bare.safetensors"}
