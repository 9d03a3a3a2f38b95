"""Frozen rows keep their bits: shown by hashing bytes, -0.0 and payloads of NaN among them."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rowtune.jax as rj
from rowtune import rules

N, D, TRAIN = 20, 4, [0, 3, 4, 11, 19]
FROZEN = [i for i in range(N) if i not in TRAIN]
# -0.0, NaN with payloads, infinity, a subnormal
ODD = {
    "float32": ("uint32", [0x80000000, 0x7FC00001, 0xFFA12345, 0x7F800000, 0x00000001]),
    "bfloat16": ("uint16", [0x8000, 0x7FC1, 0xFFA2, 0x7F80, 0x0001]),
    "float16": ("uint16", [0x8000, 0x7E01, 0xFD23, 0x7C00, 0x0001]),
    "float64": ("uint64", [1 << 63, 0x7FF8 << 48 | 1, 0xFFF4 << 48 | 5, 0x7FF0 << 48, 1]),
}


def odd_weights(dtype):
    rng = np.random.default_rng(0)
    weights = np.array(jnp.asarray(rng.standard_normal((N, D))).astype(dtype))
    kind, odd = ODD[dtype]
    bits = weights.view(kind)
    for i in FROZEN:
        bits[i] = rng.permutation(np.array(odd, kind))[:D]
    return weights


def digest(matrix, dtype):
    return hashlib.sha256(np.asarray(matrix)[FROZEN].view(ODD[dtype][0]).tobytes()).hexdigest()


@pytest.mark.parametrize("dtype", ODD)
def test_every_rule_leaves_frozen_rows_alone(dtype):
    with jax.enable_x64(dtype == "float64"):
        weights = odd_weights(dtype)
        before = digest(weights, dtype)
        optimizers = {
            name: rj.rule(name, lr=0.1, weight_decay=0.1, decoupled=name in rules.names()[::2])
            for name in (rules.names() if dtype in ("float32", "bfloat16") else ["adam"])
        }
        optimizers["optax"] = rj.rowwise(optax.adamw(0.1, weight_decay=0.1))
        table = rj.split(jnp.asarray(weights), TRAIN)
        ids = np.random.default_rng(1).integers(0, N, (3, 6))

        @jax.jit
        def train(table):
            def one(carry, batch):
                # Gradients of NaN for frozen rows, as a loss of their NaN has
                trained = jnp.isin(batch, jnp.asarray(TRAIN))[:, None]
                grads = jnp.where(trained, jnp.full((6, D), 0.5), jnp.nan)
                grads = rj.row_grads(table, batch, grads)
                return {
                    name: optimizer.update(grads, *reversed(carry[name]))
                    for name, optimizer in optimizers.items()
                }, None

            start = {name: (table, optimizers[name].init(table)) for name in optimizers}
            moved, _ = jax.lax.scan(one, start, jnp.asarray(ids))
            return {name: new.block for name, (new, _) in moved.items()}

        for name, block in train(table).items():
            merged = rj.merge(table.replace(block=block))
            assert merged.dtype == dtype
            assert digest(merged, dtype) == before, name
            changed = (np.asarray(block) != np.asarray(table.block)).any(axis=1)
            assert changed[np.isin(TRAIN, ids)].all(), name
            assert not changed[~np.isin(TRAIN, ids)].any(), name
        assert digest(table.base, dtype) == before


def test_a_training_step_never_writes_the_base():
    weights = odd_weights("float32")
    table = rj.split(weights, TRAIN)
    pointer, base = table.base.unsafe_buffer_pointer(), table.base
    optimizer = rj.rule("adamw", lr=0.1, weight_decay=0.5)
    state, step = optimizer.init(table), rj.step(lambda rows: (rows[:3] ** 2).sum(), optimizer)
    for _ in range(3):
        table, state, _ = step(table, state, [0, 3, 19, 1, 2, 5])
    assert table.base is base
    assert base.unsafe_buffer_pointer() == pointer
    assert digest(rj.merge(table), "float32") == digest(weights, "float32")
    assert not np.array_equal(rj.merge(table)[0], weights[0])


def test_the_hash_sees_a_fault():
    weights = odd_weights("float32")
    masked = jnp.where(np.isin(np.arange(N), TRAIN)[:, None], 1.0, 0.0)
    updated = optax.apply_updates(jnp.asarray(weights), masked * 0.1)  # -0.0 + 0.0 is 0.0
    assert digest(updated, "float32") != digest(weights, "float32")


@pytest.mark.parametrize("kind", ["rule", "rowwise"])
def test_the_first_and_the_last_slot_are_never_taken_for_frozen(kind):
    optimizer = rj.rule("adam", 0.1) if kind == "rule" else rj.rowwise(optax.adam(0.1))
    table = rj.split(np.ones((N, D), np.float32), TRAIN)
    state = optimizer.init(table)
    table, state = optimizer.update(rj.row_grads(table, TRAIN, np.ones((5, D))), state, table)
    before = jax.tree.map(np.array, (table.block, state))
    step = rj.step(lambda rows: (rows**2).sum(), optimizer)
    for ids in (FROZEN, [FROZEN, FROZEN], FROZEN[0]):
        table, state, _ = step(table, state, ids)
    for old, new in zip(
        jax.tree.leaves(before), jax.tree.leaves((table.block, state)), strict=True
    ):
        if np.ndim(old):
            assert np.array_equal(old[[0, -1]], new[np.array([0, -1])])
            assert np.array_equal(old, new)
