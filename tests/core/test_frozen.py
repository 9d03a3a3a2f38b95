"""A row that was not chosen never changes: shown by hashing bytes, not by comparing numbers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowtune import Table, rules

ODD = np.array([0x80000000, 0x7FC00001, 0xFFC12345, 0x7F800000, 0x00000001], np.uint32)
DTYPES = [np.float16, np.float32, np.float64]


def odd_weights(rng, num_rows, width, dtype=np.float32):
    """Floats with -0.0, NaN of several payloads, infinity and a subnormal among them."""
    weights = rng.standard_normal((num_rows, width)).astype(dtype)
    kind = np.dtype(f"u{weights.itemsize}")
    shift = 8 * (weights.itemsize - 4) if weights.itemsize > 4 else 0
    odd = (ODD.astype(kind) << kind.type(shift)) if weights.itemsize >= 4 else ODD >> 16
    bits = weights.view(kind)
    where = rng.random(bits.shape) < 0.3
    bits[where] = rng.choice(odd.astype(kind), int(where.sum()))
    return weights


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def train_a_while(table, rng, steps=6):
    n, width = table.shape
    for _ in range(steps):
        ids = rng.integers(0, n, (5, 3))
        grads = rng.standard_normal((5, 3, width))
        table.update(ids, grads, check_finite=False)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("name", rules.names())
def test_frozen_rows_keep_their_bytes_under_every_rule(name, decoupled, seed, share):
    rng = np.random.default_rng(seed)
    weights = odd_weights(rng, 30, 4)
    mask = rng.random(30) < share
    frozen = np.flatnonzero(~mask)
    whole, before = digest(weights), digest(weights[frozen])
    table = Table(weights, mask, name, lr=0.1, weight_decay=0.3, decoupled=decoupled)
    train_a_while(table, rng)
    assert digest(table.lookup(frozen)) == before
    assert digest(table.weights[frozen]) == before
    assert digest(weights) == whole  # the base itself is never written, trained rows included


@pytest.mark.parametrize("dtype", DTYPES)
def test_frozen_columns_keep_their_bytes_in_trainable_rows(dtype):
    rng = np.random.default_rng(5)
    weights = odd_weights(rng, 20, 6, dtype)
    table = Table(weights, slice(0, 10), "adamw", lr=0.1, columns=[1, 4])
    train_a_while(table, rng)
    frozen = [0, 2, 3, 5]
    assert digest(table.weights[:, frozen]) == digest(weights[:, frozen])
    assert digest(table.weights[10:]) == digest(weights[10:])
    assert digest(table.lookup(np.arange(20))) == digest(table.weights)
    moved = table.weights[:10][:, [1, 4]] != weights[:10][:, [1, 4]]
    assert moved.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_trainable_rows_that_are_not_touched_keep_their_bytes_state_and_steps(dtype):
    rng = np.random.default_rng(6)
    weights = odd_weights(rng, 12, 4, dtype)
    table = Table(weights, "all", "adamw", lr=0.1)
    for _ in range(5):
        table.update([3, 5], rng.standard_normal((2, 4)), check_finite=False)
    others = [i for i in range(12) if i not in (3, 5)]
    assert digest(table.weights[others]) == digest(weights[others])
    assert not table.steps[others].any()
    assert not table.state["m"][others].any()


def test_writes_growth_and_patches_leave_frozen_rows_alone(tmp_path):
    from rowtune import apply_patch

    rng = np.random.default_rng(7)
    weights = odd_weights(rng, 30, 4)
    table = Table(weights, [2, 20, 11], "momentum", weight_decay=0.1)
    frozen = np.setdiff1d(np.arange(30), [2, 20, 11])
    table.set([2, 11], np.ones((2, 4)))
    table.add([20, 20], np.ones((2, 4)))
    table.grow(np.zeros((2, 4)))
    train_a_while(table, rng)
    table.save_patch(tmp_path / "rows.safetensors")
    for result in (table.weights, apply_patch(weights, tmp_path / "rows.safetensors")):
        assert digest(result[frozen]) == digest(weights[frozen])
        assert result.shape == (32, 4)


def test_a_read_only_memory_map_serves_as_base(tmp_path):
    weights = odd_weights(np.random.default_rng(8), 40, 4)
    np.save(tmp_path / "table.npy", weights)
    before = (tmp_path / "table.npy").read_bytes()
    table = Table(np.load(tmp_path / "table.npy", mmap_mode="r"), [1, 30])
    train_a_while(table, np.random.default_rng(9))
    assert np.shares_memory(table.base, table.base.base)
    assert (tmp_path / "table.npy").read_bytes() == before
    assert table.block.nbytes + sum(a.nbytes for a in table.state.values()) == 3 * 2 * 4 * 4


def test_the_base_is_neither_copied_nor_writable():
    weights = np.zeros((10, 3))
    table = Table(weights, [0])
    assert np.shares_memory(table.base, weights)
    for array in (table.base, table.weights, Table(weights).weights):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1.0


@pytest.mark.parametrize("name", rules.names())
def test_a_batch_of_frozen_ids_leaves_the_first_and_the_last_slot_alone(name):
    rng = np.random.default_rng(10)
    weights = rng.standard_normal((10, 3)).astype(np.float32)
    table = Table(weights, [0, 4, 9], name, weight_decay=0.1)
    train_a_while(table, rng)
    before = (
        digest(table.block),
        {k: digest(v) for k, v in table.state.items()},
        digest(table.steps),
    )
    table.update([1, 2, 8, 8], np.full((4, 3), 7.0))
    table.update([3], np.full((1, 3), np.nan))  # ignored, like every gradient of a frozen row
    after = digest(table.block), {k: digest(v) for k, v in table.state.items()}, digest(table.steps)
    assert before == after
