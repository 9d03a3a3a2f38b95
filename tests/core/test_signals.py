"""Ctrl-C at any moment of a step is a `KeyboardInterrupt`, also where numba would lose it."""

import subprocess
import sys

import pytest

from rowtune.signals import raised_by_handler, returned

BOMBARDED = """
import collections, os, random, signal, threading, time
import numpy as np
from rowtune import Table

rng = np.random.default_rng(0)
# Duplicates beyond one segment, rows for more than one chunk, and few rows in ascending order.
batches = [np.zeros(600, np.int64), rng.permutation(40_000), np.arange(50)]
gradients = [rng.standard_normal((len(ids), 16), dtype=np.float32) for ids in batches]
table = Table.zeros(40_000, 16, rule="adam", lr=0.1)

def steps():
    for ids, grads in zip(batches, gradients):
        table.update(ids, grads)

steps()
armed, going, seen = False, True, collections.Counter()

def handle(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def fire():
    while going:
        time.sleep(random.random() * 1e-3)
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, handle)
thread = threading.Thread(target=fire)
thread.start()
end = time.monotonic() + 4
while time.monotonic() < end:
    try:
        armed = True
        steps()
        armed = False
    except BaseException as error:
        armed = False
        seen[type(error).__name__] += 1
going = False
thread.join()
print(dict(seen))
assert set(seen) == {"KeyboardInterrupt"} and seen["KeyboardInterrupt"] > 20
table.update([1], np.ones((1, 16), np.float32))
assert np.isfinite(table.block).all()
"""


def test_ctrl_c_in_the_midst_of_steps_is_what_a_user_expects():
    done = subprocess.run(
        [sys.executable, "-c", BOMBARDED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def fails(error, cause):
    raise error from cause


def test_what_a_handler_raised_comes_out_of_any_depth():
    inner = SystemError("returned a result with an exception set")
    inner.__cause__ = TimeoutError("an alarm")
    with pytest.raises(TimeoutError, match="an alarm"):
        returned(fails, SystemError("and again"), inner)
    assert returned(max, 1, 2) == 2


@pytest.mark.parametrize("cause", [None, SystemError("alone")])
def test_an_error_with_nothing_behind_it_stays(cause):
    error = SystemError("of the interpreter")
    with pytest.raises(SystemError, match="of the interpreter"):
        returned(fails, error, cause)
    assert raised_by_handler(error) is error
    assert raised_by_handler(other := ValueError()) is other
