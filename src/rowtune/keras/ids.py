"""What a layer takes as ids: integers, and floats that hold every one of them."""

from __future__ import annotations

from typing import Any

from keras import ops

from rowtune.errors import IdError
from rowtune.keras.weights import dtype_of

# Up to which a float type has every whole number.
_LARGEST_WHOLE = {"bfloat16": 1 << 8, "float16": 1 << 11, "float32": 1 << 24}


def as_ids(inputs: Any, num_rows: int) -> Any:
    """``inputs`` as integers.

    Raises
    ------
    IdError
        Booleans, or floats that have no place for each of ``num_rows`` ids.
    """
    dtype = dtype_of(inputs)
    if dtype.startswith(("int", "uint")):
        return inputs
    if dtype == "bool":
        raise IdError("ids are booleans; expected integers")
    if num_rows > _LARGEST_WHOLE.get(dtype, 1 << 53):
        raise IdError(
            f"ids are {dtype}, which has no place for all of {num_rows} ids; write "
            'keras.Input(..., dtype="int32")'
        )
    return ops.cast(inputs, "int32")  # as Keras's own layer, whose inputs are floats by default
