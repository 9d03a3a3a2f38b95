"""A table and the file of its words: both old, both new, or refused; never one of each.

Two names cannot change at once. Where the words change, the old ones leave their place before the
rows change and the new ones come after, and rows without words are refused by `load`.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rowtune.atomic import replacing


@contextlib.contextmanager
def replacing_pair(
    words: str | os.PathLike[str], rows: str | os.PathLike[str]
) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Yield a file for the words and one for the rows, which take their names when the block ends.

    Both are complete, and on the disk, before either takes its name. On any error, Ctrl-C and a
    full disk included, both old files are as they were; once the rows have taken their name, both
    are the new ones.

    Raises
    ------
    OSError
        As `open` and `write` raise it, about ``words`` or ``rows``.
    """
    targets = [Path(os.path.realpath(path)) for path in (words, rows)]
    if any(path.exists() and not path.is_file() for path in targets):  # a pipe has no old bytes
        with replacing(words) as first, replacing(rows) as second:
            yield first, second
        return
    news = [_beside(target, "new") for target in targets]
    try:
        with replacing(news[0]) as first, replacing(news[1]) as second:
            yield first, second
        put_pair(news[0], targets[0], news[1], targets[1])
    except OSError as error:
        for new, path in zip(news, (words, rows), strict=True):
            if error.filename == os.fspath(new):
                error.filename = os.fspath(path)
        raise
    finally:
        for new in news:
            new.unlink(missing_ok=True)


def put_in_place(new: Path, target: Path) -> None:
    """Give ``new``, and the words that lie alone beside it if any do, the place of ``target``.

    Parameters
    ----------
    new : Path
        A complete file in a folder of its own, on the disk of ``target``.
    target : Path
        Its name. Of a link, the file that it leads to changes.
    """
    rows = Path(os.path.realpath(target))
    words = [file for file in new.parent.iterdir() if file != new]
    if words:
        put_pair(words[0], Path(os.path.realpath(target.with_name(words[0].name))), new, rows)
        return
    _take_permissions(new, rows)
    new.replace(rows)


def put_pair(new_words: Path, words: Path, new_rows: Path, rows: Path) -> None:
    """Give two complete files their names. Killed at any moment, it leaves both old files, both new
    ones, or rows without words; the old words are then in a hidden file beside their place.

    Parameters
    ----------
    new_words, new_rows : Path
        Complete files, each on the disk of its target.
    words, rows : Path
        Their names; the files that have them keep their permissions.

    Raises
    ------
    OSError
        A name that cannot be taken; both files are the old ones, or both the new.
    """
    _take_permissions(new_words, words)
    _take_permissions(new_rows, rows)
    if words.exists() and filecmp.cmp(new_words, words, shallow=False):
        new_rows.replace(rows)  # other values for the same words: one rename is enough
        new_words.unlink()
        return
    aside = _beside(words, "old")
    try:
        if words.exists():
            words.replace(aside)
        new_rows.replace(rows)
        new_words.replace(words)
        aside.unlink(missing_ok=True)
    except BaseException:
        # What has happened is seen in the folder: Ctrl-C comes between a rename and the next line.
        if not new_rows.exists():
            if new_words.exists():
                new_words.replace(words)
            aside.unlink(missing_ok=True)
        elif aside.exists():
            aside.replace(words)
        raise


def _take_permissions(new: Path, target: Path) -> None:
    if target.exists():
        new.chmod(target.stat().st_mode & 0o777)


def _beside(target: Path, ending: str) -> Path:
    """A hidden name that no other process has."""
    return target.with_name(f".rowtune.{secrets.token_hex(8)}.{ending}")
