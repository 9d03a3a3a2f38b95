"""Bases in a memory map, and in fewer bits: the same numbers, the same bytes after training, and
memory for what is looked up.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import tensorflow as tf
from large_bases import TRAIN, D, N, base_of, mapped

import growth
import rowtune.tensorflow as rtf
from rowtune import places
from rowtune.errors import IdError, PatchError, RowtuneError, ShapeError
from rowtune.on_host import OnHost
from rowtune.tensorflow.bases import Codes

BASES = ["map float32", "map float16", "map int8", "map bfloat16", "int8", "float16", "bfloat16"]
every_base = pytest.mark.parametrize("kind", BASES)


def digest(emb, folder):
    """Of codes and scales where the base has them, and of every file."""
    base = emb.base
    arrays = [base.codes, base.scales] if isinstance(base, Codes) else [base]
    arrays = [] if isinstance(base, OnHost) else arrays
    bits = [x.numpy().view(np.uint8).tobytes() for x in arrays if x is not None]
    bits += [path.read_bytes() for path in sorted(folder.iterdir())]
    assert bits
    return hashlib.sha256(b"".join(bits)).hexdigest()


@pytest.mark.parametrize("columns", [None, [5, 1]])
@pytest.mark.parametrize("searched", [False, True])
@every_base
def test_lookups_give_the_rows(kind, columns, searched, tmp_path, monkeypatch):
    if searched:
        monkeypatch.setattr(places, "_SMALL_SLOT_MAP", 0)
        monkeypatch.setattr(places, "_ROWS_PER_TRAINABLE_ROW_TO_SEARCH", 8)
    given, expected = base_of(kind, tmp_path)
    emb = rtf.Embedding(given, TRAIN, columns)
    assert (emb.rows.slot_map is None) == searched
    assert emb.block.dtype == expected.dtype
    ids, same = np.array([[0, 3, 20], [39, 17, 3]]), np.testing.assert_array_equal
    in_graph = tf.function(emb, reduce_retracing=True)
    same(emb(ids), expected[ids])
    same(in_graph(tf.constant(ids)), expected[ids])
    same(emb.merge(), expected)
    emb.block.assign_add(tf.ones_like(emb.block))
    expected[np.ix_(TRAIN, range(D) if columns is None else columns)] += 1
    same(emb(np.arange(N)), expected)
    same(emb.merge(), expected)
    same(tf.function(emb.merge)(), expected)
    with pytest.raises(IdError, match=f"id {N} is not a row"):
        emb([N])
    with pytest.raises(tf.errors.InvalidArgumentError, match="an id is not a row"):
        in_graph(tf.constant([0, -1]))


@every_base
def test_training_is_that_of_the_table_it_stands_for_and_leaves_its_bytes(kind, tmp_path):
    given, wide = base_of(kind, tmp_path)
    for name, graph in (("adam", True), ("rowwise_adagrad", False), ("sgd", False)):
        found = []
        for weights in (given, wide):
            emb = rtf.Embedding(weights, TRAIN)
            before, start = digest(emb, tmp_path), emb.block.numpy()
            optimizer = rtf.RowOptimizer(name, lr=0.1, weight_decay=0.1)
            optimizer.build([emb])

            def step(ids, emb=emb, optimizer=optimizer):
                with tf.GradientTape() as tape:
                    out = emb(ids)
                    out = tf.where(tf.math.is_nan(out), tf.zeros_like(out), tf.sin(out))
                    loss = tf.reduce_sum(out)
                optimizer.apply(tape.gradient(loss, emb.block), emb)

            run = tf.function(step) if graph else step
            for ids in ([3, 3, 5, 20], [39, 0, 17, 20]):
                run(tf.constant(ids))
            found.append(emb.block.numpy())
            assert digest(emb, tmp_path) == before
        np.testing.assert_allclose(*found, rtol=1e-5)
        assert (found[0] != start).any(axis=1).sum() == 3


@every_base
def test_under_xla_codes_work_and_a_map_is_refused(kind, tmp_path):
    given, wide = base_of(kind, tmp_path)
    emb = rtf.Embedding(given, TRAIN)
    compiled = tf.function(emb, jit_compile=True)
    if kind.startswith("map"):
        with pytest.raises(RowtuneError, match="leave jit_compile=True away"):
            compiled(tf.constant([0, 3]))
    else:
        np.testing.assert_array_equal(compiled(tf.constant([0, 3, 20])), wide[[0, 3, 20]])


@every_base
def test_a_checkpoint_knows_the_base_and_reads_it_when_it_is_written(kind, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    given, wide = base_of(kind, tmp_path / "a")
    with monkeypatch.context() as patched:
        patched.setattr("rowtune.tensorflow.identity._fingerprint", None)  # not at construction
        emb = rtf.Embedding(given, TRAIN)
    emb.block.assign_add(tf.ones_like(emb.block))
    saved = tf.train.Checkpoint(emb=emb).save(str(tmp_path / "c"))
    again = rtf.Embedding(given, TRAIN)
    tf.train.Checkpoint(emb=again).restore(saved).assert_consumed()
    np.testing.assert_array_equal(again.block, emb.block)
    (tmp_path / "b").mkdir()
    other = rtf.Embedding(mapped(wide[::-1], tmp_path / "b" / "w.npy"), TRAIN)
    with pytest.raises(PatchError, match="another base"):
        tf.train.Checkpoint(emb=other).restore(saved)


def test_a_saved_model_holds_codes_and_refuses_a_map(tmp_path):
    class Model(tf.Module):
        def __init__(self, emb):
            super().__init__()
            self.emb = emb

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
        def __call__(self, ids):
            return self.emb(ids)

    (tmp_path / "a").mkdir()
    given, wide = base_of("int8", tmp_path / "a")
    tf.saved_model.save(Model(rtf.Embedding(given, TRAIN)), str(tmp_path / "m"))
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    np.testing.assert_array_equal(loaded(tf.constant([0, 3], tf.int64)), wide[[0, 3]])
    given, _ = base_of("map float32", tmp_path / "a")
    with pytest.raises(RowtuneError, match=r"export an Embedding of emb.merge\(\)"):
        tf.saved_model.save(Model(rtf.Embedding(given, TRAIN)), str(tmp_path / "n"))


def test_a_map_that_is_no_table(tmp_path):
    with pytest.raises(ShapeError, match="expected a table of two dimensions"):
        rtf.Embedding(mapped(np.zeros(3, np.float32), tmp_path / "x.npy"))
    with pytest.raises(ShapeError, match="dtype int64"):
        rtf.Embedding(mapped(np.zeros((3, 2), np.int64), tmp_path / "x.npy"))


PROGRAM = """
import tensorflow as tf
import rowtune.tensorflow as rtf
from rowtune.quantized import quantize
ids, small = rng.integers(0, N, 4096), np.ones((9 * 4096, D), np.float32)


def run(given, train):
    emb = rtf.Embedding(given, train)
    optimizer = rtf.RowOptimizer("adam", lr=0.1)

    @tf.function
    def step(ids):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(emb(ids) - 1)
        optimizer.apply(tape.gradient(loss, emb.block), emb)

    optimizer.build([emb])
    step(tf.constant(ids % len(given)))
    return emb, step, emb(ids % len(given)).numpy()


run(small, np.arange(1000))  # compiles what is the same below
run(quantize(small), np.arange(1000))
for kind in ("float32", "int8", "bfloat16"):
    given = base(kind, PATH)
    before = resident()
    kept = run(given, np.arange(1000) * 1000)
    grown = resident() - before
    assert grown < 100, (kind, grown)
    print(kind, round(grown))
"""


def test_20_gb_take_memory_for_what_is_looked_up(tmp_path):
    assert len(growth.of(PROGRAM, tmp_path).splitlines()) == 3
