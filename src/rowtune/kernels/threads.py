"""Our own small pool of threads, because numba's parallel layers do not survive what users do.

After a parallel region on its OpenMP layer, a forked DataLoader worker is killed; its workqueue
layer aborts when two Python threads launch kernels at once. A kernel here is a serial function
that releases the interpreter's lock; several threads run it on different chunks of rows. The
chunks never depend on the number of threads, so neither do the bits of a result.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import count

from numba import config

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_num_threads = max(1, int(config.NUMBA_NUM_THREADS))


def get_num_threads() -> int:
    """How many threads the kernels use (at first as many as ``NUMBA_NUM_THREADS`` or the cores)."""
    return _num_threads


def set_num_threads(number: int) -> None:
    """Use this many threads from now on; results keep the same bits."""
    global _num_threads  # noqa: PLW0603 - one setting for the process, as in torch and numba
    if number < 1:
        raise ValueError(f"number of threads is {number}; expected at least 1")
    _num_threads = int(number)


def for_each_chunk(work: Callable[[int], None], num_chunks: int) -> None:
    """Run ``work(0)`` to ``work(num_chunks - 1)``, each once, on the pool and the calling thread.

    Threads draw the next chunk when they are done with one, so a slow core delays little. The first
    error of any chunk is raised here, after all threads have stopped. ``work`` must not call this.
    """
    helpers = min(_num_threads, num_chunks) - 1
    if helpers < 1:
        for chunk in range(num_chunks):
            work(chunk)
        return
    numbers = count()

    def draw() -> None:
        for chunk in _below(numbers, num_chunks):
            work(chunk)

    futures: list[Future[None]] = []
    with contextlib.suppress(RuntimeError):  # at exit no thread starts: this one does it all
        pool = _pool_of(helpers)
        for _ in range(helpers):
            futures.append(pool.submit(draw))
    try:
        draw()
    finally:
        # Helpers that never began are not waited for: another caller's work may be before them.
        running = [future for future in futures if not future.cancel()]
        wait(running)
    for future in running:
        future.result()


def _below(numbers: Iterator[int], end: int) -> Iterator[int]:
    for number in numbers:  # `next` on itertools.count is atomic under the lock of CPython
        if number >= end:
            return
        yield number


def _pool_of(size: int) -> ThreadPoolExecutor:
    global _pool, _pool_size  # noqa: PLW0603
    with _lock:
        if _pool is None or _pool_size < size:
            _pool = ThreadPoolExecutor(size, thread_name_prefix="rowtune")
            _pool_size = size
        return _pool


def _forget_pool() -> None:
    """A forked child has none of its parent's threads: it starts a pool of its own when needed."""
    global _lock, _pool, _pool_size  # noqa: PLW0603
    _lock = threading.Lock()
    _pool = None
    _pool_size = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
