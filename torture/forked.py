"""A command in a fork of this process, that can be killed at any of its write boundaries.

A boundary is a moment just before a file in the output folder is opened to be written, renamed,
removed or given permissions, before a write, in the middle of it, and before an fsync.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import mmap
import os
import signal
import struct
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.link"}
_FIELDS = struct.Struct("=qdd")  # boundaries passed; when the first and the last one was
CRASHED, HANGS = 99, 98


class Boundaries:
    """Counts boundaries in memory that parent and child share; kills the child at one of them."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _FIELDS.size)
        self.kill_at, self.signal = 0, signal.SIGKILL
        self._folder, self._began = "", 0.0

    @property
    def passed(self) -> int:
        return int(_FIELDS.unpack(self._shared[:])[0])

    @property
    def span(self) -> tuple[float, float]:
        """Seconds from the fork to the first and to the last boundary."""
        _, first, last = _FIELDS.unpack(self._shared[:])
        return first, last

    def reset(self) -> None:
        self._shared[:] = bytes(_FIELDS.size)
        self._began = time.monotonic()

    def at(self) -> None:
        count, first, last = _FIELDS.unpack(self._shared[:])
        last = time.monotonic() - self._began
        self._shared[:] = _FIELDS.pack(count + 1, first or last, last)
        if count + 1 == self.kill_at:
            os.kill(os.getpid(), self.signal)

    def watch(self, folder: Path) -> None:
        """From here on, in this process, every boundary counts."""
        self._folder = os.path.realpath(folder)
        sys.addaudithook(self._audit)
        sync, fdopened, opened = os.fsync, os.fdopen, io.open

        def counted_sync(descriptor: int) -> None:
            self.at()
            sync(descriptor)

        def counted_fdopen(descriptor: int, mode: str = "r", *rest: Any, **more: Any) -> Any:
            if mode != "wb":
                return fdopened(descriptor, mode, *rest, **more)
            return io.BufferedWriter(_Counted(descriptor, self))

        def counted_open(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
            if mode != "wb" or isinstance(file, int) or not self._is_watched(file):
                return opened(file, mode, *rest, **more)
            if 0 in (*rest[:1], more.get("buffering")):
                return _Counted(file, self)
            return io.BufferedWriter(_Counted(file, self))

        os.fsync, os.fdopen = counted_sync, counted_fdopen  # type: ignore[assignment]
        io.open = builtins.open = counted_open  # type: ignore[assignment]

    def _is_watched(self, path: Any) -> bool:
        return self._folder in os.path.realpath(os.fsdecode(path))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and (
            arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )  # fmt: skip
        named = (writes or event in _EVENTS) and not isinstance(arguments[0], int)
        if named and self._is_watched(arguments[0]):
            self.at()


class _Counted(io.FileIO):
    """A file whose every write has a boundary before it and one in its middle."""

    def __init__(self, file: Any, boundaries: Boundaries) -> None:
        super().__init__(file, "wb")
        self._boundaries = boundaries

    def write(self, data: Any) -> int:
        whole, half = memoryview(data).cast("B"), len(data) // 2
        for part in (whole[:half], whole[half:]):
            self._boundaries.at()
            while len(part):
                part = part[super().write(part) :]  # noqa: PLW2901
        return len(whole)


def start(arguments: Sequence[str], boundaries: Boundaries, home: Path, said: Path) -> int:
    """Fork, and run `rowtune ARGUMENTS` in ``home``; the process id of the child.

    Ctrl-C counts from the first line of `main` on: what lies before is the interpreter's.
    """
    boundaries.reset()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        return child
    try:
        _be_the_child(arguments, boundaries, home, said)
    finally:
        # A Ctrl-C may have come between any two lines. Whatever it cut short, a child must not go
        # on in the frames of its parent: those would tidy up the folder that both work in.
        os._exit(CRASHED)


def _be_the_child(
    arguments: Sequence[str], boundaries: Boundaries, home: Path, said: Path
) -> NoReturn:
    code = CRASHED
    try:
        from rowtune.cli.app import main  # noqa: PLC0415

        os.chdir(home)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["rowtune", *arguments]
        boundaries.watch(home / "out")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = _run(main)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command has ended
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(main: Any) -> int:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    except KeyboardInterrupt:  # it waited at the door
        print("rowtune: stopped; before the first line")
        return 130
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def warm_up(arguments: Sequence[str], home: Path) -> None:
    """Run the command here once, so that forks find everything imported and compiled.

    Threads that it starts end with it, or are those of Arrow, which starts its own anew in a fork.
    """
    from rowtune.cli.app import main  # noqa: PLC0415

    os.chdir(home)
    sys.argv = ["rowtune", *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main()


def wait(child: int, seconds: float = 120) -> int:
    """The exit code, negative for a signal; `HANGS` for a process that had to be ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HANGS
