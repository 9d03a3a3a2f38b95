"""`Rows`: which rows train, and where each one lives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowtune import Rows
from rowtune.errors import IdError, RowtuneError, ShapeError


def naive_slots(ids, trainable):
    place = {int(i): slot for slot, i in enumerate(sorted(trainable))}
    return np.array([place.get(int(i), -1) for i in np.ravel(ids)]).reshape(np.shape(ids))


@given(st.data(), st.integers(1, 2000))
def test_slots_of_any_choice_agree_with_a_dictionary(data, num_rows):
    chosen = data.draw(st.sets(st.integers(0, num_rows - 1), max_size=50))
    order = data.draw(st.permutations(sorted(chosen)))
    rows = Rows(num_rows, np.array(order, dtype=np.int64))
    ids = np.array(data.draw(st.lists(st.integers(0, num_rows - 1), max_size=60)), dtype=np.int64)
    np.testing.assert_array_equal(rows.slots(ids), naive_slots(ids, chosen))
    assert rows.ids.tolist() == sorted(chosen)
    assert len(rows) == len(chosen)
    assert np.flatnonzero(rows.mask).tolist() == sorted(chosen)


def test_a_mask_a_slice_ids_and_all_are_four_ways_to_say_the_same():
    mask = np.zeros(10, bool)
    mask[2:8:2] = True
    for choice in (mask, mask.tolist(), slice(2, 8, 2), [6, 2, 4], np.array([4, 6, 2], np.uint8)):
        assert Rows(10, choice).ids.tolist() == [2, 4, 6]
    assert Rows(3, "all").ids.tolist() == [0, 1, 2]
    assert Rows(3).slots([2, 0]).tolist() == [2, 0]
    assert Rows(10, slice(7, 2, -2)).ids.tolist() == [3, 5, 7]


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3), (2, 1, 4)])
def test_slots_have_the_shape_of_the_ids_and_are_int32(shape):
    slots = Rows(50, [3, 9]).slots(np.full(shape, 9))
    assert slots.shape == shape
    assert slots.dtype == np.int32
    assert (slots == 1).all()


def test_few_rows_of_a_huge_table_cost_nothing_of_its_size():
    rows = Rows(10**12, [5, 10**11, 7])
    assert rows.slots([[5, 6], [10**11, 10**12 - 1]]).tolist() == [[0, -1], [2, -1]]
    assert rows.slot_map is None


def test_no_row_trains():
    for rows in (Rows(5, []), Rows(5, np.zeros(5, bool)), Rows(0, "all"), Rows(10**9, [])):
        assert len(rows) == 0
    with pytest.raises(IdError, match="there are none"):
        Rows(0).slots([0])
    assert Rows(5, []).slots([0, 4]).tolist() == [-1, -1]
    assert Rows(10**9, []).slots([10**9 - 1]).tolist() == [-1]


def test_ids_that_span_several_pieces_are_all_checked_and_mapped():
    rng = np.random.default_rng(0)
    trainable = rng.permutation(75_000)[:15_000]
    rows = Rows(75_000, trainable)
    ids = rng.integers(0, 75_000, (4_000, 75))
    expected = np.full(75_000, -1)
    expected[np.sort(trainable)] = np.arange(15_000)
    np.testing.assert_array_equal(rows.slots(ids), expected[ids])
    ids[-1, -1] = 75_000
    with pytest.raises(IdError, match="id 75000 is not a row: expected 0 to 74999"):
        rows.slots(ids)


@pytest.mark.parametrize("train", ["all", [1, 2], slice(0, 3)])
@pytest.mark.parametrize("wrong", [-1, 5, 2**40])
def test_an_id_out_of_range_raises_whatever_trains(train, wrong):
    with pytest.raises(IdError, match=f"id {wrong} is not a row"):
        Rows(5, train).slots([0, wrong])


@pytest.mark.parametrize(
    ("ids", "words"),
    [([0.0, 1.0], "float64"), ([True, False], "bool"), (["a"], "<U1"), ([None], "object")],
)
def test_ids_that_are_not_integers_raise(ids, words):
    with pytest.raises(IdError, match=words):
        Rows(5, "all").slots(ids)


@pytest.mark.parametrize(
    ("train", "error", "words"),
    [
        (np.ones(4, bool), ShapeError, r"shape \(4,\); expected \(5,\)"),
        ([0, 0], IdError, "names row 0 twice"),
        ([5], IdError, "id 5 is not a row"),
        ([-1], IdError, "do not count from the end"),
        ([0.5], IdError, "float64"),
        ([[0, 1]], ShapeError, "flat list of ids"),
        ("some", ShapeError, "train='some' is unknown"),
    ],
)
def test_a_choice_that_makes_no_sense_raises(train, error, words):
    with pytest.raises(error, match=words):
        Rows(5, train)


def test_columns_are_chosen_like_rows():
    rows = Rows(5, [1], columns=[3, 0])
    assert rows.chosen_columns(4).tolist() == [0, 3]
    assert Rows(5, [1], columns=slice(1, 3)).chosen_columns(4).tolist() == [1, 2]
    assert Rows(5, [1]).chosen_columns(4) is None
    assert Rows(5, [1], columns="all").chosen_columns(4) is None
    with pytest.raises(RowtuneError, match="id 4 is not a column: expected 0 to 3"):
        rows_of_four = Rows(5, [1], columns=[4])
        rows_of_four.chosen_columns(4)


def test_growing_keeps_every_slot():
    rows = Rows(6, [4, 1]).grown(2)
    assert rows.ids.tolist() == [1, 4, 6, 7]
    assert rows.slots([1, 4, 5, 6, 7]).tolist() == [0, 1, -1, 2, 3]
    assert Rows(2, "all").grown(1).slots([2]).tolist() == [2]


def test_the_ids_cannot_be_changed_behind_its_back():
    mine = np.array([1, 2])
    rows = Rows(5, mine)
    mine[0] = 4
    assert rows.ids.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        rows.ids[0] = 3


def test_a_small_table_is_never_searched():
    assert Rows(75_000, [1, 2, 3]).slot_map is not None
    assert Rows(30_000_000, range(0, 30_000_000, 200)).slot_map is not None
    assert Rows(30_000_000, [7]).slot_map is None
    assert Rows(1 << 22, [7]).slot_map is not None
    assert Rows((1 << 22) + 1, [7]).slot_map is None
    assert Rows((1 << 22) + 1, [7]).search_ids.tolist() == [7]
    assert Rows(30, [7]).search_ids is Rows(30).search_ids is None


def test_unsigned_and_very_large_ids():
    assert Rows(10, np.array([6, 1], np.uint64)).ids.tolist() == [1, 6]
    huge = Rows(2**63 - 1, [2**62, 2**62 + 1])
    assert huge.slots(np.array([2**62 + 1, 2**62 + 2], np.uint64)).tolist() == [1, -1]
    with pytest.raises(IdError, match="id 18446744073709551615 is not"):
        huge.slots(np.array([2**64 - 1], np.uint64))
    assert Rows(10**12, slice(0, 5)).ids.tolist() == [0, 1, 2, 3, 4]
    swapped = np.array([3, -1], ">i8")
    with pytest.raises(IdError, match="id -1"):
        Rows(10).slots(swapped)
    assert Rows(10).slots(swapped[:1]).tolist() == [3]


def test_columns_are_its_own():
    mask = np.array([True, False, True])
    rows = Rows(5, [1], columns=mask)
    mask[:] = True
    assert rows.chosen_columns(3).tolist() == [0, 2]
