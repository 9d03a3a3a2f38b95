"""Rows that are written by hand: set and inc, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import rowtune.pytensor as rp
from rowtune.errors import FrozenRowError, IdError, ShapeError


def function(*arguments, **more):
    return pytensor.function(*arguments, **{"mode": "FAST_COMPILE", **more})


def tables(columns=None):
    weights = np.arange(18.0).reshape(6, 3)
    return weights, rp.lookup_table(weights, [4, 1, 5], columns, name="words")


@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
def test_set_and_inc(mode):
    weights, table = tables()
    ids, values = pt.lvector(), pt.dmatrix()
    put = function([ids, values], [], updates=rp.set_rows(table, ids, values), mode=mode)
    add = function([ids, values], [], updates=rp.inc_rows(table, ids, values), mode=mode)
    place = table.block.get_value(borrow=True).ctypes.data
    put([5, 1], [[1.0] * 3, [2.0] * 3])
    add([4, 5, 4], np.ones((3, 3)))
    expected = weights.copy()
    expected[[5, 1]] = 2.0
    expected[4] += 2
    assert table.weights.tolist() == expected.tolist()
    for step in (put, add):
        for bad, error, message in [
            ([1, 0], FrozenRowError, "a row of the table 'words' is frozen"),
            ([1, 6], IdError, "outside the table 'words'"),
            ([1, -1], IdError, "outside the table 'words'"),
        ]:
            with pytest.raises(error, match=message):
                step(bad, np.zeros((2, 3)))
    with pytest.raises(IdError, match="names a row of the table 'words' twice"):
        put([1, 5, 1], np.zeros((3, 3)))
    put(np.zeros(0, int), np.zeros((0, 3)))
    assert table.weights.tolist() == expected.tolist()
    if mode == "NUMBA":
        assert table.block.get_value(borrow=True, return_internal_type=True).ctypes.data == place


def test_concrete_ids_are_refused_at_once():
    _, table = tables()
    for write in (rp.set_rows, rp.inc_rows):
        with pytest.raises(FrozenRowError, match="row 0 is frozen"):
            write(table, [1, 0], np.zeros((2, 3)))
        with pytest.raises(IdError):
            write(table, [1, 6], np.zeros((2, 3)))
        for wrong in (np.zeros(3), np.zeros((2, 2)), pt.dvector()):
            with pytest.raises(ShapeError, match="expected 2 dimensions, the last of 3"):
                write(table, [1, 4], wrong)
    with pytest.raises(IdError, match="twice"):
        rp.set_rows(table, [1, 1], np.zeros((2, 3)))


def test_columns_and_shapes():
    weights, table = tables(columns=[0, 2])
    function([], [], updates=rp.set_rows(table, [[4], [1]], [[[7.0, 8.0]], [[5.0, 6.0]]]))()
    function([], [], updates=rp.inc_rows(table, 5, [1.0, 1.0]))()
    expected = weights.copy()
    expected[4, [0, 2]], expected[1, [0, 2]] = [7, 8], [5, 6]
    expected[5, [0, 2]] += 1
    assert table.weights.tolist() == expected.tolist()
