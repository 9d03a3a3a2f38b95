"""A mesh over two processes: the results of one, and no process holds the rows of the other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("program.py")
QUIET = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
SECONDS = 180  # after which something hangs


def found_by(processes, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={2 // processes}"
    started = []
    try:
        for process in range(processes):
            with open(folder / f"said-{process}", "wb") as said:
                started.append(subprocess.Popen(
                    [sys.executable, PROGRAM, str(port), str(process), str(processes), folder],
                    env={**os.environ, **QUIET, "XLA_FLAGS": flags}, stdout=said, stderr=said,
                ))  # fmt: skip
        for process, one in enumerate(started):
            assert one.wait(SECONDS) == 0, (folder / f"said-{process}").read_text()
    finally:
        for one in started:
            one.kill()
            one.wait()
    return [
        json.loads((folder / f"found-{processes}-{process}.json").read_text())
        for process in range(processes)
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    np.save(folder / "weights.npy", np.random.default_rng(0).standard_normal((1003, 8), np.float32))
    return [*found_by(1, folder), *found_by(2, folder)]


KINDS = ["array", "all rows", "memory map, columns", "int8"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_what_one_trains(found, kind):
    one, *two = (each[kind] for each in found)
    for each in two:
        np.testing.assert_allclose(each["values"], one["values"], rtol=1e-5)
        np.testing.assert_allclose(each["matrix"], one["matrix"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(each["rows"], one["rows"], rtol=1e-4, atol=1e-5)
        assert each["state"] == one["state"] == [[], ["rows"]]
    assert one["values"][0] != one["values"][1]


@pytest.mark.parametrize("kind", KINDS)
def test_each_holds_its_own_rows_and_the_base_keeps_its_bytes(found, kind):
    assert [each[kind]["held"] for each in found] == [1.0, 0.5, 0.5]
    assert all(each[kind]["same base"] for each in found)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_out_of_range_raise_in_every_process(found, kind):
    for each in found:
        assert each[kind]["nan"] == [False, False, True, False]
        first, second, third = each[kind]["refused"]
        assert first.startswith("id 1003 is not a row: expected 0 to 1002")
        assert second.startswith("id -1 is not a row")
        assert third == "an id is out of range: 1003; expected 0 to 1002"
