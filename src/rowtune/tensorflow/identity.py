"""What a checkpoint's block belongs to: these rows of this base."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import tensorflow as tf

from rowtune.base import fingerprint
from rowtune.errors import PatchError
from rowtune.on_host import OnHost
from rowtune.tensorflow.bases import Codes
from rowtune.tensorflow.places import Places


class Identity(tf.train.experimental.PythonState):  # type: ignore[misc]
    """Written into checkpoints beside the block, and compared before a block is read.

    A block holds rows without their ids. On another base, or with other rows chosen, it would load
    without a word, and each row would be some other word's. The base is read for it when a
    checkpoint is first written or restored, and not before.
    """

    def __init__(self, places: Places, base: Any) -> None:
        self._places = places
        # A variable is in the checkpoint by itself, and may be restored with the block.
        self._base = None if isinstance(base, tf.Variable) else base
        self._known: dict[str, Any] | None = None

    def serialize(self) -> str:
        """The facts as JSON."""
        return json.dumps(self._facts())

    def deserialize(self, text: bytes) -> None:
        """Compare.

        Raises
        ------
        PatchError
            The block is that of another table.
        """
        other, ours = json.loads(text), self._facts()
        for fact, words in _WORDS.items():
            if other.get(fact) != ours[fact]:
                raise PatchError(
                    f"the checkpoint's block belongs to {words}; build the Embedding as it was "
                    "when the checkpoint was written"
                )

    def _facts(self) -> dict[str, Any]:
        if self._known is None:
            rows, columns = self._places.rows, self._places.columns
            self._known = {
                "shape": [rows.num_rows, self._places.width],
                "rows": _hash(rows.ids),
                "columns": None if columns is None else _hash(columns),
                "base": None if self._base is None else _fingerprint(self._base),
            }
        return self._known


_WORDS = {
    "shape": "a table of another shape",
    "rows": "other rows than those that train here (train=...)",
    "columns": "other columns than those that train here (columns=...)",
    "base": "another base than this one",
}


def _hash(ids: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i8").tobytes()).hexdigest()


def _fingerprint(base: Any) -> str:
    if isinstance(base, OnHost | Codes):
        return base.fingerprint()
    array = np.asarray(base)
    if base.dtype == tf.bfloat16:
        return fingerprint(array.view(np.uint16), dtype_name="bfloat16")
    return fingerprint(array)
