"""A survey as arrays alone, which is how a finished stage is kept, and the hash of its text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.survey import Survey

_TEXTS = ("types", "notes")
_BLOCK = 1 << 22  # tokens hashed at a time


def packed(survey: Survey) -> dict[str, NDArray[Any]]:
    """Every field as an array; texts as JSON in ASCII, since a note may name a file of any name."""
    arrays = {}
    for field in fields(survey):
        value = getattr(survey, field.name)
        if field.name in _TEXTS:
            value = np.frombuffer(json.dumps(value).encode("ascii"), np.uint8)
        arrays[field.name] = value
    return arrays


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> Survey:
    """The survey that `packed` took apart."""
    whole: dict[str, Any] = dict(arrays)
    for name in _TEXTS:
        whole[name] = json.loads(arrays[name].tobytes())
    return Survey(**whole)


def corpus_sha256(survey: Survey) -> str:
    """SHA-256 of the text as it was read: the types, one a line, then the ids of the tokens."""
    digest = hashlib.sha256("".join(f"{word}\n" for word in survey.types).encode())
    for begin in range(0, len(survey.stream), _BLOCK):
        digest.update(np.asarray(survey.stream[begin : begin + _BLOCK], "<i4").tobytes())
    return digest.hexdigest()
