"""An embedding of which the chosen rows train, as a `tf.Module`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rowtune.errors import RowtuneError, ShapeError
from rowtune.on_host import OnHost
from rowtune.rows import Choice, Rows
from rowtune.tensorflow.bases import Codes, as_base, rows_of, whole
from rowtune.tensorflow.identity import Identity
from rowtune.tensorflow.lookup import lookup
from rowtune.tensorflow.places import Places
from rowtune.tensorflow.tracing import as_written, on_host

_FLOATS = (tf.float16, tf.bfloat16, tf.float32, tf.float64)


class Embedding(tf.Module):  # type: ignore[misc]
    """A table of N rows of which the chosen ones train: ``emb(ids)`` gives rows.

    Parameters
    ----------
    weights : array or tensor (N, D), Quantized, or tf.Variable that is not trainable
        Of float16, bfloat16, float32 or float64. A variable becomes the base itself, and goes into
        checkpoints. A memory map stays one, and a `rowtune.quantized.Quantized` keeps its few bits:
        rows are read and widened as they are looked up. Anything else becomes a constant. Of all
        but a variable a checkpoint holds the fingerprint.
    train : "all", boolean mask of N, ids, or slice
        Which rows train. Ids stay your own.
    columns : None, "all", boolean mask of D, indices, or slice
        Which columns of them do.
    dtype : tf.DType, optional
        Of the block, and so of rows that are looked up; that of the weights where left out.
    name : str, optional

    Attributes
    ----------
    block : tf.Variable (k, C)
        The rows that train, in the order of ``rows.ids``: the one trainable variable.
    base : tensor or tf.Variable (N, D), Codes, OnHost, or None
        The frozen storage, which nothing writes; None where all of the table trains.
    rows : rowtune.Rows

    Raises
    ------
    IdError
        An id in ``train`` that is negative, out of range or named twice.
    ShapeError
        Weights that are not two-dimensional, not floats, or a trainable variable.
    """

    def __init__(
        self,
        weights: Any,
        train: Choice = "all",
        columns: Choice | None = None,
        *,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        given = _as_weights(weights)
        num_rows, width = given.shape
        places = Places(Rows(num_rows, on_host(train), on_host(columns)), width)
        block_dtype = _float_dtype(dtype or given.dtype)
        start = whole(given) if places.rows.trains_all else rows_of(given, places.rows.ids)
        if places.columns is not None:
            start = tf.gather(start, places.columns, axis=1)
        with tf.init_scope():
            self.block = tf.Variable(tf.cast(start, block_dtype), name=f"{self.name}/block")
        self.base = given if places.has_base else None
        self._places = places
        self._identity = Identity(places, self.base)

    @as_written
    def __call__(self, ids: Any) -> Any:
        """The rows of ``ids``, integers of any shape, as ids.shape + (D,).

        A `tf.RaggedTensor` of ids gives one of rows.

        Raises
        ------
        IdError
            An id that is negative, out of range, or not an integer. In a `tf.function` it is
            `tf.errors.InvalidArgumentError`; under XLA, which cannot raise, that row is NaN.
        """
        if isinstance(ids, tf.RaggedTensor):
            return ids.with_flat_values(self(ids.flat_values))
        return lookup(self.block, self.base, self._places, ids)

    @property
    def rows(self) -> Rows:
        """Which rows train."""
        return self._places.rows

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.rows.num_rows, self._places.width

    @as_written
    def merge(self) -> Any:
        """The whole matrix (N, D) as a new tensor, in the base's dtype: the trained rows in their
        places, the others as the bits that they were; of a quantized base what it gives, in
        float32. All of it is in memory then.
        """
        if self.base is None:
            return tf.identity(self.block)
        base = whole(self.base)
        if 0 in self._places.block_shape:
            return tf.identity(base)
        block, ids = tf.cast(self.block, base.dtype), self.rows.ids
        if self._places.columns is not None:
            block = self._places.widened(block, tf.gather(base, ids))
        return tf.tensor_scatter_nd_update(base, ids[:, None], block)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """What TensorFlow saves."""
        if save_type == "savedmodel" and isinstance(self.base, OnHost):
            raise RowtuneError(
                "the base is in a memory map of this process, which a SavedModel cannot hold; "
                "export an Embedding of emb.merge(), of which nothing needs to train, or one of "
                "rowtune.quantize(...) in memory"
            )
        return super()._trackable_children(save_type, **kwargs)

    def __repr__(self) -> str:
        n, width = self.shape
        return f"Embedding({n} x {width} {self.block.dtype.name}, {len(self.rows)} rows train)"


def _as_weights(weights: Any) -> Any:
    weights = as_base(weights)
    if isinstance(weights, Codes | OnHost):
        given = weights
    elif isinstance(weights, tf.Variable):
        given = weights
        if given.trainable:
            raise ShapeError(
                "weights are a trainable variable, which other optimizers may write; pass "
                "tf.Variable(..., trainable=False), or its values: variable.numpy()"
            )
    else:
        try:
            given = tf.convert_to_tensor(weights)
        except (ValueError, TypeError) as error:
            raise ShapeError(f"weights are not one matrix: {error}") from None
    if len(given.shape) != 2:
        raise ShapeError(
            f"weights have shape {tuple(given.shape)}; expected a table of two dimensions, "
            "one row for each id"
        )
    _float_dtype(given.dtype)
    return given


def _float_dtype(dtype: Any) -> Any:
    found = tf.as_dtype(dtype)
    if found not in _FLOATS:
        raise ShapeError(
            f"dtype {found.name}; expected one of {', '.join(x.name for x in _FLOATS)} "
            "(write tf.cast(weights, tf.float32))"
        )
    return found
