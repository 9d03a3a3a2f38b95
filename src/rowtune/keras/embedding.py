"""`Embedding`: Keras's layer of that name, of which the chosen rows train."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from rowtune.errors import ShapeError
from rowtune.keras import blocks, choice, frozen, stored
from rowtune.keras.backend import backend
from rowtune.keras.ids import as_ids
from rowtune.keras.weights import as_it_is, as_matrix, dtype_of, on_host
from rowtune.on_host import OnHost
from rowtune.quantized import Quantized, quantize
from rowtune.rows import Choice, Rows


@keras.saving.register_keras_serializable(package="rowtune")
class Embedding(keras.layers.Layer):  # type: ignore[misc]
    """A table of N rows of which the chosen ones train; the others keep their bits.

    Arguments are those of `keras.layers.Embedding`, and two more.

    Parameters
    ----------
    input_dim, output_dim : int
        N and D.
    embeddings_initializer : initializer
        Of the whole table, where no ``weights`` are given.
    embeddings_regularizer, embeddings_constraint : optional
        Of the trainable rows alone. Both look at all of them in every step, which costs as much as
        there are.
    mask_zero : bool
        Id 0 is padding: the layer gives a mask. Its row is one like any other.
    weights : array (N, D) or [array], or Quantized, optional
        Rows of float16, bfloat16 and float32 stay in that dtype where they are frozen; others are
        converted to the dtype of the layer's variables. A memory map stays one, outside of the
        model's variables and files. A `rowtune.quantized.Quantized` keeps its few bits.
    train : "all", boolean mask of N, ids, or slice
        The rows that train. Ids stay your own.
    columns : None, "all", boolean mask of D, indices, or slice
        The columns of them that do.

    Attributes
    ----------
    block : Variable (k, C)
        The rows that train, in the order of ``rows.ids``: the one trainable weight.
    base : Variable (N, D), OnHost or None
        The frozen storage, not trainable: floats, or the codes of a quantized table; `OnHost` where
        it is in a memory map. None where all of the table trains.
    scales : Variable (N,) or None
        With codes of int8.
    rows : rowtune.Rows

    Raises
    ------
    IdError, ShapeError
        At construction: ids out of range or named twice, weights of another shape.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        *,
        train: Choice = "all",
        columns: Choice | None = None,
        base_dtype: str | None = None,
        base_kind: str | None = None,
        **kwargs: Any,
    ) -> None:
        for name, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if isinstance(size, bool) or not isinstance(size, int | np.integer) or size <= 0:
                raise ShapeError(f"{name} is {size!r}; expected a positive integer")
        super().__init__(**kwargs)
        self.input_dim, self.output_dim = int(input_dim), int(output_dim)
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.embeddings_regularizer = keras.regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = keras.constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        self.autocast = False
        self.rows = Rows(self.input_dim, _plain(train), _plain(columns))
        self._columns = self.rows.chosen_columns(self.output_dim)
        self._base_dtype = base_dtype or self.variable_dtype
        self._base_kind = base_kind
        self.base: Any = None
        self.scales: Any = None
        self.expected_base: str | None = None  # the fingerprint of what a file's block belongs to
        if weights is not None:
            self._take(weights)
            self.built = True

    def build(self, input_shape: Any = None) -> None:  # noqa: ARG002 - Keras's name
        """Make the weights, where the table was not given."""
        if self.built:
            return
        shape = (self.input_dim, self.output_dim)
        if self.trains_whole or self.is_mapped:
            self._make_weights(None)
        else:
            # Drawn whole, so that a row does not depend on which others train.
            drawn = on_host(self.embeddings_initializer(shape, dtype=self._base_dtype))
            self._make_weights(quantize(drawn, self._base_kind) if self._base_kind else drawn)
        self.built = True

    def attach(self, weights: Any) -> None:
        """Give a layer that was loaded from a file the base that was in a memory map.

        Parameters
        ----------
        weights : array (N, D) or Quantized, most often over a memory map
            All of it is read once, for its fingerprint.

        Raises
        ------
        PatchError
            Another table than that with which the layer was trained.
        ShapeError
            The layer keeps its base itself, or the table has another shape.
        """
        shape = (self.input_dim, self.output_dim)
        if not self.is_mapped:
            raise ShapeError(f"{self.name} keeps its base itself; only that of a map is attached")
        if np.shape(weights) != shape and getattr(weights, "shape", None) != shape:
            raise ShapeError(f"weights have shape {np.shape(weights)}; expected {shape}")
        base = frozen.on_host(weights, self.variable_dtype)
        if self.expected_base is not None:
            frozen.check(base, self.expected_base, self.name)
        self.base = base

    @property
    def trains_whole(self) -> bool:
        """Whether nothing is frozen, neither row nor column."""
        return self.rows.trains_all and self._columns is None

    @property
    def is_mapped(self) -> bool:
        """Whether the base is in a memory map, there or yet to be attached."""
        return self._base_kind == frozen.MAPPED

    @property
    def is_quantized(self) -> bool:
        """Whether the base's variable holds codes."""
        return self._base_kind not in (None, frozen.MAPPED)

    @property
    def columns(self) -> NDArray[np.int64] | None:
        """The columns that train, ascending; None where all do."""
        return self._columns

    def call(self, inputs: Any) -> Any:
        """The rows of ``inputs``, of shape inputs.shape + (D,), in the layer's compute dtype.

        Raises
        ------
        IdError
            An id that is negative or not below N, where its value can be seen: eagerly. In a
            TensorFlow graph it is `tf.errors.InvalidArgumentError`; in a program that XLA
            compiles, JAX's among them, nobody can raise, and that row is NaN.
        """
        if self.is_mapped and self.base is None:
            frozen.refuse_without(self.name)
        return ops.cast(self._table(as_ids(inputs, self.input_dim)), self.compute_dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002 - Keras's name
        """Which ids are not 0, with ``mask_zero``."""
        return ops.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """The shape of the ids, and D."""
        return (*input_shape, self.output_dim)

    def compute_output_spec(self, inputs: Any) -> Any:
        """The same with the dtype, without running the lookup."""
        shape = self.compute_output_shape(inputs.shape)
        ragged = {"ragged": True} if getattr(inputs, "ragged", False) else {}
        return keras.KerasTensor(shape, dtype=self.compute_dtype, **ragged)

    def merge(self) -> NDArray[Any]:
        """The whole table (N, D) as a new array: trained rows in their places, the others as the
        bits that they were; of a quantized base the numbers that it gives, in float32.
        """
        block = on_host(self.block)
        if self.base is None:
            if self.is_mapped:
                frozen.refuse_without(self.name)
            return np.array(block)
        whole = frozen.whole(self)
        place: Any = (
            self.rows.ids if self._columns is None else np.ix_(self.rows.ids, self._columns)
        )
        whole[place] = block.astype(whole.dtype)
        return whole

    # --- saving --------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """How to make the layer again. It holds which rows train, and no row."""
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": keras.regularizers.serialize(self.embeddings_regularizer),
            "embeddings_constraint": keras.constraints.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
            "train": choice.as_config(None if self.rows.trains_all else self.rows.ids),
            "columns": choice.as_config(self._columns),
            "base_dtype": self._base_dtype,
            "base_kind": self._base_kind,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Embedding:
        """The layer of a configuration, with rows of its initializer."""
        chosen = {name: choice.from_config(config[name]) for name in ("train", "columns")}
        return cls(**{**config, **chosen})

    def save_own_variables(self, store: Any) -> None:
        """Block and base, and which rows and columns they are of, by name; of a base in a memory
        map the fingerprint, for which all of it is read once.
        """
        if self.built:
            stored.save(self, store)

    def load_own_variables(self, store: Any) -> None:
        """What `save_own_variables` wrote.

        Raises
        ------
        PatchError
            Rows of other ids than those that train here, or of a table of another shape; rows of
            another base, where that is in a memory map.
        """
        stored.load(self, store)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> Any:
        """What TensorFlow saves, where it is the backend."""
        if save_type == "savedmodel" and self.is_mapped:
            frozen.refuse_export(self.name)
        return super()._trackable_children(save_type, **kwargs)

    # --- making --------------------------------------------------------------------------------

    def _take(self, weights: Any) -> None:
        """Make the weights of a table that was given."""
        shape = (self.input_dim, self.output_dim)
        matrix: Any = frozen.kept(weights, shape, self.variable_dtype)
        if matrix is None or self.trains_whole:
            given = weights if matrix is None else frozen.rows_of(matrix, None)
            matrix = as_matrix(given, shape, self.variable_dtype, not self.trains_whole)
            self._base_dtype = dtype_of(matrix)
        else:
            self._base_kind = frozen.MAPPED if isinstance(matrix, OnHost) else matrix.kind
            self._base_dtype = "float32"
        self._make_weights(matrix)

    def _make_base(self, matrix: Any) -> None:
        if isinstance(matrix, OnHost):
            self.base = matrix
            # XLA cannot call NumPy in TensorFlow's graphs; in JAX's programs it can.
            self.supports_jit = keras.backend.backend() != "tensorflow"
            return
        is_codes = isinstance(matrix, Quantized)
        codes = frozen.codes_of(matrix) if is_codes else matrix
        self.base = self._kept("base", codes, dtype_of(codes) if is_codes else self._base_dtype)
        if is_codes and matrix.scales is not None:
            self.scales = self._kept("scales", matrix.scales, "float32")

    def _kept(self, name: str, array: NDArray[Any], dtype: str) -> Any:
        """A variable that does not train."""
        return self.add_weight(
            name=name,
            shape=array.shape,
            dtype=dtype,
            initializer=as_it_is(array),
            trainable=False,
            autocast=False,
        )

    def _make_weights(self, matrix: Any) -> None:
        """``matrix``: None where the initializer makes the block, all of which trains, or where a
        file will bring it.
        """
        rows = None
        if matrix is not None:
            if not self.trains_whole:
                self._make_base(matrix)
            rows = frozen.rows_of(matrix, None if self.rows.trains_all else self.rows.ids)
            rows = rows if self._columns is None else rows[:, self._columns]
        width = self.output_dim if self._columns is None else len(self._columns)
        shape = (len(self.rows), width)
        self.block = self.add_weight(
            name="block",
            shape=shape,
            initializer=self.embeddings_initializer if rows is None else as_it_is(rows),
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
            trainable=0 not in shape,
            autocast=False,  # a model in mixed precision would cast it whole, in every lookup
        )
        blocks.mark(self.block)
        self._table = backend().table_of(self)


def _plain(chosen: Any) -> Any:
    plain = chosen is None or isinstance(chosen, str | slice | list | tuple | range | np.ndarray)
    return chosen if plain else on_host(chosen)
