"""State in files: what a rule remembers of a block, in a folder instead of memory."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import tempfile
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rowtune.row_memory import RowMemory

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class StateFolder:
    """A folder for the state of blocks that is larger than memory: ``state_folder=`` takes one.

    The system keeps in memory what is in use, and writes the rest to the files by and by. They have
    no names: nobody else can open them, several tables and optimizers may share a folder, and they
    are gone when their table or optimizer is, also where the process is killed. So this is scratch
    memory and no checkpoint; a file system on a disk is wanted, since ``/dev/shm`` and some
    ``/tmp`` are memory themselves.

    Parameters
    ----------
    path : folder that exists
    reserve : bool
        Take the space on the disk at once, so that a full disk is an `OSError` before anything is
        changed. Without it a file takes space as rows are touched, and a disk that is full by then
        ends the process with SIGBUS. Where a file system cannot reserve, a warning says so.

    Raises
    ------
    OSError
        No such folder, or no permission to write there.
    """

    def __init__(self, path: str | os.PathLike[str], *, reserve: bool = True) -> None:
        self.path, self.reserve = Path(path), reserve
        os.close(_new_file(self.path))

    @classmethod
    def of(cls, folder: StateFolder | str | os.PathLike[str]) -> StateFolder:
        """``folder`` itself, or the folder of that path."""
        return folder if isinstance(folder, StateFolder) else cls(folder)

    def __repr__(self) -> str:
        return f"StateFolder({str(self.path)!r}, reserve={self.reserve})"


def memory_in(folder: StateFolder | str | os.PathLike[str] | None) -> RowMemory:
    """Where the state of a block goes, as the option ``state_folder`` says."""
    return RowMemory() if folder is None else FileMemory(StateFolder.of(folder))


class FileMemory(RowMemory):
    """Arrays in files of a folder; one that grows is mapped anew, and nothing is copied."""

    def __init__(self, folder: StateFolder) -> None:
        super().__init__()
        self._folder = folder
        self._files: dict[str, _File] = {}

    def keeps(self, name: str, array: NDArray[Any]) -> bool:
        return self.holds(name, array)

    def _zeros(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        file = _File(self._folder.path)
        array = self._mapped(file, shape, np.dtype(dtype))
        self._files[name] = file
        return array

    def _larger(self, name: str, array: NDArray[Any], capacity: int) -> NDArray[Any]:
        shape = (capacity, *array.shape[1:])
        if self.holds(name, array) and array.size:
            return self._mapped(self._files[name], shape, array.dtype)
        room = self._zeros(name, shape, array.dtype)
        room[: len(array)] = array
        return room

    def _mapped(self, file: _File, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        count = int(np.prod(shape))
        size = count * dtype.itemsize
        if size == 0:
            return np.zeros(shape, dtype)
        _lengthen(file.descriptor, size, self._folder)
        memory = mmap.mmap(file.descriptor, size)
        return np.frombuffer(memory, dtype, count).reshape(shape)


class _File:
    """A file without a name, which is gone with the last map of it."""

    def __init__(self, folder: Path) -> None:
        self.descriptor = _new_file(folder)
        weakref.finalize(self, os.close, self.descriptor)


def _new_file(folder: Path) -> int:
    """The descriptor of a new file without a name in ``folder``."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".rowtune.", suffix=".state") as file:
            return os.dup(file.fileno())
    except OSError as error:
        message = f"{error.strerror}; state_folder is a folder that can be written"
        raise type(error)(error.errno, message, os.fspath(folder)) from None


def _lengthen(descriptor: int, size: int, folder: StateFolder) -> None:
    """Make the file ``size`` bytes long, with the space for them where that can be had.

    Raises
    ------
    OSError
        The disk has no space left; the file is as long as it was.
    """
    before = os.fstat(descriptor).st_size
    if size <= before:
        return
    try:
        if folder.reserve and not _reserved(descriptor, before, size):
            _check_free(folder.path, size - before)
            warnings.warn(
                f"the file system of {folder.path} cannot reserve space: if it is full before all "
                "rows were touched, the process ends with SIGBUS. "
                "StateFolder(path, reserve=False) says that this is meant",
                RuntimeWarning,
                stacklevel=2,
            )
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, before)
        if isinstance(error, OSError):
            message = f"{error.strerror}: {size / 1e9:.3g} GB of state do not fit"
            raise OSError(error.errno, message, os.fspath(folder.path)) from None
        raise


def _reserved(descriptor: int, begin: int, end: int) -> bool:
    """Reserve bytes begin to end of a file; whether its file system can.

    Not `os.posix_fallocate`, which where a file system cannot reserve writes to every page.
    """
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if fallocate is None:
        return False
    offset = ctypes.c_int64
    while fallocate(ctypes.c_int(descriptor), ctypes.c_int(0), offset(begin), offset(end - begin)):
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


def _check_free(folder: Path, size: int) -> None:
    if not hasattr(os, "statvfs"):
        return
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
