"""One SHA-256 of facts and arrays: in a file beside them, it tells a bit that has turned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def checksum(facts: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256, in hex, of the facts, and of names, shapes, dtypes and bytes of the tensors."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()
