"""Inside tf.function: traced once, in place, at a cost that does not follow the table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import rowtune.tensorflow as rtf


def step_of(emb, optimizer, traces):
    def step(ids):
        traces.append(ids.shape)
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum(emb(ids) ** 2)
        optimizer.apply(tape.gradient(cost, emb.block), emb)
        return cost

    return step


@pytest.mark.parametrize("train", ["all", range(0, 50, 3)])
def test_other_batch_sizes_and_other_ids_trace_nothing(train):
    emb, traces = rtf.Embedding(np.ones((50, 4)), train), []
    optimizer = rtf.RowOptimizer("adam", lr=0.1)
    optimizer.build([emb])
    signature = [tf.TensorSpec([None], tf.int64)]
    step = tf.function(step_of(emb, optimizer, traces), input_signature=signature)
    for count in (1, 7, 0, 256, 7):
        step(tf.constant(np.arange(count) % 50, tf.int64))
    assert len(traces) == 1
    assert int(optimizer.states[0].iterations) == 5


def test_a_state_that_is_made_inside_a_function_is_made_once():
    emb, traces = rtf.Embedding(np.ones((50, 4))), []
    optimizer = rtf.RowOptimizer("adam", lr=0.1)
    step = tf.function(step_of(emb, optimizer, traces), reduce_retracing=True)
    for count in (3, 4, 5, 6):
        step(tf.range(count, dtype=tf.int64))
    assert len(optimizer.states) == 1
    assert optimizer.states[0].steps.numpy()[:7].tolist() == [4, 4, 4, 3, 2, 1, 0]


def test_ids_of_unknown_rank():
    emb = rtf.Embedding(np.arange(8.0).reshape(4, 2), train=[1])
    look = tf.function(emb, input_signature=[tf.TensorSpec(None, tf.int32)])
    assert look(tf.constant([[1, 3]])).numpy().tolist() == [[[2, 3], [6, 7]]]
    assert look(tf.constant(3)).numpy().tolist() == [6, 7]


def test_several_lookups_of_one_table_are_one_gradient():
    emb, optimizer = rtf.Embedding(np.ones((5, 1)), [1, 3]), rtf.RowOptimizer("sgd", lr=1.0)
    with tf.GradientTape() as tape:
        cost = tf.reduce_sum(emb([1, 3, 0]) * 2) + tf.reduce_sum(emb([3, 4]))
    optimizer.apply(tape.gradient(cost, emb.block), emb)
    assert emb.block.numpy().tolist() == [[-1], [-2]]
    assert optimizer.states[0].steps.numpy().tolist() == [1, 1]


def peak_memory(run):
    """Bytes by which the process grew at most while ``run`` ran."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew

    def now(what):
        status = Path("/proc/self/status").read_text()
        return 1024 * int(re.search(rf"{what}:\s+(\d+)", status).group(1))

    before = now("VmRSS")
    run()
    return now("VmHWM") - before


@pytest.mark.parametrize("kind", ["eager", "graph", "xla"])
@pytest.mark.parametrize("train", ["all", slice(0, None, 2)])
def test_a_step_makes_no_copy_of_the_table(kind, train):
    # Larger than what malloc keeps for itself when it is freed, so that a copy is seen.
    rows = 400_000 if train == "all" else 800_000
    emb, optimizer = rtf.Embedding(tf.zeros((rows, 32)), train), rtf.RowOptimizer("momentum")
    optimizer.build([emb])
    block = 400_000 * 32 * 4
    step = step_of(emb, optimizer, [])
    if kind != "eager":
        step = tf.function(step, jit_compile=kind == "xla")
    ids = tf.constant(np.arange(0, rows, 3_000))
    step(ids)  # what was shared with the weights that were given is parted here
    step(ids)
    assert peak_memory(lambda: [step(ids) for _ in range(5)]) < block / 2
    assert peak_memory(emb.block.numpy) > block / 2, "the measure sees a copy"
