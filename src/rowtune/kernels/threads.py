"""Our own small pool of threads, because numba's parallel layers do not survive what users do.

After a parallel region on its OpenMP layer, a forked DataLoader worker is killed; its workqueue
layer aborts when two Python threads launch kernels at once. A kernel here is a serial function
that releases the interpreter's lock; several threads run it on different chunks of rows. The
chunks never depend on the number of threads, so neither do the bits of a result.

A framework whose own threads wait busily would compete with ours for the cores. An engine can lend
us those instead: `lend_team`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from itertools import count
from queue import SimpleQueue

from numba import config

# ``team(draw, help, number)`` calls ``draw`` here and ``help``, which never raises, on number - 1
# other threads, and waits for them whatever ``draw`` raises; or does nothing and says False.
Team = Callable[[Callable[[], None], Callable[[], None], int], bool]

_lock = threading.Lock()
_jobs: SimpleQueue[_Job] = SimpleQueue()
_team: Team | None = None
_num_helpers = 0
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
    job = _Job(work, num_chunks, helpers)
    try:
        if _team is None or not _team(job.draw, job.help, 1 + helpers):
            _on_own_threads(job, helpers)
    finally:
        job.close()
    if job.error is not None:
        raise job.error


def lend_team(team: Team | None) -> None:
    """Have this team do the work from now on, or our own threads again; a fork ends it."""
    global _team  # noqa: PLW0603 - one for the process, as its threads are
    _team = team


def _on_own_threads(job: _Job, helpers: int) -> None:
    with contextlib.suppress(RuntimeError):  # at exit no thread starts: this one does it all
        _start_helpers(helpers)
        for _ in range(helpers):
            _jobs.put(job)
    job.draw()


class _Job:
    """One call of `for_each_chunk`. Between two steps of a training loop the caches are cold, and
    every line of Python is paid several times; a future of the standard library has many.
    """

    def __init__(self, work: Callable[[int], None], num_chunks: int, most_helpers: int) -> None:
        self.error: BaseException | None = None
        self._work: Callable[[int], None] | None = work
        self._numbers, self._end = count(), num_chunks
        self._lock, self._all_left = threading.Lock(), threading.Lock()
        self._all_left.acquire()
        self._places, self._busy = most_helpers, 0
        self._closed = False

    def draw(self) -> None:
        """Run chunks until there are none left: the caller's part, where Ctrl-C may come."""
        work = self._work
        assert work is not None
        for chunk in _below(self._numbers, self._end):
            work(chunk)

    def help(self) -> None:
        """The same on another thread; not where there are threads enough."""
        with self._lock:
            if self._closed or not self._places:
                return
            self._places -= 1
            self._busy += 1
        try:
            self.draw()
        except BaseException as error:
            self.error = self.error or error  # for `for_each_chunk` to raise
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._busy -= 1
            if self._closed and not self._busy:
                self._all_left.release()

    def close(self) -> None:
        """Wait for the helpers that have begun; those busy with another's work never do."""
        with self._lock:
            self._closed = True
        interrupted: BaseException | None = None
        while self._busy:
            try:
                self._all_left.acquire(timeout=1)
            except BaseException as error:  # Ctrl-C: they still write into the caller's arrays
                interrupted = error
        self._work = None  # a helper that comes late must not keep the arrays alive
        if interrupted is not None:
            raise interrupted


def _below(numbers: Iterator[int], end: int) -> Iterator[int]:
    for number in numbers:  # `next` on itertools.count is atomic under the lock of CPython
        if number >= end:
            return
        yield number


def _start_helpers(number: int) -> None:
    """Have at least this many threads that wait for jobs."""
    global _num_helpers  # noqa: PLW0603
    if _num_helpers >= number:
        return
    with _lock:
        while _num_helpers < number:
            name = f"rowtune-{_num_helpers}"
            threading.Thread(target=_help, args=(_jobs,), name=name, daemon=True).start()
            _num_helpers += 1


def _help(jobs: SimpleQueue[_Job]) -> None:
    while True:
        jobs.get().help()


def _forget_helpers() -> None:
    """A forked child has none of its parent's threads: it starts its own when needed."""
    global _lock, _jobs, _num_helpers, _team  # noqa: PLW0603
    _lock, _team = threading.Lock(), None
    _jobs = SimpleQueue()
    _num_helpers = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
