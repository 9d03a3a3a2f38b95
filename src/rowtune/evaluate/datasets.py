"""Where evaluation data is: a file, or one that comes with an installed gensim; and its lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from rowtune.errors import FormatError
from rowtune.vectors.source import Source
from rowtune.vectors.unpacking import read_bytes

PAIRS = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
ANALOGIES = {"questions-words": "questions-words.txt"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def locate(path_or_name: str | os.PathLike[str], known: dict[str, str]) -> Path:
    """The file of that name; else what an installed gensim has under a name of ``known``.

    gensim is found and not imported. None of this data comes with Rowtune.

    Raises
    ------
    FormatError
        If there is neither; the message says what to type.
    """
    path = Path(path_or_name).expanduser()
    name = os.fspath(path_or_name)
    if path.is_file():
        return path
    if path.is_dir():
        raise FormatError(f"{name}: this is a folder; name a file in it")
    if name not in known:
        raise FormatError(
            f"{name}: no such file; expected one, or a name that gensim has data for: "
            f"{', '.join(known)}"
        )
    spec = find_spec("gensim")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        found = Path(folder, "test", "test_data", known[name])
        if found.is_file():
            return found
    raise FormatError(
        f"{name} is a file that comes with gensim, which is not installed; type: pip install "
        f"gensim, or name a file of your own"
    )


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every line that is not blank, with its number from 1; packed files are unpacked.

    The text is UTF-8, with or without a byte order mark; other bytes stay what they are, as those
    of a table's words do (``surrogateescape``).

    Raises
    ------
    FormatError
        If the file is no text, or text in UTF-16.
    """
    data = read_bytes(Source(str(path), path)).tobytes()
    if data.startswith(_UTF16) or b"\0" in data:
        kind = "UTF-16" if data.startswith(_UTF16) else "no text (it holds a zero byte)"
        raise FormatError(f"{path}: this is {kind}; expected UTF-8 text: save it as that")
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if line.strip():
            yield number, line
