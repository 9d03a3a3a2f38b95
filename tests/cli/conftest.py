"""The command in this process, quicker than one of its own; `test_cli.py` starts real ones."""

from __future__ import annotations

import io
import signal
import sys
from typing import NamedTuple

import numpy as np
import pytest

import rowtune
from rowtune.cli.app import main


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def text(self):
        """What was said on either side, each run of blanks as one."""
        return " ".join((self.out + self.err).split())


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c():
    """Ctrl-C arrives, here and in children, although a shell ignores it for what it runs behind."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run `rowtune ...` in a folder and with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROWTUNE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["rowtune", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def table(tmp_path):
    """Six words in a plane and out of it, as `before.vec`, and the same table in memory."""
    words = ["king", "queen", "man", "woman", "frog", "Frogs"]
    rows = np.array(
        [[3, 1, 0], [3, -1, 0], [0, 1, 0.5], [0, -1, 0.5], [0, 0, 2], [0, 0.1, -4]], np.float32
    )
    vectors = rowtune.Vectors(words, rows)
    rowtune.save(vectors, tmp_path / "before.vec")
    return vectors
