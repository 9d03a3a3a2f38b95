"""A reduced run of torture/checkpoint_kills.py: kills on any rank, damage, full disks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).resolve().parents[2] / "torture" / "checkpoint_kills.py"


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    path = tmp_path_factory.mktemp("counts") / "counts.json"
    done = subprocess.run(
        [*(sys.executable, str(TORTURE), "--points", "27", "--flips", "48"),
         *("--boundaries", "4", "--seed", "1", "--json", str(path))],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    tallies = json.loads(path.read_text())
    assert [fault for tally in tallies for fault in tally["faults"]] == []
    return {tally["name"]: tally for tally in tallies}


def test_kills_leave_the_old_state_or_the_new_one(counts):
    kills = [tally for name, tally in counts.items() if name.startswith("kill")]
    assert len(kills) == 9, "of 1, 2 and 3 ranks, and of three kinds"
    assert sum(tally["killed"] for tally in kills) == 27
    assert all(tally["old"] + tally["new"] == tally["points"] for tally in kills)
    assert sum(tally["old"] for tally in kills) > 0 < sum(tally["new"] for tally in kills)
    assert sum(tally["left"] for tally in kills) > 0, "a kill leaves what it cannot tidy up"


def test_damage_is_found_wherever_it_is(counts):
    damages = [tally for name, tally in counts.items() if name.startswith("damage")]
    assert sum(tally["points"] for tally in damages) >= 48 + 3 * 10
    for tally in damages:
        assert tally["found"] == tally["points"]
        assert 0 < tally["offered"] < tally["points"], "some damage does not meet the newest"


def test_full_disks_and_folders_that_refuse_say_so(counts):
    full = [tally for name, tally in counts.items() if name.startswith("no space")]
    assert len(full) == 9
    assert all(tally["clear"] > 0 < tally["old"] for tally in full)
    assert counts["folders and disks that refuse"]["clear"] >= 3
