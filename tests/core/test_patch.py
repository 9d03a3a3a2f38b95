"""Patches: the trained rows in a small file, for one base and no other."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rowtune import Table, apply_patch
from rowtune.errors import PatchError
from rowtune.patch_file import read_patch


@pytest.fixture
def weights():
    return np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)


def trained(weights, train, **more):
    table = Table(weights, train, **more)
    rng = np.random.default_rng(1)
    for _ in range(3):
        ids = rng.integers(0, len(weights), 60)
        table.update(ids, rng.standard_normal((60, weights.shape[1])))
    return table


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_patch_on_its_base_gives_the_trained_table(tmp_path, weights, dtype):
    weights = weights.astype(dtype)
    table = trained(weights, [3, 50, 99])
    before = weights.tobytes()
    table.save_patch(tmp_path / "p.safetensors")
    result = apply_patch(weights, tmp_path / "p.safetensors")
    assert result.tobytes() == table.weights.tobytes()
    assert weights.tobytes() == before
    result[:] = 0  # it is the user's own array


def test_a_patch_holds_the_rows_and_little_more(tmp_path, weights):
    trained(weights, [3, 50, 99]).save_patch(tmp_path / "p.safetensors")
    assert (tmp_path / "p.safetensors").stat().st_size < 3 * 8 * 4 + 3 * 8 + 600


def test_patches_of_disjoint_rows_and_of_columns(tmp_path, weights):
    a = trained(weights, [3, 50])
    b = trained(weights, slice(60, 70))
    c = trained(weights, [3, 51], columns=[1])
    for name, table in zip("abc", (a, b, c), strict=True):
        table.save_patch(tmp_path / name)
    result = apply_patch(weights, tmp_path / "b", tmp_path / "a")
    assert result[[3, 50]].tobytes() == a.weights[[3, 50]].tobytes()
    assert result[60:70].tobytes() == b.weights[60:70].tobytes()
    assert apply_patch(weights, tmp_path / "c").tobytes() == c.weights.tobytes()
    with pytest.raises(PatchError, match=r"c holds row 3, which another patch holds too \(1 rows"):
        apply_patch(weights, tmp_path / "a", tmp_path / "c")
    assert apply_patch(weights).tobytes() == weights.tobytes()


def test_a_patch_with_added_rows_makes_the_table_longer(tmp_path, weights):
    table = Table(weights, [3])
    table.grow(np.ones((2, 8)))
    table.save_patch(tmp_path / "p")
    assert apply_patch(weights, tmp_path / "p").tobytes() == table.weights.tobytes()


def test_a_patch_for_another_base_is_refused_unless_the_user_insists(tmp_path, weights):
    table = trained(weights, [3, 50])
    table.save_patch(tmp_path / "p", state=True)
    other = weights.copy()
    other[7, 7] = -other[7, 7]
    with pytest.raises(PatchError, match=r"another base .* force=True"):
        apply_patch(other, tmp_path / "p")
    with pytest.raises(PatchError, match="another base"):
        Table(other, [3, 50]).load_patch(tmp_path / "p")
    result = apply_patch(other, tmp_path / "p", force=True)
    assert result[[3, 50]].tobytes() == table.block.tobytes()
    assert result[7].tobytes() == other[7].tobytes()
    Table(other, [3, 50]).load_patch(tmp_path / "p", force=True)
    for unlike in (weights[:, :4], weights.astype(np.float64)):
        with pytest.raises(PatchError, match="made for a base of 100 x 8 float32"):
            apply_patch(unlike, tmp_path / "p", force=True)


def test_training_goes_on_from_a_patch_as_if_it_had_never_stopped(tmp_path, weights):
    table = trained(weights, [3, 50, 99])
    table.save_patch(tmp_path / "p", state=True)
    again = Table(weights, [99, 3, 50])
    again.load_patch(tmp_path / "p")
    for t in (table, again):
        t.update([3, 99, 3], np.ones((3, 8)))
    assert again.weights.tobytes() == table.weights.tobytes()
    assert again.steps.tolist() == table.steps.tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"train": [3, 51]}, "they are not the same"),
        ({"train": [3, 50], "columns": [0]}, "they are not the same"),
        (
            {"train": [3, 50], "rule": "sgd"},
            r"the state \['m', 'v'\] of rule 'adam'; this table's rule 'sgd'",
        ),
    ],
)
def test_a_patch_of_other_rows_or_of_another_rule_does_not_load(
    tmp_path, weights, arguments, words
):
    trained(weights, [3, 50]).save_patch(tmp_path / "p", state=True)
    table = Table(weights, **arguments)
    with pytest.raises(PatchError, match=words):
        table.load_patch(tmp_path / "p")
    assert table.weights.tobytes() == weights.tobytes()


def damage(path, what):
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "text":
        path.write_text("the 0.1 0.2\n" * 100)
    elif what == "pickle":
        path.write_bytes(b"\x80\x04\x95" + bytes(100))
    elif what == "other":
        save_file({"rows": np.zeros((2, 8), np.float32)}, path)


@pytest.mark.parametrize("what", ["cut", "empty", "text", "pickle", "other"])
def test_a_damaged_file_is_named_and_refused(tmp_path, weights, what):
    path = tmp_path / "p.safetensors"
    trained(weights, [3, 50]).save_patch(path)
    damage(path, what)
    with pytest.raises(PatchError, match=r"p\.safetensors"):
        read_patch(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ids", np.array([50, 3])),
        ("ids", np.array([3, 3])),
        ("ids", np.array([3, 100])),
        ("ids", np.array([-1, 3])),
        ("ids", np.array([3.0, 50.0])),
        ("rows", np.zeros((3, 8), np.float32)),
        ("rows", np.zeros((2, 7), np.float32)),
        ("rows", np.zeros((2, 8), np.int32)),
        ("ids", np.array([3, 50], np.int32)),
        ("columns", np.array([9])),
        ("columns", np.array(1)),
        ("added", np.zeros((1, 8), np.float32)),
        ("steps", np.array([-5, 1], np.int32)),
        ("steps", np.array([1, 1], np.float32)),
        ("state.m", np.zeros((2, 8), np.int32)),
        ("steps", np.zeros(3, np.int32)),
        ("state.m", np.zeros((2, 7), np.float32)),
    ],
)
def test_parts_that_do_not_fit_each_other_are_damage(tmp_path, weights, name, value):
    from safetensors import safe_open

    path = tmp_path / "p.safetensors"
    trained(weights, [3, 50]).save_patch(path, state=True)
    with safe_open(path, "np") as file:
        facts = file.metadata()
    tensors = load_file(path)
    read_patch(path)
    tensors[name] = value
    save_file(tensors, path, metadata=facts)
    with pytest.raises(PatchError, match="do not fit each other"):
        read_patch(path)


def test_no_such_file(tmp_path, weights):
    with pytest.raises(FileNotFoundError, match="no patch at"):
        apply_patch(weights, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        Table(weights, [1]).save_patch(tmp_path / "no folder" / "p")


def test_added_rows_of_a_table_with_chosen_columns_travel_whole(tmp_path, weights):
    table = Table(weights, [1], columns=[0, 2])
    table.grow(np.full((2, 8), 7.0))
    table.update([100, 1], np.ones((2, 8)))
    table.save_patch(tmp_path / "p")
    assert apply_patch(weights, tmp_path / "p").tobytes() == table.weights.tobytes()
    again = Table(weights, [1], columns=[0, 2])
    again.grow(np.zeros((2, 8)))
    again.load_patch(tmp_path / "p")
    assert again.weights.tobytes() == table.weights.tobytes()


@pytest.mark.parametrize("length", [50, 120])
def test_a_base_of_another_length_is_refused_even_by_force(tmp_path, weights, length):
    table = Table(weights, [3])
    table.grow(np.ones((2, 8)))
    table.save_patch(tmp_path / "p")
    other = np.resize(weights, (length, 8))
    with pytest.raises(PatchError, match=f"for a base of 100 x 8 float32; this one is {length}"):
        apply_patch(other, tmp_path / "p", force=True)


def test_a_patch_of_no_rows(tmp_path, weights):
    Table(weights, []).save_patch(tmp_path / "p")
    assert apply_patch(weights, tmp_path / "p", tmp_path / "p").tobytes() == weights.tobytes()


def test_a_base_of_the_other_byte_order_is_the_same_base(tmp_path, weights):
    swapped = weights.astype(">f4")
    table = Table(swapped, [1, 2], "sgd", lr=1.0)
    table.update([1], np.ones((1, 8)))
    table.save_patch(tmp_path / "p")
    assert table.fingerprint() == Table(weights).fingerprint()
    np.testing.assert_array_equal(apply_patch(weights, tmp_path / "p"), table.weights)
    np.testing.assert_array_equal(apply_patch(swapped, tmp_path / "p"), table.weights)
    Table(swapped, [1, 2]).load_patch(tmp_path / "p")


def test_step_counts_go_on_past_a_fresh_clock(tmp_path):
    table = Table(np.zeros((3, 1)), [1], lr=0.1)
    for _ in range(600):
        table.update([1], [[1.0]])
    table.save_patch(tmp_path / "p", state=True)
    again = Table(np.zeros((3, 1)), [1], lr=0.1)
    again.load_patch(tmp_path / "p")
    for t in (table, again):
        t.update([1], [[1.0]])
    assert again.weights.tobytes() == table.weights.tobytes()


def test_a_patch_without_state_starts_afresh(tmp_path, weights):
    table = trained(weights, [3, 50])
    table.save_patch(tmp_path / "p")
    table.load_patch(tmp_path / "p")
    assert not table.steps.any()
    assert not table.state["m"].any()


def test_a_fingerprint_sees_every_piece(monkeypatch):
    from rowtune import base

    monkeypatch.setattr(base, "_BYTES_AT_A_TIME", 48)  # three rows a piece, and a tail
    weights = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    prints = {base.fingerprint(weights)}
    for row in range(10):
        other = weights.copy()
        other[row, 3] += 1
        prints.add(base.fingerprint(other))
    assert len(prints) == 11
