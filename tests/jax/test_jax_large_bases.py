"""Bases in a memory map, and in fewer bits: the same numbers, the same bytes after training, and
memory for what is looked up.
"""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from large_bases import TRAIN, D, N, base_of

import growth
import rowtune.jax as rj
from rowtune import places
from rowtune.errors import IdError, ShapeError
from rowtune.jax.bases import Codes, Mapped

BASES = ["map float32", "map float16", "map int8", "map bfloat16", "int8", "float16", "bfloat16"]
CHOICES = {"rows": {"train": TRAIN}, "columns": {"train": TRAIN, "columns": [5, 1]}}


def digest(table, folder):
    """Of codes and scales where the base has them, and of every file."""
    arrays = [table.base.codes, table.base.scales] if isinstance(table.base, Codes) else []
    bits = [np.asarray(x).view(np.uint8).tobytes() for x in arrays if x is not None]
    bits += [path.read_bytes() for path in sorted(folder.iterdir())]
    assert bits
    return hashlib.sha256(b"".join(bits)).hexdigest()


# One thing compiled for each kind of base, not every pair.
@pytest.mark.parametrize(
    ("kind", "choice", "searched"),
    [(kind, ["rows", "columns"][i % 2], i % 3 != 0) for i, kind in enumerate(BASES)],
)
def test_lookups_give_the_rows(kind, choice, searched, tmp_path, monkeypatch):
    if searched:
        monkeypatch.setattr(places, "_SMALL_SLOT_MAP", 0)
        monkeypatch.setattr(places, "_ROWS_PER_TRAINABLE_ROW_TO_SEARCH", 8)
    given, expected = base_of(kind, tmp_path)
    table = rj.split(given, **CHOICES[choice])
    assert (table.slots is None) == (table.ids is not None) == searched
    assert isinstance(table.base, Mapped if kind.startswith("map") else Codes)
    assert table.block.dtype == expected.dtype
    ids = np.array([[0, 3, 20], [39, 17, 3]])
    same = np.testing.assert_array_equal
    same(rj.lookup(table, ids), expected[ids])
    same(jax.jit(rj.lookup)(table, ids), expected[ids])
    if choice == "columns":
        ids = jnp.asarray(ids)
        same(jax.vmap(rj.lookup, (None, 1))(table, ids), expected[ids.T])
        same(jax.lax.scan(lambda c, i: (c, rj.lookup(table, i)), 0, ids)[1], expected[ids])
    same(rj.merge(table), expected)
    table = table.replace(block=table.block + 1)
    columns = CHOICES[choice].get("columns", range(D))
    expected[np.ix_(TRAIN, columns)] += 1
    same(rj.lookup(table, np.arange(N)), expected)
    same(rj.merge(table), expected)
    with pytest.raises(IdError, match=f"id {N} is not a row"):
        rj.lookup(table, [N])
    assert np.isnan(jax.jit(rj.lookup)(table, jnp.asarray([N, -1]))).all()
    if choice == "columns":
        with pytest.raises(IdError, match="an id is out of range: 40"):
            rj.checked(jax.jit(rj.lookup))(table, jnp.asarray([0, N]))


@pytest.mark.parametrize("kind", ["map float32", "map int8", "int8", "bfloat16"])
def test_training_is_that_of_the_table_it_stands_for_and_leaves_its_bytes(kind, tmp_path):
    given, wide = base_of(kind, tmp_path)
    names = {"map int8": ["adam"], "map float32": ["rowwise_adagrad"]}.get(kind, ["sgd"])
    optimizers = {name: rj.rule(name, lr=0.1, weight_decay=0.1) for name in names}
    if kind == "int8":
        optimizers = {"optax": rj.rowwise(optax.adamw(0.1))}
    table, plain = rj.split(given, TRAIN), rj.split(wide, TRAIN)
    before = digest(table, tmp_path)

    def loss(rows):
        return jnp.where(jnp.isnan(rows), 0, jnp.sin(rows)).sum()

    for optimizer in optimizers.values():
        found = []
        for start in (table, plain):
            moved = start.replace(block=jnp.array(start.block, copy=True))
            state, step = optimizer.init(moved), rj.step(loss, optimizer)
            for ids in ([3, 3, 5, 20], [39, 0, 17, 20]):
                moved, state, _ = step(moved, state, ids)
            found.append(np.asarray(moved.block, np.float32))
        np.testing.assert_allclose(*found, rtol=1e-5)
        assert (found[0] != np.asarray(table.block, np.float32)).any(axis=1).sum() == 3
    assert digest(table, tmp_path) == before


