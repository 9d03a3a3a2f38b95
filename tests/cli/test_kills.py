"""Killed or interrupted at a write boundary, a command leaves the old files or the new ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).resolve().parents[2] / "torture" / "kills.py"
# Two files and one, where there is none yet and over old ones; `torture/kills.py` has the rest.
COMMANDS = ["convert.npy", "apply.vec", "extend.vec", "extend.npy"]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_boundary_leaves_half_a_file(tmp_path, command):
    done = subprocess.run(
        [*(sys.executable, str(TORTURE), command, "--kills", "0", "--interrupts", "0"),
         *("--boundaries", "6", "--json", str(tmp_path / "counts.json"))],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    killed, interrupted = json.loads((tmp_path / "counts.json").read_text())
    for counts in (killed, interrupted):
        assert counts["faults"] == []
        assert counts["kills"] == 12, "six boundaries, each with and without old files"
        assert counts["old"] > 2
        assert counts["new"] > 0
        assert counts["run again"] > 0
    assert killed["left"] > 0, "a kill leaves what it cannot tidy up; where is it?"
