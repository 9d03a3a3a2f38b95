"""Where a piece of code runs: eagerly, in a graph, or in a graph that XLA will compile.

It decides how a refusal reaches the user. Eagerly it is an error of Rowtune's. A graph has
assertions, which become `tf.errors.InvalidArgumentError`. XLA drops these, so nothing can be raised
there; what is refused is left out instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

# TensorFlow has no public name for this question.
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from rowtune.errors import RowtuneError

# Else TensorFlow turns an error that leaves a function while it is traced into a kind of its own.
RowtuneError.ag_pass_through = True  # type: ignore[attr-defined]

# Of what the public functions are marked with: there is nothing in them for AutoGraph to convert,
# and tracing is faster without it.
as_written = tf.autograph.experimental.do_not_convert


def is_known(tensor: Any) -> bool:
    """Whether the values of a tensor can be read now."""
    return not tf.is_symbolic_tensor(tensor)


def is_tensor(given: Any) -> bool:
    """Whether it is a tensor or a variable, of TensorFlow's or of Keras's."""
    return bool(tf.is_tensor(given)) or hasattr(given, "__tf_tensor__")


def on_host(given: Any) -> Any:
    """A tensor or variable whose values are known as a NumPy array; anything else as it is."""
    if not is_tensor(given):
        return given
    with tf.init_scope():  # in a graph even a constant would become a symbol
        return np.asarray(tf.convert_to_tensor(given))


def under_xla() -> bool:
    """Whether the graph that is being traced will be compiled by XLA."""
    if tf.executing_eagerly():
        return False
    return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def assert_before(condition: Any, words: list[Any], *tensors: Any) -> Any:
    """``tensors``, which no later operation of a graph sees unless ``condition`` holds."""
    # tf.debugging.Assert puts itself into a branch, which costs more than the check.
    check = tf.raw_ops.Assert(condition=condition, data=words, summarize=8)
    with tf.control_dependencies([check] if check is not None else []):
        return tuple(tf.identity(tensor) for tensor in tensors)
