"""Kernels survive what users do: any number of threads, forks, launches from two threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from pathlib import Path
from queue import SimpleQueue

import numba.core.event
import numpy as np
import pytest

from rowtune import Table, rules
from rowtune.kernels import threads


@pytest.fixture
def num_threads():
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


def train(seed=0, rule="adam"):
    rng = np.random.default_rng(seed)
    table = Table(rng.standard_normal((20_000, 32)).astype(np.float32), rule=rule)
    for _ in range(3):
        ids = np.minimum(rng.zipf(1.2, 30_000) - 1, 19_999)
        table.update(ids, rng.standard_normal((30_000, 32), dtype=np.float32))
    return table.weights.tobytes(), table.state["m"].tobytes()


def test_one_two_and_five_threads_give_the_same_bits(num_threads):
    results = []
    for number in (1, 2, 5):
        num_threads(number)
        results.append(train())
    assert results[0] == results[1] == results[2]


def test_every_chunk_runs_once_and_an_error_is_raised(num_threads):
    num_threads(3)
    seen = []
    threads.for_each_chunk(seen.append, 100)
    assert sorted(seen) == list(range(100))

    def fail(chunk):
        if chunk == 50:
            raise RuntimeError("chunk 50")

    with pytest.raises(RuntimeError, match="chunk 50"):
        threads.for_each_chunk(fail, 100)
    with pytest.raises(ValueError, match="at least 1"):
        threads.set_num_threads(0)


def test_after_an_error_no_chunk_is_still_running(num_threads):
    num_threads(3)
    running, began = set(), threading.Barrier(3, timeout=20)

    def work(chunk):
        running.add(chunk)
        if chunk < 3:
            began.wait()
        if chunk == 1:
            running.discard(chunk)
            raise RuntimeError("chunk 1")
        time.sleep(0.1)
        running.discard(chunk)

    with pytest.raises(RuntimeError, match="chunk 1"):
        threads.for_each_chunk(work, 6)
    assert not running


def test_a_call_does_not_wait_for_the_work_of_another(busy_helper):
    seen = []
    threads.for_each_chunk(seen.append, 5)
    assert not busy_helper.is_set()
    assert sorted(seen) == list(range(5))


def test_several_threads_are_really_used(num_threads):
    num_threads(2)
    both = threading.Barrier(2, timeout=20)  # passes only if two chunks run at the same time
    threads.for_each_chunk(lambda chunk: both.wait(), 2)


@pytest.fixture
def busy_helper(num_threads, monkeypatch):
    """The pool's one thread, held until the event is set."""
    monkeypatch.setattr(threads, "_team", None)
    monkeypatch.setattr(threads, "_jobs", SimpleQueue())
    monkeypatch.setattr(threads, "_num_helpers", 0)
    num_threads(2)
    held, release = threading.Barrier(3, timeout=20), threading.Event()

    def hold(chunk):
        held.wait()
        release.wait(20)

    other = threading.Thread(target=threads.for_each_chunk, args=(hold, 2))
    other.start()
    held.wait()
    yield release
    release.set()
    other.join()


def until_the_helper_is_free(release):
    """Nothing is left to do for it: the job that comes last is done, too."""
    release.set()
    both = threading.Barrier(2, timeout=20)
    threads.for_each_chunk(lambda chunk: both.wait(), 2)


def test_a_helper_that_comes_late_does_nothing_and_keeps_nothing(busy_helper):
    array, seen = np.zeros(5), []
    gone = weakref.ref(array)

    def work(chunk, array=array):
        seen.append((chunk, len(array)))

    threads.for_each_chunk(work, 5)
    del work, array
    assert threads._jobs.qsize() == 1  # which it has not come to
    assert gone() is None
    until_the_helper_is_free(busy_helper)
    assert seen == [(chunk, 5) for chunk in range(5)]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_a_late_helper_does_not_go_on(busy_helper, error):
    seen = []

    def work(chunk):
        seen.append(chunk)
        if chunk == 1:
            raise error

    with pytest.raises(error):
        threads.for_each_chunk(work, 5)
    until_the_helper_is_free(busy_helper)
    assert seen == [0, 1]


