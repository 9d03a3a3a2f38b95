"""What docs/checkpoints.md shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rowtune import checkpoints

GUIDE = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text()


def test_its_python_runs_and_says_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL):
        exec(block, names)
    said = capsys.readouterr().out.splitlines()
    first, second = re.findall(r"print\(.*\)  # (.*)\n", GUIDE)
    assert said == [first.split(":")[0], second, "{'epoch': 0}"]
    assert said[0] == "incremental 3"
    table, twin = names["table"], names["twin"]
    assert np.array_equal(table.block, twin.block)
    assert checkpoints.steps("saves") == [1, 2, 3]
    full = sorted(Path("saves").iterdir())[1]
    assert full.name == "00000001.step-1"
    assert f"{full.name}/" in GUIDE
    for name in (path.name for path in full.iterdir()):
        assert name in GUIDE