def test_gradients_twice_and_forward_over_a_map(tmp_path):
    table = rj.split(base_of("map int8", tmp_path)[0], TRAIN)
    ids = jnp.asarray([3, 5, 3])

    def loss(block):
        return (rj.lookup(table.replace(block=block), ids) ** 3).sum()

    slopes = jax.jvp(jax.grad(loss), (table.block,), (jnp.ones_like(table.block),))[1]
    np.testing.assert_allclose(slopes[0], 12 * table.block[0], rtol=1e-5)
    assert not np.asarray(slopes[1:]).any()


def test_a_map_is_no_argument_of_a_program_and_cannot_be_donated(tmp_path):
    given, wide = base_of("map float32", tmp_path)
    table = rj.split(given, TRAIN)
    leaves, structure = jax.tree.flatten(table)
    assert all(leaf.shape[1:] != (N, D) and leaf.size <= N for leaf in leaves)
    again = jax.tree.unflatten(structure, leaves)
    assert again.base.source.source is given
    write = jax.jit(lambda table: table.replace(block=table.block + 1), donate_argnums=0)
    moved = write(jax.tree.map(jnp.copy, table))
    assert moved.base.source is table.base.source
    assert write._cache_size() == 1
    write(moved)
    assert write._cache_size() == 1
    np.testing.assert_array_equal(rj.lookup(table, [5, 3]), wide[[5, 3]])
    with pytest.raises(ShapeError, match="call merge outside of jit"):
        jax.jit(rj.merge)(table)


def test_an_aliased_map_is_never_written(tmp_path):
    given, wide = base_of("map float32", tmp_path)
    base = jax.device_put(given, may_alias=True)
    assert base.unsafe_buffer_pointer() == given.ctypes.data
    table = rj.split(base, TRAIN)
    moved = jax.jit(lambda x: x.replace(base=x.base.at[0].set(7)), donate_argnums=0)(table)
    assert np.asarray(moved.base)[0].tolist() == [7] * D
    np.testing.assert_array_equal(given, wide)


PROGRAM = """
import jax, jax.numpy as jnp
import rowtune.jax as rj
from rowtune.quantized import quantize
optimizer = rj.rule("adam", lr=0.1)
step = rj.step(lambda rows: (rows - 1).sum(), optimizer)
ids, small = rng.integers(0, N, 4096), np.ones((9 * 4096, D), np.float32)


def run(given, train):
    table = rj.split(given, train)
    state = optimizer.init(table)
    table, state, _ = step(table, state, ids % len(given))
    rows = np.asarray(rj.lookup(table, ids % len(given)))
    return table, state, rows[ids < 1000] if len(rows) else rows


run(small, np.arange(1000))  # compiles what is the same below
run(quantize(small), np.arange(1000))
for kind in ("float32", "int8", "bfloat16"):
    given = base(kind, PATH)
    before = resident()
    table, *_ = run(given, np.arange(1000) * 1000)
    grown = resident() - before
    assert table.ids.shape == (1000,) and table.slots is None
    assert grown < 100, (kind, grown)
    print(kind, round(grown))
"""


def test_20_gb_take_memory_for_what_is_looked_up(tmp_path):
    assert len(growth.of(PROGRAM, tmp_path).splitlines()) == 3
