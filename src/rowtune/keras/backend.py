"""Which of Keras's backends is at work, and what each has to bring.

Keras has one backend in a process, and gradients of rows have another form on each:

* TensorFlow: `tf.IndexedSlices`, which the tape makes of a gather.
* PyTorch: a sparse tensor, which a lookup's backward pass makes where our optimizer has asked.
* JAX: none; a lookup's backward pass leaves the rows' gradients with the block, and our optimizer
  takes them there (`rowtune.keras.left`).
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import keras
from numpy.typing import NDArray

from rowtune.errors import RowtuneError
from rowtune.rules import Rule


class Table(Protocol):
    """What a lookup needs of a layer, made once."""

    def __call__(self, ids: Any) -> Any:
        """Rows of integers of any shape, ids.shape + (D,), in the block's dtype."""


class RowStep(Protocol):
    """The step of one block."""

    def __call__(self, gradient: Any, learning_rate: Any, iterations: Any) -> None:
        """Move the rows that ``gradient`` touches, of the block and of its state."""


class Backend(Protocol):
    """The functions of a backend's file."""

    def table_of(self, layer: Any) -> Table:
        """How the layer looks rows up."""

    def step_of(
        self, rule: Rule, hyper: dict[str, Any], block: Any, steps: Any, arrays: dict[str, Any]
    ) -> RowStep:
        """The step of a block, over Keras's variables."""

    def ask(self, optimizer: Any, blocks: list[Any]) -> None:
        """Before a backward pass: ask for the gradients of rows where that takes asking."""

    def row_gradient(self, gradient: Any, block: Any, as_dense: bool) -> Any:
        """The gradient of a block with duplicates summed, and dividable; dense where it has to be
        or already is.
        """

    def values(self, gradient: Any) -> Any:
        """Its numbers, on which clipping works."""

    def with_values(self, gradient: Any, values: Any) -> Any:
        """The same rows with other numbers."""

    def as_array(self, tensor: Any) -> NDArray[Any]:
        """The same bits in a NumPy array."""

    def as_tensor(self, array: NDArray[Any]) -> Any:
        """The same bits in what Keras makes variables of."""

    def in_float64(self) -> AbstractContextManager[Any]:
        """Where float64 works, which JAX has to be told."""


_FILES = {
    "tensorflow": "rowtune.keras.on_tensorflow",
    "jax": "rowtune.keras.on_jax",
    "torch": "rowtune.keras.on_torch",
}


def backend() -> Backend:
    """The functions for the backend that Keras has.

    Raises
    ------
    RowtuneError
        It has another, such as NumPy or OpenVINO, which does not train.
    """
    name = keras.backend.backend()
    if name not in _FILES:
        raise RowtuneError(
            f"Keras's backend is {name!r}, on which nothing trains; expected one of "
            f"{', '.join(_FILES)}: set KERAS_BACKEND before keras is imported"
        )
    return cast(Backend, importlib.import_module(_FILES[name]))
