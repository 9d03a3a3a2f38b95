"""Kernels on torch's own threads: the same results, and nothing that a user does breaks them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import rowtune.torch as rt
from rowtune.kernels import threads
from rowtune.torch import team

with_a_team = pytest.mark.skipif(
    team._library_of_torch() is None, reason="torch runs on another OpenMP here"
)


@pytest.fixture(autouse=True)
def as_before():
    before = threads._team, threads.get_num_threads(), torch.get_num_threads()
    # Python's own answer to SIGINT, which is ignored where the tests run in the background.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    team.join()
    threads.set_num_threads(2)
    torch.set_num_threads(2)
    yield
    signal.signal(signal.SIGINT, handler)
    threads.lend_team(before[0])
    threads.set_num_threads(before[1])
    torch.set_num_threads(before[2])


def in_a_fresh_process(script):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def trained(seed=0, sparse=True):
    """Bits after steps whose every kernel has several chunks, and rows of many positions."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(30_000, 64, generator=generator)
    emb = rt.Embedding.from_pretrained(factor[:20_000], sparse=sparse)
    bag = rt.EmbeddingBag.from_pretrained(factor[:20_000], sparse=sparse, mode="sum")
    optimizer = rt.optim.Adam([emb.block, bag.block], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        ids = torch.randint(0, 20_000, (30_000,), generator=generator)
        ids[::3] = 7
        out = emb(ids)
        (out * factor).backward(torch.ones(()).expand_as(out))
        bags = bag(ids.view(-1, 3))
        bags.backward(factor[: len(bags)])
        optimizer.step()
    tensors = (out, bags, emb.block, bag.block, *optimizer.row_state(emb.block).values())
    return [t.detach().numpy().tobytes() for t in tensors]


@pytest.mark.parametrize("sparse", [False, True])
def test_the_bits_are_the_same_on_any_threads(sparse):
    expected = trained(sparse=sparse)
    for number, of_torch in ((1, 2), (2, 1), (2, 5), (5, 5), (5, 2)):
        threads.set_num_threads(number)
        torch.set_num_threads(of_torch)
        assert trained(sparse=sparse) == expected, (number, of_torch)
    threads.lend_team(None)
    for number in (2, 5):
        threads.set_num_threads(number)
        assert trained(sparse=sparse) == expected, number


ON_TORCHS_THREADS = """
    import threading
    from pathlib import Path
    import torch
    import rowtune.torch
    from rowtune.kernels import threads

    def all_threads():
        return {int(task.name) for task in Path("/proc/self/task").iterdir()}
    def work(chunk):
        both.wait()
        seen.add(threading.get_native_id())

    [module.set_num_threads(2) for module in (threads, torch)]
    torch.ones(1 << 22).add_(1)  # torch has its threads now
    before, seen, both = all_threads(), set(), threading.Barrier(2, timeout=20)
    threads.for_each_chunk(work, 2)
    assert len(seen) == 2 and seen <= before == all_threads(), (seen, before, all_threads())
"""


@with_a_team
def test_kernels_run_on_the_threads_that_torch_has_already():
    in_a_fresh_process(ON_TORCHS_THREADS)


FORKED = """
    import os, threading, torch, warnings
    import rowtune.torch as rt
    from rowtune.kernels import threads
    warnings.filterwarnings("ignore")  # torch warns of more workers than cores
    threads.set_num_threads(2)
    emb = rt.Embedding.from_pretrained(torch.zeros(20_000, 64), sparse=True)
    optimizer = rt.optim.SGD(emb.parameters(), lr=1.0)
    def step():
        optimizer.zero_grad()
        emb(torch.arange(20_000)).backward(torch.ones(20_000, 64))
        optimizer.step()

    step()
    if (child := os.fork()) == 0:  # where torch's threads are not, nor were we told of it
        both = threading.Barrier(2, timeout=20)
        threads.for_each_chunk(lambda chunk: both.wait(), 2)
        torch.set_num_threads(1)  # as DataLoader does
        step()
        os._exit(0 if (emb.block == -2).all() and threads._num_helpers == 1 else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    step()

    class Data(torch.utils.data.Dataset):
        def __len__(self): return 8
        def __getitem__(self, i):
            step()  # in the worker: its own copy
            return emb(torch.arange(20_000))[:, 0].mean().detach()

    seen, options = [], {"num_workers": 2, "multiprocessing_context": "fork"}
    for batch in torch.utils.data.DataLoader(Data(), batch_size=2, **options):
        step()
        seen += batch.tolist()
    assert sorted(seen) == [-6, -6, -5, -5, -4, -4, -3, -3], seen
    assert (emb.block == -6).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_process_that_forks_after_a_step():
    in_a_fresh_process(FORKED)


@with_a_team
@pytest.mark.parametrize(
    ("number", "of_torch", "own"), [(2, 2, 0), (2, 5, 0), (4, 4, 0), (2, 1, 1), (3, 2, 2)]
)
def test_as_many_threads_work_as_were_asked_for(number, of_torch, own):
    threads.set_num_threads(number)
    torch.set_num_threads(of_torch)
    seen, all_of_them = {}, threading.Barrier(number, timeout=20)

    def work(chunk):
        if chunk < number:
            all_of_them.wait()
        seen[threading.get_native_id()] = threading.current_thread().name
        time.sleep(0.001)  # for another one, if there were one

    threads.for_each_chunk(work, 10 * number)
    assert len(seen) == number
    assert sum(name.startswith("rowtune-") for name in seen.values()) == own


def test_an_error_of_any_chunk_is_raised_and_the_next_call_works():
    numbers = [7, 7, 7, 7, 7, 7]
    for wrong in range(6):
        numbers[wrong] = 0
        with pytest.raises(ZeroDivisionError):
            threads.for_each_chunk(lambda chunk: 1 / numbers[chunk], 6)
        numbers[wrong] = 7
    caller, both, seen = threading.get_ident(), threading.Barrier(2, timeout=20), []

    def fail_elsewhere(chunk):
        both.wait()
        if threading.get_ident() != caller:
            raise ValueError("elsewhere")

    with pytest.raises(ValueError, match="elsewhere"):
        threads.for_each_chunk(fail_elsewhere, 2)
    threads.for_each_chunk(lambda chunk: threads.for_each_chunk(seen.append, 3), 4)  # and within
    assert sorted(seen) == sorted([0, 1, 2] * 4)


def test_after_ctrl_c_in_a_chunk_none_is_still_running():
    caller, running, both = threading.get_ident(), set(), threading.Barrier(2, timeout=20)

    def work(chunk):
        running.add(chunk)
        try:
            if chunk < 2:
                both.wait()
            if threading.get_ident() == caller:
                signal.raise_signal(signal.SIGINT)
            time.sleep(0.05)
        finally:
            running.discard(chunk)

    with pytest.raises(KeyboardInterrupt):
        threads.for_each_chunk(work, 6)
    assert not running
    both.reset()
    threads.for_each_chunk(lambda chunk: both.wait(), 2)  # and the next call has both again


def test_two_python_threads_train_at_once():
    expected = [trained(1), trained(2)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(trained, (1, 2))) == expected


HOME = Path(torch.__file__).parent
ONE, OTHER = str(HOME / "lib/libgomp.so.1"), str(HOME.parent / "torch.libs/libgomp-a1.so")


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        ([ONE], ONE),
        ([OTHER, "/usr/lib/libgomp.so.1"], OTHER),
        ([ONE, OTHER], None),
        (["/usr/lib/libgomp.so.1"], None),
        ([str(HOME / "lib/libiomp5.so")], None),
    ],
)
def test_whose_library_it_is(monkeypatch, paths, found):
    lines = [f"7f00-7f01 r-xp 00000000 08:01 12   {path}\n" * 3 for path in paths]
    maps = "".join(lines) + "7f02-7f03 rw-p 00000000 00:00 0\n"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(torch.backends.openmp, "is_available", lambda: True)
    monkeypatch.setattr(team.Path, "read_text", lambda *_, **__: maps)
    assert team._library_of_torch() == found


@pytest.mark.parametrize("platform", ["darwin", "win32", "linux"])
def test_without_gnu_openmp_kernels_keep_their_own_threads(monkeypatch, platform):
    threads.lend_team(None)
    monkeypatch.setattr(team.Path, "read_text", None)  # there is no such file
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(torch.backends.openmp, "is_available", lambda: platform != "linux")
    team.join()
    assert threads._team is None
