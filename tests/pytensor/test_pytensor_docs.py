"""What the guide shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytensor

import rowtune.pytensor as rp

GUIDE = (Path(__file__).parents[2] / "docs" / "pytensor.md").read_text()


def test_its_python_runs_and_does_what_it_says():
    recipe, some, large = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    names = {}
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        exec(recipe, names)
        matrix, table, costs = names["matrix"], names["table"], names["costs"]
        assert costs[-1] < 0.2 * costs[0]
        moved = np.flatnonzero((table.weights != matrix).any(axis=1))
        assert moved.tolist() == [7, 1234]
        exec(some, names)
        exec(large, dict(names))
    words, tuned = names["words"].weights, names["tuned"].weights
    assert np.flatnonzero((words != matrix).any(axis=1)).tolist() == [3]
    assert np.flatnonzero((tuned != matrix).any(axis=1)).tolist() == [0, 1]
    assert np.flatnonzero((tuned != matrix).any(axis=0)).tolist() == list(range(40, 50))
    assert np.shares_memory(names["words"].base.get_value(borrow=True), matrix)


def test_every_name_that_it_shows_is_there():
    shown = set(re.findall(r"rp\.(\w+)", GUIDE))
    assert shown == {"lookup_table", "updates", "set_rows", "inc_rows"}
    assert shown <= set(rp.__all__)
