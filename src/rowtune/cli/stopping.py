"""Ctrl-C as a request to finish: the first is kept as an answer, the second stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SAID = "finishing with what was read; Ctrl-C again to stop now without writing\n"
_STDERR = 2


@contextlib.contextmanager
def finish_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield ``enough()``, which is true from the first Ctrl-C on; a second is as it ever was.

    Only the main thread can handle signals, and a process that ignores Ctrl-C goes on doing so: in
    those cases ``enough()`` is never true.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or before is None or before == signal.SIG_IGN:
        yield lambda: False
        return
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        _say(_SAID)

    signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _say(text: str) -> None:
    """Write without buffers and locks, which the interrupted code may be in the midst of."""
    with contextlib.suppress(OSError):
        clear = "\r\x1b[2K" if os.isatty(_STDERR) else ""  # a progress bar stands on this line
        os.write(_STDERR, f"{clear}{text}".encode())
