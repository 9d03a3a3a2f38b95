"""From what a user names to the files of a table: paths, folders, members, installed tables."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from rowtune.errors import FormatError
from rowtune.tables.pickles import is_pickle, rows_beside
from rowtune.vectors.beside import table_in, words_beside
from rowtune.vectors.packages import TABLES, locate
from rowtune.vectors.source import Source
from rowtune.vectors.unpacking import read_bytes

__all__ = ["MissingFileError", "Source", "read_bytes", "resolve"]


class MissingFileError(FormatError, FileNotFoundError):
    """No such file, and no installed table of that name."""


def resolve(
    path_or_name: str | os.PathLike[str], words: str | os.PathLike[str] | None = None
) -> Source:
    """The files that a path, a folder, a ``path.zip:member`` or an installed table's name means.

    Parameters
    ----------
    path_or_name : path or str
        What the user named.
    words : path, optional
        The file of the words, in place of the one that lies beside.

    Raises
    ------
    MissingFileError
        If there is no such file; also a `FileNotFoundError`.
    FormatError
        If the name is that of a table that is not installed, or of a folder without a table.
    """
    source = _resolve(os.fspath(path_or_name))
    if words is None:
        return source
    listing = Path(words).expanduser()
    if not listing.is_file():
        raise MissingFileError(f"{listing}: no such file; expected the words of {source.name}")
    rows = rows_beside(source.path) if is_pickle(source.head(64)) else None
    return dataclasses.replace(source, path=rows or source.path, words=listing)


def _resolve(name: str) -> Source:
    path = Path(name).expanduser()
    if path.is_dir():
        return table_in(name, path)
    if path.exists():
        return _with_rows_of_pickle(words_beside(Source(name, path)))
    if name in TABLES:
        matrix, words = locate(name)
        return Source(name, matrix, words=words)
    archive, colon, member = name.rpartition(".zip:")
    if colon and Path(archive + ".zip").expanduser().is_file():
        return Source(name, Path(archive + ".zip").expanduser(), member=member)
    raise MissingFileError(
        f"{name}: no such file; expected a file of vectors, 'archive.zip:member', or the name of "
        f"an installed table ({', '.join(TABLES)})"
    )


def _with_rows_of_pickle(source: Source) -> Source:
    """Of a pickle the rows beside it, if their words lie there too; the pickle stays closed."""
    if not source.path.is_file() or not is_pickle(source.head(64)):
        return source
    rows = rows_beside(source.path)
    found = words_beside(Source(source.name, rows)) if rows else source
    return found if found.words else source
