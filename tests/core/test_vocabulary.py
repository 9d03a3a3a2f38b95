"""`Vocabulary`: against a plain dict, with any integers and any text."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowtune import Table, Vocabulary
from rowtune.errors import FormatError, IdError, ShapeError
from rowtune.kernels import key_table

EDGES = [-(2**63), -(2**63) + 1, -2, -1, 0, 1, 2**31, 2**62, 2**63 - 1]
SIGNED = st.one_of(st.sampled_from(EDGES), st.integers(-(2**63), 2**63 - 1), st.integers(0, 9))
UNSIGNED = st.one_of(st.sampled_from([2**64 - 1, 2**63, 0, 1]), st.integers(0, 2**64 - 1))
TEXT = st.one_of(st.text(max_size=4), st.sampled_from(["", "a", "A", "\0", "a\0", "é", "e\u0301"]))


class Naive:
    """The same with a dict and a loop."""

    def __init__(self, admit_at):
        self.admit_at, self.row_of, self.seen = admit_at, {}, Counter()

    def add(self, keys):
        before = len(self.row_of)
        for key in keys:
            self.seen[key] += 1
            if self.seen[key] >= self.admit_at and key not in self.row_of:
                self.row_of[key] = len(self.row_of)
        return self.rows(keys), len(self.row_of) - before

    def rows(self, keys):
        return [self.row_of.get(key, -1) for key in keys]

    def forget(self):
        self.seen = Counter({key: self.seen[key] for key in self.row_of})


def agrees(vocabulary, naive, asked, as_array):
    assert vocabulary.rows(as_array(asked)).tolist() == naive.rows(asked)
    assert len(vocabulary) == len(naive.row_of)
    keys = vocabulary.keys()
    keys = keys if isinstance(keys, list) else keys.tolist()
    assert keys == list(naive.row_of)
    assert vocabulary.counts.tolist() == [naive.seen[key] for key in keys]
    assert [vocabulary.key_of(row) for row in range(len(keys))] == keys
    for key in asked[:3]:
        assert (key in vocabulary) == (key in naive.row_of)


@pytest.mark.parametrize(
    ("kind", "as_array"),
    [
        (SIGNED, lambda keys: np.array(keys, np.int64)),
        (UNSIGNED, lambda keys: np.array(keys, np.uint64)),
        (TEXT, list),
    ],
    ids=["signed", "unsigned", "text"],
)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), admit_at=st.integers(1, 4))
def test_it_is_a_dict(kind, as_array, data, admit_at, tmp_path_factory):
    vocabulary, naive = Vocabulary(admit_at=admit_at), Naive(admit_at)
    for _ in range(data.draw(st.integers(0, 5))):
        keys = data.draw(st.lists(kind, max_size=30))
        rows, new = vocabulary.add(as_array(keys))
        assert (rows.tolist(), new) == naive.add(keys)
        if data.draw(st.integers(0, 4)) == 0:
            vocabulary.forget()
            naive.forget()
        agrees(vocabulary, naive, data.draw(st.lists(kind, max_size=9)) + keys, as_array)
    path = tmp_path_factory.mktemp("vocabulary") / "keys"
    vocabulary.save(path)
    for other in (Vocabulary.load(path), pickle.loads(pickle.dumps(vocabulary))):
        keys = data.draw(st.lists(kind, max_size=30))
        twin = copy.deepcopy(naive)
        agrees(other, twin, keys, as_array)
        assert other.admit_at == admit_at
        rows, new = other.add(as_array(keys))  # those without a row are counted on from here
        assert (rows.tolist(), new) == twin.add(keys)


def test_many_keys_of_many_batches():
    rng = np.random.default_rng(0)
    vocabulary, naive = Vocabulary(admit_at=2), Naive(2)
    for _ in range(4):
        keys = rng.zipf(1.2, 30_000).astype(np.int64) * 2**40
        rows, new = vocabulary.add(keys.reshape(100, 300))
        expected, count = naive.add(keys.tolist())
        assert rows.shape == (100, 300)
        assert (rows.reshape(-1).tolist(), new) == (expected, count)
    agrees(vocabulary, naive, keys.tolist(), np.array)


@pytest.mark.parametrize("stride", [1 << 63, 1 << 32, 1 << 48, 1 << 20, 10**9, 1])
def test_keys_that_have_much_in_common_lie_as_far_apart_as_others(stride):
    """No clock: how far keys stand from the places that their hashes name."""
    few = 2 if stride == 1 << 63 else 30_000
    keys = (np.arange(few, dtype=np.uint64) * np.uint64(stride)).view(np.int64)
    own = Vocabulary()
    own.add(np.unique(keys))
    table, seed = own._map._table, own._map._seed
    taken = np.flatnonzero(table[:, 1] >= 0)
    named = np.array([key_table._first_place(table, key, seed) for key in table[taken, 0]])
    away = (taken - named) % len(table)
    assert away.mean() < 2
    assert away.max() < 200


def test_a_key_keeps_its_row_whatever_comes():
    vocabulary = Vocabulary(["b", "a"])
    assert vocabulary.rows(["a", "b", "c"]).tolist() == [1, 0, -1]
    assert vocabulary.add(["c", "a", "c"])[0].tolist() == [2, 1, 2]
    assert vocabulary.rows(["a", "b"]).tolist() == [1, 0]
    assert vocabulary.rows("c").shape == ()
    assert vocabulary.rows(np.array([["a"], ["?"]]), unknown=0).tolist() == [[1], [0]]
    assert "a" in vocabulary and "d" not in vocabulary and 3 not in vocabulary
    assert repr(vocabulary) == "Vocabulary(3 keys of text)"


def test_keys_of_a_table_that_exists():
    assert Vocabulary(np.array([7, -1, 3], np.int16)).rows([3, 7, 8]).tolist() == [2, 0, -1]
    assert Vocabulary(["x"], admit_at=3).rows(["x"]).tolist() == [0]
    with pytest.raises(IdError, match="3 keys, and 2 different ones"):
        Vocabulary([5, 6, 5])


def test_a_table_grows_with_its_keys():
    vocabulary, table = Vocabulary(admit_at=2), Table(np.zeros((0, 2)), rule="sgd", lr=1.0)
    for keys in (["a", "b"], ["b", "c"], ["a", "a", "b"]):
        rows, new = vocabulary.add(keys)
        assert new == len(vocabulary) - len(table)
        table.grow(np.zeros((new, 2)))
        seen = rows >= 0
        table.update(rows[seen], np.ones((int(seen.sum()), 2)))
    assert vocabulary.keys() == ["b", "a"]
    assert table.weights[:, 0].tolist() == [-2, -2]


def test_negative_keys_and_keys_beyond_int64_are_not_taken_for_each_other():
    vocabulary = Vocabulary()
    vocabulary.add(np.array([5], np.uint64))
    vocabulary.add([-1])
    top = np.array([2**64 - 1, 5], np.uint64)
    assert vocabulary.rows(top).tolist() == [-1, 0]
    assert 2**64 - 1 not in vocabulary
    with pytest.raises(IdError, match="negative keys and keys beyond int64"):
        vocabulary.add(top)
    assert len(vocabulary) == 2
    other = Vocabulary(top)
    assert other.rows([-1, 5]).tolist() == [-1, 1]
    assert other.key_of(0) == 2**64 - 1
    assert other.keys().dtype == np.uint64
    with pytest.raises(IdError, match="negative keys"):
        other.add(np.array([-1]))
    assert Vocabulary([2**64 - 1]).key_of(0) == 2**64 - 1
    # NumPy makes floats of such a list, in which the two are the same.
    assert Vocabulary([2**63 + 1, 3, 2**63]).rows([3, 2**63, 2**63 + 1]).tolist() == [1, 2, 0]
    assert Vocabulary([[2**63, 1], [2, 3]]).rows([3, 2**63]).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([b"a"], "decode bytes"),
        (np.array([b"a"]), "decode bytes"),
        ([1.0], "1.0;.*astype"),
        (np.array([1.0]), "float64.*astype"),
        (np.array([1.5, np.nan]), "float64"),
        ([True], "mask"),
        ([1, "a"], "text and also 1"),
        ([["a"], [1]], "text and also 1"),
        ([None], "None"),
        ([2**64], f"to {2**64} fit neither int64 nor uint64"),
        ([-1, 2**63], f"keys from -1 to {2**63} fit neither int64 nor uint64"),
        ([2**63, 1.5], "1.5;.*astype"),
        ({1, 2}, "a set; expected an array or a list"),
        ([[1], [2, 3]], "not one array"),
        (np.array(["2020-01-01"], "M8[D]"), "datetime64"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_key_is_refused(keys, words):
    for vocabulary in (Vocabulary(), Vocabulary([1]), Vocabulary(["a"])):
        for verb in (vocabulary.add, vocabulary.rows):
            with pytest.raises(IdError, match=words):
                verb(keys)


def test_a_vocabulary_holds_one_kind():
    numbers, text = Vocabulary([1]), Vocabulary(["1"])
    for vocabulary, keys in ((numbers, ["1"]), (text, [1])):
        for verb in (vocabulary.add, vocabulary.rows):
            with pytest.raises(IdError, match="one type"):
                verb(keys)
        assert vocabulary.rows([]).tolist() == []
        assert vocabulary.add(np.zeros((0, 3), np.float64))[0].shape == (0, 3)
        assert len(vocabulary) == 1
    empty = Vocabulary()
    assert empty.rows(["a", "b"]).tolist() == empty.rows([1, 2]).tolist() == [-1, -1]
    assert (len(empty), len(empty.keys()), len(empty.counts)) == (0, 0, 0)
    assert empty.add(["a"])[1] == 1
    assert Vocabulary(np.array(["a", "b"], object)).keys() == ["a", "b"]
    assert Vocabulary(np.array(["a", "b"], np.dtypes.StringDType())).keys() == ["a", "b"]
    assert Vocabulary(np.array([3, 2**63], object)).key_of(1) == 2**63


def test_numbers_that_make_no_sense():
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ShapeError, match="admit_at"):
            Vocabulary(admit_at=wrong)
    for row in (-1, 2):
        with pytest.raises(IdError, match=f"row {row} has no key"):
            Vocabulary([4, 5]).key_of(row)


ORDER = """
from rowtune import Vocabulary
v = Vocabulary(admit_at=2)
for i in range(3):
    v.add([f"user {j % 7}" for j in range(i, 20)])
