"""The files of one save: rows in files of at most a gibibyte, and what has no rows in one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.checkpoints import tensors
from rowtune.checkpoints.part import Arrays, Part

FILE_BYTES = 1 << 30  # what a file system, a copy over the network and a second try are easy with
WHOLE = "whole.safetensors"


def write_rows(
    folder: Path, stem: str, part: Part, places: NDArray[np.int64] | None, told: tensors.Tell
) -> list[dict[str, Any]]:
    """Write rows at ``places`` of a part (ascending), or all where None; an entry for each file.

    A file of all rows from ``begin`` to ``end`` has no slots in it; any other has ``slots``.
    """
    count = len(part) if places is None else len(places)
    step = max(1, FILE_BYTES // max(1, part.row_bytes))
    entries = []
    for number, at in enumerate(range(0, count, step)):
        last = min(at + step, count)
        path = folder / f"{stem}.part{number}.safetensors"
        if places is None:
            streams = {key: tensors.stream(array[at:last]) for key, array in part.arrays.items()}
            begin, end = part.begin + at, part.begin + last
        else:
            here = places[at:last]
            streams = {key: tensors.stream(array, here) for key, array in part.arrays.items()}
            slots = here + part.begin
            streams["slots"] = tensors.stream(slots)
            begin, end = int(slots[0]), int(slots[-1]) + 1
        entry = tensors.write(path, streams, told)
        entries.append(
            {**entry, "begin": begin, "end": end, "every": places is None, "rows": last - at}
        )
    return entries


def write_whole(folder: Path, own: Arrays, parts: Mapping[str, Part], told: tensors.Tell) -> Any:
    """Write the arrays that have not one row for each slot; the file's entry, or None."""
    streams = {json.dumps([key]): tensors.stream(np.asarray(array)) for key, array in own.items()}
    for name, part in parts.items():
        for key, array in part.whole.items():
            streams[json.dumps([name, key])] = tensors.stream(array)
    return tensors.write(folder / WHOLE, streams, told) if streams else None
