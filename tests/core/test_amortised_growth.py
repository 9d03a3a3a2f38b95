"""Rows that are added one by one, and choosing all rows: what takes memory, and what is copied."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowtune import Rows, Table, places
from rowtune.errors import IdError, ShapeError
from rowtune.row_memory import RowMemory, address

ROWS = 500  # added, one at a time
MOST_MOVES = 30  # a quarter more room each time: log(500) / log(1.25), and a few


def most_memory(work):
    """Bytes at the peak of what NumPy and Python allocate."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_choosing_all_rows_takes_no_memory():
    def work():
        rows = Rows(2_000_000_000)
        assert rows.slots([5, 1_999_999_999]).tolist() == [5, 1_999_999_999]
        assert len(rows.grown(10)) == 2_000_000_010

    assert most_memory(work) < 1 << 20


def test_a_table_that_trains_whole_never_asks_for_its_ids(monkeypatch):
    monkeypatch.setattr(Rows, "ids", property(lambda self: pytest.fail("an id for every row")))
    table = Table.zeros(6, 3, rule="adam")
    table.update([1, 5], np.ones((2, 3)))
    table.update(table.grow(np.ones((1, 3))), np.ones((1, 3)))
    table.set([2], np.ones((1, 3)))
    table.lookup([0, 6])
    assert table.weights.shape == (7, 3)


def test_a_table_of_zeros_is_in_memory_once_and_is_a_table():
    def work(rows=1_000_000):
        table = Table.zeros(rows, 16, rule="rowwise_adagrad")
        table.update([1, rows - 1], np.ones((2, 16)))

    work(9)  # compiled
    assert most_memory(work) < 1_000_000 * (16 + 1 + 1) * 4 + (1 << 21)
    table = Table.zeros(5, 3, dtype=np.float64, rule="sgd", lr=1.0, train=[1, 4])
    plain = Table(np.zeros((5, 3)), rule="sgd", lr=1.0, train=[1, 4])
    for each in (table, plain):
        each.update([1, 2, 4], np.ones((3, 3)))
    np.testing.assert_array_equal(table.weights, plain.weights)
    assert table.fingerprint() == plain.fingerprint()
    assert (table.block.dtype, table.shape) == (np.float64, (5, 3))
    ones = Table(np.broadcast_to(np.float32(1), (4, 2)))
    assert ones.block.tolist() == [[1, 1]] * 4
    assert np.signbit(Table(np.broadcast_to(np.float32(-0.0), (4, 2))).block).all()


