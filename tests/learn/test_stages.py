"""Finished stages on disk: read back as they were, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from rowtune.learn.stages import Stages, forget

ARRAYS = {
    "ids": np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2],
    "rows": np.array([[1.5, -0.0], [np.nan, np.inf]], np.float32),
    "none": np.empty((0, 5), np.float32),
    "number": np.array(2),
    "text": np.frombuffer("größer".encode(), np.uint8),
}


def refuse():
    raise AssertionError("computed again")


def same(found):
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
        np.testing.assert_array_equal(found[name], array)


def test_what_was_saved_is_read_back_bit_for_bit(tmp_path):
    first = Stages(tmp_path / "a" / "b", "run")
    same(first("own space", lambda: ARRAYS))
    assert first.found == []
    again = Stages(tmp_path / "a" / "b", "run")
    same(again("own space", refuse))
    assert again.found == ["own space"]


def test_stages_of_another_run_are_computed_and_written_over(tmp_path):
    Stages(tmp_path, "one")("a", lambda: {"x": np.arange(3)})
    other = Stages(tmp_path, "two")
    assert other("a", lambda: {"x": np.arange(4)})["x"].tolist() == [0, 1, 2, 3]
    assert other.found == []
    assert Stages(tmp_path, "two")("a", refuse)["x"].tolist() == [0, 1, 2, 3]
    with pytest.raises(AssertionError, match="computed again"):
        Stages(tmp_path, "one")("a", refuse)


def test_one_flipped_bit_anywhere_and_any_cut_are_noticed(tmp_path):
    Stages(tmp_path, "run")("a", lambda: ARRAYS)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    damaged = [whole[:size] for size in (0, 10, 32, 50, len(whole) - 1)] + [whole + b"\0"]
    for at in range(0, len(whole), 7):
        damaged.append(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    for content in damaged:
        path.write_bytes(content)
        stages = Stages(tmp_path, "run")
        same(stages("a", lambda: ARRAYS))
        assert stages.found == []
        assert path.read_bytes() == whole


def test_nothing_is_saved_once_somebody_has_had_enough(tmp_path):
    says = []
    stages = Stages(tmp_path, "run", lambda: bool(says))
    stages("before", lambda: ARRAYS)

    def cut_short():
        says.append(True)
        return ARRAYS

    same(stages("during", cut_short))
    same(stages("after", lambda: ARRAYS))
    assert [path.name for path in tmp_path.iterdir()] == ["before.stage"]
    assert Stages(tmp_path, "run", lambda: True)("before", refuse)["number"] == 2


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(AssertionError):
        Stages(tmp_path / "r", "run")("a", refuse)
    assert not list(tmp_path.rglob("*.*"))


def test_without_a_folder_every_stage_is_computed():
    calls = []
    stages = Stages()
    for _ in range(2):
        same(stages("a", lambda: calls.append(1) or ARRAYS))
    assert len(calls) == 2 and stages.found == []


def test_at_the_end_the_stages_go_and_what_else_is_there_stays(tmp_path):
    own, shared = Stages(tmp_path / "own", "run"), Stages(tmp_path / "shared", "run")
    for stages in (own, shared):
        stages("a", lambda: ARRAYS)
        stages("b c", lambda: ARRAYS)
    (tmp_path / "shared" / "thesis.txt").write_text("mine")
    for folder in (own.folder, shared.folder, tmp_path / "never"):
        forget(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["shared", "thesis.txt"]
