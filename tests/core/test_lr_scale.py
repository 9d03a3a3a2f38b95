"""lr_scale: a learning rate of its own for each row, under every rule."""

from __future__ import annotations

import numpy as np
import pytest

from rowtune import Table, rules
from rowtune.errors import RuleError, ShapeError

N, D = 8, 5
TRAIN = [6, 1, 3, 4, 0]
SCALE = np.array([1, 0, 0.5, 0.25, 1])  # of the rows 0, 1, 3, 4 and 6
DECAYS = [(0.0, False), (0.1, False), (0.1, True)]
# A kernel is compiled for each rule, decay and dtype; float16 is computed without.
CASES = [
    (name, dtype, decay)
    for name in rules.names()
    for dtype in (np.float64, np.float32, np.float16)
    for decay in DECAYS
    if dtype is not np.float32 or (name in ("adam", "rowwise_adagrad") and decay[1])
]


def weights_of(dtype=np.float64):
    weights = np.random.default_rng(0).standard_normal((N, D)).astype(dtype)
    weights[1, :2] = -0.0, 0.0
    return weights


def batches(dtype, count=12):
    rng = np.random.default_rng(1)
    for _ in range(count):
        ids = rng.integers(0, N, 6)
        yield ids, rng.standard_normal((6, D)).astype(dtype)


def trained(name, decay, dtype, catch_up=False, **more):
    hyper = {"weight_decay": decay[0], "decoupled": decay[1], "catch_up": catch_up, "lr": 0.02}
    table = Table(weights_of(dtype), TRAIN, name, **{**hyper, **more})
    for ids, grads in batches(dtype):
        table.update(ids, grads)
    return table


def bits(table, rows=slice(None)):
    return table.weights[rows].tobytes()


@pytest.mark.parametrize(("name", "dtype", "decay"), CASES)
def test_each_row_moves_as_in_a_table_of_its_rate(name, dtype, decay):
    table = trained(name, decay, dtype, lr_scale=SCALE)
    tight = {np.float64: 1e-13, np.float32: 2e-6, np.float16: 3e-3}[dtype]
    for row, scale in zip(sorted(TRAIN), SCALE, strict=True):
        alone = trained(name, decay, dtype, lr=0.02 * scale)
        if scale == 1:
            assert bits(table, row) == bits(alone, row)
        elif scale == 0:
            assert bits(table, row) == weights_of(dtype)[row].tobytes()
        else:
            np.testing.assert_allclose(table.weights[row], alone.weights[row], tight, tight)
        for state in table.state:
            own, other = (t.state[state][sorted(TRAIN).index(row)] for t in (table, alone))
            np.testing.assert_allclose(own, other, tight, tight)
    assert bits(table, [2, 5, 7]) == weights_of(dtype)[[2, 5, 7]].tobytes()


@pytest.mark.parametrize(("name", "dtype", "decay"), CASES)
def test_ones_are_no_scale_at_all(name, dtype, decay):
    with_ones = trained(name, decay, dtype, lr_scale=np.ones(5))
    without = trained(name, decay, dtype)
    assert bits(with_ones) == bits(without)
    assert all(with_ones.state[s].tobytes() == without.state[s].tobytes() for s in without.state)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("name", rules.names())
def test_rows_catch_up_at_their_own_rates(name, dtype, decay):
    """Beside a table in which every row is touched in every step."""
    hyper = {"weight_decay": decay[0], "decoupled": decay[1], "lr_scale": SCALE}
    lazy = Table(weights_of(dtype), TRAIN, name, catch_up=True, **hyper)
    eager = Table(weights_of(dtype), TRAIN, name, **hyper)
    for t, (ids, grads) in enumerate(batches(dtype, 40)):
        lazy.lr = eager.lr = 0.01 / (1 + t)
        few = slice(0, t % 3)
        whole = np.zeros((N, D), dtype)
        np.add.at(whole, ids[few], grads[few])
        lazy.update(ids[few], grads[few])
        eager.update(np.arange(N), whole)
    assert (lazy.steps < eager.steps).any()
    tight = 1e-12 if dtype is np.float64 else 2e-2
    np.testing.assert_allclose(lazy.weights, eager.weights, tight, tight)
    assert lazy.weights[1].tobytes() == weights_of(dtype)[1].tobytes()


