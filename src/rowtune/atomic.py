"""Files that appear whole or not at all: a new file, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the name ``path`` when the block ends without an error.

    A reader of ``path`` sees the old file or the new one, never a mixture. On any error, Ctrl-C and
    a full disk included, the half-written file is removed and ``path`` is as it was.

    What is not a regular file (a pipe, a terminal, ``/dev/null``) cannot be replaced: it is written
    to as it is.

    Raises
    ------
    OSError
        As `open` and `write` raise it, about ``path``: no such folder, no permission, no space.
    """
    target = Path(os.path.realpath(path))  # through a link: replace the file, keep the link
    if _is_special(target, Path(path)):
        with Path(path).open("wb") as file:
            yield file
        return
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".rowtune.", suffix=".new")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(_mode_for(target))
        Path(name).replace(target)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        if isinstance(error, OSError) and error.errno and error.filename in (None, name):
            error.filename = os.fspath(path)
        raise
    _sync_folder(target.parent)


def _is_special(target: Path, given: Path) -> bool:
    """A pipe behind /dev/fd has no name of its own, so what was given is asked as well."""
    if not os.fspath(given) or given.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder; name a file", os.fspath(given))
    return any(path.exists() and not path.is_file() for path in (target, given))


def _mode_for(target: Path) -> int:
    """Permissions of the file that is replaced, else what `open` would have given a new one."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; some file systems and Windows cannot open folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
