"""What several verbs ask of the files they are given."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rowtune.errors import FormatError


def refuse_to_overwrite(
    targets: Iterable[Path | str | None], inputs: Iterable[Path | str | None]
) -> None:
    """Raise `FormatError` where a file that is read would be written as well."""
    read = {os.path.realpath(path) for path in inputs if path is not None}
    for target in targets:
        if target not in (None, "-") and os.path.realpath(str(target)) in read:
            raise FormatError(f"{target} is read by this command; write to another file")


def words_in(path: Path) -> list[str]:
    """The words of a list with one a line; bytes that are no UTF-8 stay what they are."""
    text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return [word for line in text.split("\n") if (word := line.strip(" \t\r"))]
