"""Writing a table with new words: it gets its name only after every old row was found in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rowtune.cli.progress import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rowtune.learn.result import FreezeProof
    from rowtune.vectors import Vectors


def write_proven(
    source: str,
    table: Vectors,
    words: Sequence[str],
    rows: NDArray[Any],
    out: Path,
    progress: Report,
) -> FreezeProof:
    """Write the old rows from ``source`` and the new ones beside OUT, read them back, and compare.

    Where the proof fails, OUT is as it was.
    """
    from rowtune.learn.result import FreezeProof  # noqa: PLC0415 - `--help` stays fast
    from rowtune.vectors import extend_file, verify  # noqa: PLC0415
    from rowtune.vectors.pair import put_in_place  # noqa: PLC0415

    target = Path(os.path.realpath(out))
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".rowtune.") as folder:
        new = Path(folder, target.name)
        extend_file(source, table, words, rows, new, progress=progress)
        progress("verifying", 0, 1)
        found = verify(table, new)
        progress("verifying", 1, 1)
        if found.ok:
            put_in_place(new, target)
    lost = not found.ok and found.sha256_before == found.sha256_after
    after = "some rows are missing" if lost else found.sha256_after
    return FreezeProof(found.rows, found.sha256_before, after)
