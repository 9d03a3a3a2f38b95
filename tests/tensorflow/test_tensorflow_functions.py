"""Inside tf.function: traced once, in place, at a cost that does not follow the table."""

from __future__ import annotations

import subprocess
import sys

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


@pytest.mark.parametrize("rule", ["adam", "rowwise_adagrad"])
@pytest.mark.parametrize("train", ["all", range(0, 50, 3)])
def test_no_variable_with_rows_is_ever_read_whole(train, rule):
    emb, optimizer = (
        rtf.Embedding(np.ones((50, 4)), train),
        rtf.RowOptimizer(rule, weight_decay=0.1),
    )
    optimizer.build([emb])
    step = tf.function(step_of(emb, optimizer, [])).get_concrete_function(
        tf.TensorSpec([None], tf.int64)
    )
    state = optimizer.states[0]
    for variable in (emb.block, state.steps, *state.arrays.values()):
        (inside,) = (x for outer, x in step.graph.captures if outer is variable.handle)
        readers = {operation.type for operation in inside.consumers()}
        assert readers == {"ResourceGather", "ResourceScatterUpdate"}, variable.name


MEMORY = """
import re, sys
from pathlib import Path
import tensorflow as tf
import rowtune.tensorflow as rtf

def grown_by(run):
    "Megabytes by which the process grew at most while it ran."
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = kilobytes("VmRSS")
    run()
    return (kilobytes("VmHWM") - before) / 1024

def kilobytes(what):
    return int(re.search(rf"{what}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

emb = rtf.Embedding(tf.zeros((1_000_001, 64)), range(1_000_000))
optimizer = rtf.RowOptimizer("momentum")
optimizer.build([emb])

def step(ids):
    with tf.GradientTape() as tape:
        cost = tf.reduce_sum(emb(ids) ** 2)
    optimizer.apply(tape.gradient(cost, emb.block), emb)

ids = tf.range(0, 1_000_000, 5_000)
for way in (step, tf.function(step), tf.function(step, jit_compile=True)):
    print(grown_by(lambda: [way(ids) for _ in range(3)]))
print(grown_by(lambda: emb.block + 0))
"""


def test_a_step_makes_no_copy_of_the_table():
    """In a process of its own: what TensorFlow has freed before, it does not ask for again."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=120
    )
    eager, graph, xla, a_copy = map(float, done.stdout.split())  # MB, of a block of 244
    assert a_copy > 200, "the measure sees a copy"
    assert max(eager, graph, xla) < 150  # XLA's compiler takes 80
