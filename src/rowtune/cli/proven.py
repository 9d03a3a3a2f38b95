"""Writing a table with new words: it gets its name only after every old row was found in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rowtune.cli.inputs import refuse_to_overwrite
from rowtune.cli.progress import Report
from rowtune.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from rowtune.learn.result import FreezeProof
    from rowtune.vectors import Vectors


def check_out(
    out: Path | None, also: Iterable[Path | str | None], inputs: Iterable[Path | str | None]
) -> None:
    """Raise now what would else be found after the work.

    Parameters
    ----------
    out : path or None
        Where the table will go; it may be the table that is read.
    also : paths
        Other files and folders to write, none of them the table.
    inputs : paths
        What is read besides the table.
    """
    from rowtune.vectors import kind_of  # noqa: PLC0415 - `--help` stays fast

    made = [] if out is None else [out, out.with_suffix(".words.txt")]
    refuse_to_overwrite([*made, *also], inputs)
    refuse_to_overwrite(also, made)
    if out is None:
        return
    if out.exists() and not out.is_file():
        raise FormatError(f"{out} is no regular file; name one to write the table to")
    kind_of(out)


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
        new = Path(folder, out.name)
        extend_file(source, table, words, rows, new, progress=progress)
        progress("verifying", 0, 1)
        found = verify(table, new)
        progress("verifying", 1, 1)
        if found.ok:
            put_in_place(new, out)
    lost = not found.ok and found.sha256_before == found.sha256_after
    after = "some rows are missing" if lost else found.sha256_after
    return FreezeProof(found.rows, found.sha256_before, after)
