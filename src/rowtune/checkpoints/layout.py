"""The folder of saves: a folder for each, names, the lock, and what dead saves have left.

saves/
  .lock                        held while a save is made
  00000007.step-120/           whole, since nothing else gets such a name
    manifest.json
    table0.rank0.part0.safetensors
  .new-00000008-3f9a.../       a save that is being made, or has died
  .old-00000001.step-10-.../   one that is being removed
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rowtune.errors import CheckpointError

_NAME = re.compile(r"(\d{8,})\.step-(\d+)")
_LEFT = (".new-", ".old-")
Folder = str | os.PathLike[str]


@dataclass(frozen=True, order=True)
class Saved:
    """A save by its name; later ones are greater."""

    number: int
    step: int
    path: Path

    @property
    def name(self) -> str:
        return self.path.name


def saves(folder: Folder) -> list[Saved]:
    """All saves, oldest first.

    Raises
    ------
    CheckpointError
        No such folder.
    """
    home = Path(folder)
    try:
        names = [path for path in home.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    except OSError as error:
        raise CheckpointError(
            f"{home} cannot be read as a folder of saves: {error.strerror or error}; name the "
            "folder that a rowtune.checkpoints.Saver was given"
        ) from error
    return sorted(map(_saved, names))


def _saved(path: Path) -> Saved:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return Saved(int(match[1]), int(match[2]), path)


def steps(folder: Folder) -> list[int]:
    """The steps of all saves in a folder, in the order in which they were made.

    Raises
    ------
    CheckpointError
        No such folder.
    """
    return [saved.step for saved in saves(folder)]


def make(home: Path) -> None:
    """Make the folder of saves, and those above it, where they are missing."""
    missing = [path for path in (home, *home.parents) if not path.exists()]
    home.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


def name_of(number: int, step: int) -> str:
    """Of the folder of one save."""
    return f"{number:08d}.step-{step}"


def new_name(number: int) -> str:
    """Of a folder that is being filled. Nobody else has it: a process of a team that has died must
    not write into what the next team makes.
    """
    return f"{_LEFT[0]}{number:08d}-{secrets.token_hex(8)}"


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Have the folder for oneself; the lock ends with the process, however it ends.

    Raises
    ------
    CheckpointError
        Somebody else has it.
    """
    try:
        import fcntl  # noqa: PLC0415
    except ImportError:  # not on Windows
        yield
        return
    descriptor = os.open(home / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"{home} is in use: another process is saving there now. Give every training a "
                "folder of its own"
            ) from None
        yield
    finally:
        os.close(descriptor)


def clean(home: Path) -> None:
    """Remove what dead saves have left; only who holds the lock may."""
    for path in home.iterdir():
        if path.name.startswith(_LEFT):
            shutil.rmtree(path, ignore_errors=True)  # tried again at the next save


def remove(saved: Saved) -> None:
    """Remove a save: first its name, so that nobody takes what is left of it for a damaged one."""
    gone = saved.path.with_name(f"{_LEFT[1]}{saved.name}-{secrets.token_hex(8)}")
    saved.path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