def test_more_rows_than_slots_are_refused():
    with pytest.raises(ShapeError, match="one table can train 2147483647"):
        Rows(1 << 31)
    with pytest.raises(ShapeError, match="2147483648 rows are to train"):
        Rows((1 << 31) - 1).grown(1)
    assert len(Rows((1 << 31) - 1)) == (1 << 31) - 1


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_rows_that_have_grown_are_those_that_were_chosen_so(data, search):
    num_rows = data.draw(st.integers(1, 40))
    chosen = sorted(data.draw(st.sets(st.integers(0, num_rows - 1), max_size=num_rows)))
    before = places._search_is_better
    places._search_is_better = lambda trainable, rows: search and trainable < 9
    try:
        rows, known = Rows(num_rows, np.array(chosen, np.int64)), [(num_rows, list(chosen))]
        family = [rows]
        for _ in range(data.draw(st.integers(0, 8))):  # any of them may grow, and again
            parent = data.draw(st.integers(0, len(family) - 1))
            count = data.draw(st.integers(0, 30))
            size, ids = known[parent]
            family.append(family[parent].grown(count))
            known.append((size + count, [*ids, *range(size, size + count)]))
        for rows, (size, ids) in zip(family, known, strict=True):
            fresh = Rows(size, np.array(ids, np.int64))
            assert (rows.ids.tolist(), rows.num_rows) == (ids, size)
            np.testing.assert_array_equal(rows.slots(range(size)), fresh.slots(range(size)))
            assert (rows.mask == fresh.mask).all()
            with pytest.raises(IdError):
                rows.slots([size])
            assert (rows.slot_map is None) == (rows.search_ids is not None)
            if rows.slot_map is not None:
                assert len(rows.slot_map) == size
    finally:
        places._search_is_better = before


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, set()),
        ({"train": [1, 3]}, {"ids", "slots"}),
        ({"train": [1, 3], "columns": [0, 2]}, {"ids", "slots", "added"}),
        ({"catch_up": True, "lr_scale": np.full(5, 0.5)}, {"scale"}),
    ],
)
def test_arrays_move_seldom(options, names):
    table = Table(np.ones((5, 3), np.float32), rule="adam", lr=0.1, **options)
    seen: dict[str, set[int]] = {}
    for i in range(ROWS):
        new = table.grow(np.full((1, 3), float(i)))
        table.update([new[0], i % 5], np.ones((2, 3)))
        arrays = {"block": table.block, "steps": table.steps, **table.state}
        rows = table.rows
        maps = {"ids": None if rows.trains_all else rows.ids, "slots": table.rows.slot_map,
                "added": table._added if "columns" in options else None,
                "scale": table._block.lr_scale}  # fmt: skip
        for name, array in {**arrays, **{k: a for k, a in maps.items() if a is not None}}.items():
            seen.setdefault(name, set()).add(address(array))
    assert {name for name, where in seen.items() if len(where) > MOST_MOVES} == set()
    assert set(seen) == {"block", "steps", "m", "v"} | names
    twin = Table(
        np.vstack([np.ones((5, 3)), np.arange(ROWS)[:, None] * np.ones((1, 3))]).astype(np.float32),
        rule="adam", lr=0.1,
        **({**options, "train": [1, 3, *range(5, ROWS + 5)]} if "train" in options else
           {**options, "lr_scale": np.r_[np.full(5, 0.5), np.ones(ROWS)]} if options else {}),
    )  # fmt: skip
    if "catch_up" in options:
        return  # rows begin when they are added
    for i in range(ROWS):
        twin.update([5 + i, i % 5], np.ones((2, 3)))
    np.testing.assert_array_equal(table.weights, twin.weights)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("columns", [None, [0, 2]])
def test_growth_that_is_interrupted_anywhere_changes_nothing(error, at, columns, monkeypatch):
    scale = np.full(3, 0.5)
    table, twin = (
        Table(np.ones((6, 3)), [1, 2, 5], "adam", columns=columns, lr_scale=scale) for _ in range(2)
    )
    for each in (table, twin):
        each.grow(np.full((1, 3), 2.0))
    whole, calls = RowMemory.grown, []

    def interrupted(self, name, array, count):
        calls.append(name)
        grown = whole(self, name, array, count)
        if len(calls) == at + 1:
            raise error
        return grown

    monkeypatch.setattr(RowMemory, "grown", interrupted)
    with pytest.raises(error):
        table.grow(np.full((4, 3), 9.0))
    monkeypatch.undo()
    assert (table.shape, table.block.shape, len(table.steps)) == ((7, 3), twin.block.shape, 4)
    assert {len(array) for array in table.state.values()} == {len(table.lr_scale)} == {4}
    for each in (table, twin):
        assert each.grow(np.full((2, 3), 3.0)).tolist() == [7, 8]
        each.update([1, 6, 7, 8], np.ones((4, 3)))
    np.testing.assert_array_equal(table.weights, twin.weights)
    np.testing.assert_array_equal(table.steps, twin.steps)


def test_ctrl_c_between_the_block_and_the_ids_takes_the_rows_back(monkeypatch):
    from rowtune.block import Block

    table, whole = Table(np.ones((4, 3)), [1, 2], "adam"), Block.grow

    def interrupted(self, *given):
        whole(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Block, "grow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        table.grow(np.full((3, 3), 9.0))
    monkeypatch.undo()
    assert {len(a) for a in (table.block, table.steps, *table.state.values())} == {2}
    assert table.grow(np.full((1, 3), 5.0)).tolist() == [4]
    assert table.lookup([4]).tolist() == [[5.0] * 3]