@pytest.fixture
def ctrl_c():
    """Python's own answer to SIGINT, which is ignored where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals are sent to threads")
def test_ctrl_c_while_waiting_for_a_helper_is_raised_once_it_is_done(
    num_threads, monkeypatch, ctrl_c
):
    monkeypatch.setattr(threads, "_team", None)
    num_threads(2)
    caller, running, both = threading.get_ident(), set(), threading.Barrier(2, timeout=20)

    def work(chunk):
        running.add(chunk)
        both.wait()
        if threading.get_ident() != caller:
            time.sleep(0.1)  # the other one waits by now
            signal.pthread_kill(caller, signal.SIGINT)
            time.sleep(0.1)
        running.discard(chunk)

    with pytest.raises(KeyboardInterrupt):
        threads.for_each_chunk(work, 2)
    assert not running


def test_two_python_threads_launch_kernels_at_once(num_threads):
    num_threads(2)
    expected = [train(seed) for seed in (1, 2)]
    results = {}

    def work(seed):
        results[seed] = train(seed)

    running = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert [results[1], results[2]] == expected


FORK = """
    import os, sys
    import numpy as np
    from rowtune import Table
    from rowtune.kernels import threads

    threads.set_num_threads(2)
    table = Table(np.zeros((20_000, 64), np.float32), rule="sgd", lr=1.0)
    ids, grads = np.arange(20_000), np.ones((20_000, 64), np.float32)
    table.update(ids, grads)  # the pool is running now
    child = os.fork()
    if child == 0:
        table.update(ids, grads)
        os._exit(0 if (table.weights == -2).all() else 3)
    _, status = os.waitpid(child, 0)
    table.update(ids, grads)
    assert (table.weights == -2).all()
    sys.exit(os.waitstatus_to_exitcode(status))
"""

LOADER = """
    import sys, warnings
    import numpy as np
    import torch
    from rowtune import Table

    warnings.filterwarnings("ignore")  # torch warns of more workers than cores
    table = Table(np.zeros((20_000, 64), np.float32), rule="sgd", lr=1.0)
    grads = np.ones((20_000, 64), np.float32)

    class Data(torch.utils.data.Dataset):
        def __len__(self): return 8
        def __getitem__(self, i):
            table.update(np.arange(20_000), grads)  # in the worker: its own copy
            return torch.tensor([i])

    table.update(np.arange(20_000), grads)
    seen = []
    for batch in torch.utils.data.DataLoader(Data(), batch_size=2, num_workers=2,
                                             multiprocessing_context="fork"):
        table.update(np.arange(20_000), grads)
        seen += batch.reshape(-1).tolist()
    assert sorted(seen) == list(range(8)), seen
    assert (table.weights == -5).all()
"""


LOCKED = """
    import os, sys
    from rowtune.kernels import threads

    with threads._lock:  # as when another thread of the parent is just starting the pool
        child = os.fork()
        if child == 0:
            os._exit(0 if threads._lock.acquire(timeout=5) else 3)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("script", [FORK, LOADER, LOCKED], ids=["fork", "DataLoader", "locked"])
def test_a_process_that_forks_after_a_kernel_ran(script):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_second_call_compiles_nothing():
    table = Table(np.zeros((50, 4), np.float32), [1, 2, 3], "adam")
    table.update([1, 1, 2], np.ones((3, 4)))
    table.update(np.ones(600, int), np.ones((600, 4)))
    with numba.core.event.install_recorder("numba:compile") as compiled:
        table.lr = 0.5
        table.update([2, 3], np.ones((2, 4), np.float32))
        table.update(np.full(900, 2), np.ones((900, 4)))
        frozen_grads = np.ones((2, 4), np.float32)
        frozen_grads.flags.writeable = False
        table.update([2, 3], frozen_grads)
        other = Table(np.zeros((70, 9), np.float32), rule="adam", eps=0.1, beta1=0.5)
        other.update([[3, 3], [4, 5]], np.ones((2, 2, 9)))
    assert not compiled.buffer

    @rules.rule(lr=1.0)
    def new(row, grad, lr):
        return row - lr * grad

    with numba.core.event.install_recorder("numba:compile") as compiled:
        Table(np.zeros((5, 4), np.float32), rule=new).update([1], np.ones((1, 4)))
    assert compiled.buffer  # the recorder does record


def test_no_kernel_reads_or_writes_outside_its_arrays():
    """numba checks no bounds unless it is asked to, once for a process."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x",
         str(Path(__file__).with_name("test_table.py"))],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