print(v.keys(), v.counts.tolist())
"""


def test_rows_do_not_depend_on_the_hash_of_text():
    said = [
        subprocess.run(
            [sys.executable, "-c", ORDER], capture_output=True, text=True, check=True, timeout=60,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert said[0] == said[1]


@pytest.mark.parametrize("keys", [["a", "b\ud800", ""], [1, -5], np.array([2**63], np.uint64)])
def test_a_file_with_any_bit_turned_or_bytes_missing_is_refused(keys, tmp_path):
    path = tmp_path / "keys"
    vocabulary = Vocabulary(admit_at=2)
    vocabulary.add([*keys, *keys])
    vocabulary.add(keys[:1] if isinstance(keys, list) else keys)
    vocabulary.add(["c"] if isinstance(keys[0], str) else [77])
    vocabulary.save(path)
    assert list(Vocabulary.load(path).keys()) == list(vocabulary.keys())
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in {*rng.integers(0, len(whole), 120).tolist(), len(whole) - 1, 8, 0}:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(FormatError):
            Vocabulary.load(path)
    for length in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            Vocabulary.load(path)
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "none")


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "keys"
    Vocabulary([1, 2]).save(path)
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        Vocabulary([3]).save(path)
    assert Vocabulary.load(path).keys().tolist() == [1, 2]


def test_threads_add_and_read(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    vocabulary = Vocabulary(admit_at=2)
    pieces = np.random.default_rng(0).integers(0, 5_000, (8, 20_000))
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(vocabulary.rows, piece) for piece in pieces]
        added = [pool.submit(vocabulary.add, piece) for piece in pieces]
    for job in (*asked, *added):
        job.result(timeout=60)
    assert vocabulary.counts.sum() == pieces.size
    assert sorted(vocabulary.keys().tolist()) == list(range(5_000))
    assert vocabulary.rows(vocabulary.keys()).tolist() == list(range(5_000))


@pytest.mark.parametrize("at", range(6))
def test_ctrl_c_among_text_leaves_one_row_a_key(at):
    class Interrupting(list):
        """Text that is interrupted when the map takes a note of it."""

        left = at

        def append(self, value):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            super().append(value)

    vocabulary = Vocabulary(["z"])
    vocabulary._map._counts = Interrupting([1])
    keys = ["a", "b", "a", "c", "d", "e"]
    try:
        vocabulary.add(keys)
    except KeyboardInterrupt:
        vocabulary._map._counts = list(vocabulary._map._counts)
    vocabulary.add(keys)
    assert vocabulary.keys() == ["z", "a", "b", "c", "d", "e"]
    assert vocabulary.rows(["e", "z"]).tolist() == [5, 0]
    assert len(vocabulary.counts) == 6


@pytest.mark.parametrize("key", [7, "seven"])
def test_keys_that_are_all_too_rare_keep_their_counts_in_a_file(tmp_path, key):
    vocabulary = Vocabulary(admit_at=3)
    vocabulary.add([key, key])
    vocabulary.save(tmp_path / "keys")
    twin = Vocabulary.load(tmp_path / "keys")
    for each in (vocabulary, twin):
        rows, new = each.add([key])
        assert (rows.tolist(), new, each.counts.tolist()) == ([0], 1, [3])
