"""Which tensors of safetensors files are tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rowtune.errors import FormatError
from rowtune.tables.tensorfile import DTYPES, Place, read_header

SCALES = ".scales"
KIND = "rowtune.quantized"  # in the metadata, where float16 is to be opened as it was saved
# How many bytes a value of other dtypes has: their tensors lie between those that are wanted.
_SIZES = {"BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8}
_KINDS = {"BF16": "bfloat16", "I8": "int8"}


class Found(NamedTuple):
    """A table in a safetensors file."""

    file: str
    key: str
    place: Place
    kind: str = ""  # of a `Quantized`
    scales: Any = None  # another of these


def matrices(file: str) -> dict[str, Found]:
    """The tables of a file, or of all the files that an index names, by their names.

    Raises
    ------
    FormatError
        A damaged file.
    """
    tensors: dict[str, Found] = {}
    for part in _parts(file):
        places, metadata = read_header(part, part, _counted_in)
        half = metadata.get(KIND, "")
        for key, place in places.items():
            kind = half if place.code == "F16" else _KINDS.get(place.code, "")
            tensors[key] = Found(part, key, place, kind)
    return {
        key: found._replace(scales=tensors.get(key + SCALES) if found.kind == "int8" else None)
        for key, found in tensors.items()
        if _is_table(found, tensors.get(key + SCALES))
    }


def _is_table(found: Found, scales: Found | None) -> bool:
    place = found.place
    if len(place.shape) != 2:
        return False
    if place.code == "I8":
        rows = place.shape[0]
        return (
            scales is not None
            and scales.place.code in ("F16", "F32", "F64")
            and scales.place.shape in ((rows,), (rows, 1))
        )
    return place.code in ("F16", "F32", "F64", "BF16")


def _parts(file: str) -> list[str]:
    if file.endswith(".safetensors"):
        return [file]
    path = Path(file)
    try:
        named = {str(part) for part in json.loads(path.read_bytes())["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(
            f"{file}: not the index of a model's safetensors files ({error!r}); fetch it again"
        ) from None
    for part in named:
        if Path(part).name != part:
            raise FormatError(f"{file}: names the file {part!r}, which is not beside it")
    return [str(path.parent / part) for part in sorted(named)]


def _counted_in(name: str, key: str, code: str) -> np.dtype[Any]:
    if code in DTYPES:
        return np.dtype(DTYPES[code])
    if code in _SIZES:
        return np.dtype((np.void, _SIZES[code]))
    raise FormatError(f"{name}: tensor {key!r} has the dtype {code}, which is not known here")
