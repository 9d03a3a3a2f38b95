"""Keras on the backend that KERAS_BACKEND names, quietly, and models small enough to judge."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import warnings
from importlib import import_module
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

BACKEND = os.environ.get("KERAS_BACKEND")
if BACKEND not in ("tensorflow", "jax", "torch"):
    raise pytest.UsageError(
        f"KERAS_BACKEND is {BACKEND!r}; these tests run on one of Keras's backends in a process: "
        "KERAS_BACKEND=tensorflow python -m pytest tests/keras (and so with jax, and with torch)"
    )
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

if BACKEND != "tensorflow":
    sys.modules["tensorflow"] = None  # Keras imports it where it can, for seconds and for nothing

with warnings.catch_warnings():
    # What the frameworks' own modules warn of while they are imported is not ours to mend.
    warnings.simplefilter("ignore")
    framework = import_module(BACKEND)  # torch before whatever else brings an OpenMP of its own
    import keras

if BACKEND == "tensorflow":
    framework.config.threading.set_intra_op_parallelism_threads(1)
    framework.config.threading.set_inter_op_parallelism_threads(2)
elif BACKEND == "jax":
    framework.config.update("jax_enable_x64", True)
    framework.config.update("jax_disable_most_optimizations", True)  # they take longer than we run
else:
    framework.set_num_threads(1)

import rowtune.keras as rk  # noqa: E402 - after the framework that it runs on

WAYS = {
    "tensorflow": {
        "graph": {"jit_compile": False},
        "xla": {"jit_compile": True},
        "eager": {"run_eagerly": True, "jit_compile": False},
    },
    "jax": {"xla": {"jit_compile": True}},  # eagerly it is slow: test_keras_on_jax.py does it once
    "torch": {"eager": {"jit_compile": False}},
}[BACKEND]
COMPILED = next(iter(WAYS.values()))  # the backend's usual one
collect_ignore = [] if BACKEND == "jax" else ["test_keras_on_jax.py"]

# Keras 3.15 calls np.array on variables and tensors, whose __array__ NumPy 2.4 finds old.
_THEIRS = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(_THEIRS))


@keras.saving.register_keras_serializable(package="rowtune_tests")
class Upstream(keras.losses.Loss):
    """The sum of rows * upstream, so that a batch's labels are the gradients of its rows."""

    def __init__(self, reduction="sum", name="upstream", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype or keras.config.floatx())

    def call(self, y_true, y_pred):
        return keras.ops.sum(y_true * y_pred)


@pytest.fixture
def backend():
    return BACKEND


@pytest.fixture(params=WAYS)
def how(request):
    """Each way in which this backend runs a training step, as arguments of `compile`."""
    return WAYS[request.param]


@pytest.fixture(autouse=True)
def _seed():
    random.seed(0)  # of which Keras draws the seeds that nobody gives


@pytest.fixture
def floatx():
    """Sets Keras's default float, which its default policy was once made of, for one test."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()

    def change(name):
        keras.config.set_floatx(name)
        keras.config.set_dtype_policy(name)

    yield change
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


@pytest.fixture
def policy():
    """Sets Keras's dtype policy for one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.fixture
def compiled():
    """Arguments of `compile` for the backend's usual way."""
    return COMPILED


@pytest.fixture
def upstream_loss():
    return Upstream


@pytest.fixture
def rows_model():
    """Of a layer and an optimizer, a model whose labels are the gradients of the rows."""

    def make(layer, optimizer, length=4, **how):
        model = keras.Sequential([keras.Input((length,), dtype="int32"), layer])
        model.compile(optimizer, Upstream(), **{**COMPILED, **how})
        return model

    return make


@pytest.fixture
def trap():
    """A matrix (9, 4) whose bits arithmetic would change: -0.0, infinity, NaN with payloads, in
    rows other than 0, 3, 7 and 8.
    """
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((9, 4)).astype(np.float32)
    trained = weights[[0, 3, 7, 8]].copy()
    weights[:, 0] = -0.0
    weights.view(np.uint32)[1, 1:] = [0x7FC12345, 0xFFC00001, 0x7F800000]
    weights[[0, 3, 7, 8]] = trained
    return weights


def to_numpy(given):
    """An array or variable on the host."""
    value = given.value if isinstance(given, keras.Variable) else given
    if BACKEND == "torch" and getattr(value, "dtype", None) is framework.bfloat16:
        # Keras goes through float32 here, which changes the bits of NaN.
        return value.detach().view(framework.uint16).numpy().view(ml_dtypes.bfloat16)
    return np.asarray(keras.ops.convert_to_numpy(value))


@pytest.fixture
def bits():
    """The bytes of the rows of an array, of a Keras variable, or of several."""

    def of(array, rows=slice(None)):
        if isinstance(array, list | tuple):
            return [of(a, rows) for a in array]
        array = np.atleast_1d(to_numpy(array))[rows]
        return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()

    return of


@pytest.fixture
def state_of():
    """The step counts of a layer's block, and the rule's state by name."""

    def of(optimizer, layer):
        name = layer.block.path.replace("/", "_") + "_"
        found = {
            v.name.removeprefix(name): to_numpy(v)
            for v in optimizer.variables
            if v.name.startswith(name)
        }
        for keras_own in ("gradient_accumulator", "average"):
            found.pop(keras_own, None)
        return found.pop("steps"), found

    return of


@pytest.fixture
def make():
    """`rowtune.keras.Embedding` of a matrix."""
    return lambda weights, **more: rk.Embedding(*weights.shape, weights=weights, **more)