def test_a_scale_that_changes_pays_for_the_past_first():
    lazy = Table(weights_of(), rule="momentum", momentum=0.9, catch_up=True, lr_scale=np.ones(N))
    eager = Table(weights_of(), rule="momentum", momentum=0.9, lr_scale=np.ones(N))
    for scale in (1, 0.1, 0.7):
        lazy.lr_scale = eager.lr_scale = np.full(N, scale)
        for ids, grads in batches(np.float64, 4):
            whole = np.zeros((N, D))
            np.add.at(whole, ids[:2], grads[:2])
            lazy.update(ids[:2], grads[:2])
            eager.update(np.arange(N), whole)
    np.testing.assert_allclose(lazy.weights, eager.weights, 1e-13, 1e-13)


NAN_BITS = {
    np.float64: (np.uint64, 0x7FF8_0000_0000_1234),
    np.float32: (np.uint32, 0x7FC0_1234),
    np.float16: (np.uint16, 0x7E55),
}


@pytest.mark.parametrize("catch_up", [False, True])
@pytest.mark.parametrize("dtype", NAN_BITS)
def test_a_row_of_scale_zero_keeps_even_what_no_number_can_change(dtype, catch_up):
    weights = weights_of(dtype)
    kind, nan = NAN_BITS[dtype]
    weights[1] = np.array([nan], kind).view(dtype)
    hyper = {"momentum": 0.9, "lr_scale": [0, 1], "catch_up": catch_up}
    table = Table(weights.copy(), [1, 2], "momentum", **hyper)
    table.update([1, 2], np.ones((2, D)))
    table.update([2], np.ones((1, D)))
    assert bits(table, 1) == weights[1].tobytes() and bits(table, 2) != weights[2].tobytes()


def test_rows_that_are_grown_have_the_full_rate():
    table = Table(weights_of(), TRAIN, "sgd", lr=1.0, lr_scale=SCALE)
    new = table.grow(np.zeros((2, D)))
    assert table.lr_scale.tolist() == [*SCALE, 1, 1]
    table.update(new, np.ones((2, D)))
    assert (table.weights[new] == -1).all()


def test_the_scale_is_a_copy_both_ways():
    given = np.ones(5)
    table = Table(weights_of(), TRAIN, lr_scale=given)
    given[:] = 0
    assert table.lr_scale.tolist() == [1] * 5
    with pytest.raises(ValueError, match="read-only"):
        table.lr_scale[0] = 0
    table.lr_scale = None
    assert table.lr_scale is None


@pytest.mark.parametrize(
    ("scale", "error", "words"),
    [
        ([1, 1], ShapeError, r"has shape \(2,\); expected \(5,\), one number for each trainable"),
        (0.5, ShapeError, r"has shape \(\)"),
        ([1, 1, 1, 1, 2], RuleError, "holds 2; expected numbers from 0"),
        ([1, 1, 1, 1, -0.1], RuleError, "holds -0.1"),
        ([1, 1, 1, 1, np.nan], RuleError, "holds nan"),
    ],
)
def test_what_is_no_scale_is_refused(scale, error, words):
    with pytest.raises(error, match=words):
        Table(weights_of(), TRAIN, lr_scale=scale)
    table = Table(weights_of(), TRAIN)
    with pytest.raises(error, match=words):
        table.lr_scale = scale
    assert table.lr_scale is None


def test_a_rule_without_a_rate_has_none_to_scale():
    @rules.rule(lr=1.0)
    def halving(row, grad):
        """Half of the row."""
        return row / 2 - 0 * grad

    with pytest.raises(RuleError, match="does not take lr"):
        Table(weights_of(), rule=halving, lr_scale=np.ones(N))
