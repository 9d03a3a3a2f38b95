"""The recipe of Theano's FAQ for a subset of weights: as it stands there, and right side up."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import DisconnectedInputError

import rowtune.pytensor as rp


def function(*arguments, **more):
    return pytensor.function(*arguments, **{"mode": "FAST_COMPILE", **more})


def test_the_recipe_run_literally_raises_the_cost_and_ours_lowers_it():
    matrix, ids, lr = np.ones((5, 2)), pt.lvector(), 0.1
    lookup_table = pytensor.shared(matrix)
    subset = lookup_table[ids]
    cost = pt.sum(subset**2)
    g = pt.grad(cost, subset)
    updates = [(lookup_table, pt.inc_subtensor(subset, g * lr))]
    theirs = function([ids], cost, updates=updates)

    table = rp.lookup_table(matrix)
    rows = table[ids]
    cost = pt.sum(rows**2)
    ours = function([ids], cost, updates=rp.updates(cost, rows, "sgd", lr=lr))

    raised, lowered = ([step([3]) for _ in range(4)] for step in (theirs, ours))
    assert raised[0] == lowered[0] == 2.0
    np.testing.assert_allclose(raised[3], 2 * 1.2**6)  # 5.97
    np.testing.assert_allclose(lowered[3], 2 * 0.8**6)
    assert np.array_equal(np.delete(table.weights, 3, 0), np.delete(matrix, 3, 0))


def test_what_pytensor_says_of_a_second_lookup():
    """The error that `rp.updates` replaces; should this change, its message may as well."""
    lookup_table, ids = pytensor.shared(np.ones((5, 2))), pt.lvector()
    with pytest.raises(DisconnectedInputError):
        pt.grad(pt.sum(lookup_table[ids] ** 2), lookup_table[ids])


def test_minibatches_by_givens():
    """Ids and targets in shared variables, a symbolic index, and givens: the tutorial's way."""
    rng = np.random.default_rng(30)
    all_ids = rng.integers(0, 20, 64)
    data = pytensor.shared(all_ids, name="data", borrow=True)
    targets = pytensor.shared(rng.standard_normal((64, 3)), name="targets", borrow=True)
    table = rp.lookup_table(rng.standard_normal((20, 3)), train=range(10), name="words")
    start = table.weights
    index, ids, wanted = pt.lscalar("index"), pt.lvector("ids"), pt.dmatrix("wanted")
    rows = table[ids]
    cost = pt.mean((rows - wanted) ** 2)
    here = slice(index * 16, (index + 1) * 16)
    step = function(
        [index],
        cost,
        updates=rp.updates(cost, rows, "adagrad", lr=0.5),
        givens={ids: data[here], wanted: targets[here]},
    )
    epochs = [np.mean([step(i) for i in range(4)]) for _ in range(6)]
    assert epochs[-1] < 0.9 * epochs[0]
    counts = np.zeros(20, int)
    for i in range(4):
        counts[np.unique(all_ids[i * 16 : (i + 1) * 16])] += 6
    assert table.steps.get_value().tolist() == counts[:10].tolist()
    assert table.weights[10:].tobytes() == start[10:].tobytes()
