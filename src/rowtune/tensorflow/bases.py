"""What a base may be beside a tensor: codes that are widened as they are looked up, or a table that
stays in its memory map.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rowtune.base import fingerprint
from rowtune.errors import RowtuneError
from rowtune.on_host import OnHost, is_mapped
from rowtune.quantized import Quantized
from rowtune.tensorflow.tracing import under_xla


class Codes:
    """A quantized base; its rows are float32.

    Attributes
    ----------
    codes : tensor or variable (N, D) of int8, float16 or bfloat16
    scales : float32 tensor or variable (N,) or None
    """

    dtype = tf.float32

    def __init__(self, codes: Any, scales: Any) -> None:
        self.codes, self.scales = codes, scales
        self.shape: tuple[int, ...] = tuple(codes.shape)

    @classmethod
    def of(cls, table: Quantized) -> Codes:
        """As constants."""
        codes: Any = table.codes
        if table.kind == "bfloat16":
            codes = codes.view(tf.bfloat16.as_numpy_dtype)
        with tf.init_scope():
            scales = None if table.scales is None else tf.constant(table.scales)
            return cls(tf.constant(codes), scales)

    def fingerprint(self) -> str:
        """That of the same table in a file."""
        codes = self.codes.numpy()
        codes = codes.view(np.uint16) if self.codes.dtype == tf.bfloat16 else codes
        scales = None if self.scales is None else self.scales.numpy()
        return fingerprint(Quantized(codes, scales))


def as_base(weights: Any) -> Any:
    """`Codes` of a quantized table, `OnHost` of one in a memory map; anything else as it is."""
    if isinstance(weights, Quantized | np.ndarray) and is_mapped(weights):
        return OnHost(weights)
    return Codes.of(weights) if isinstance(weights, Quantized) else weights


def rows_of(base: Any, ids: Any) -> Any:
    """Rows (n, D) of int64 ids (n,), without a gradient.

    Raises
    ------
    RowtuneError
        A base in a memory map, in a function that XLA compiles.
    """
    if isinstance(base, OnHost):
        _refuse_xla()
        rows = tf.numpy_function(base.rows, [ids], tf.as_dtype(base.dtype), stateful=False)
        return tf.ensure_shape(rows, [ids.shape[0], base.shape[1]])
    if isinstance(base, Codes):
        scales = None if base.scales is None else tf.gather(base.scales, ids)
        return widened(tf.gather(base.codes, ids), scales)
    return tf.stop_gradient(tf.gather(base, ids))


def whole(base: Any) -> Any:
    """All rows (N, D) as a tensor: of what is mapped or quantized, a new one.

    Raises
    ------
    RowtuneError
        As `rows_of`.
    """
    if isinstance(base, OnHost):
        _refuse_xla()
        rows = tf.numpy_function(base.whole, [], tf.as_dtype(base.dtype), stateful=False)
        return tf.ensure_shape(rows, base.shape)
    if isinstance(base, Codes):
        return widened(base.codes, base.scales)
    return tf.convert_to_tensor(base)


def widened(codes: Any, scales: Any) -> Any:
    """float32 rows (n, D) of codes (n, D) and scales (n,)."""
    if scales is not None:
        return tf.cast(codes, tf.float32) * scales[:, None]
    if codes.dtype == tf.bfloat16:  # by its bits: the payload of a NaN is kept
        bits = tf.cast(tf.bitcast(codes, tf.uint16), tf.uint32)
        return tf.bitcast(tf.bitwise.left_shift(bits, tf.constant(16, tf.uint32)), tf.float32)
    return tf.cast(codes, tf.float32)


def _refuse_xla() -> None:
    if under_xla():
        raise RowtuneError(
            "the base is in a memory map, which a function that XLA compiles cannot read; leave "
            "jit_compile=True away, or give a table that fits into memory: "
            'rowtune.quantize(weights, "int8") takes a quarter of the room'
        )
