"""What the guide shows is run; the examples end as they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rowtune.jax as rj

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "jax.md").read_text()
SAME = "frozen rows' SHA-256 is the same: True"


def test_its_python_runs_and_does_what_it_says(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL):
        exec(block, names)
        if "matrix = rj.merge" in block:
            vectors, new, merged = names["vectors"], names["new"], np.asarray(names["matrix"])
            looked_up = np.intersect1d(names["ids"], new)
            same = (merged == vectors).all(axis=1)
            assert not same[looked_up].any()
            assert same.sum() == 75_000 - len(looked_up)
            assert np.array_equal(names["rows"], merged[names["ids"]])
    assert "an id is out of range: -1; expected 0 to 74999" in capsys.readouterr().out


def test_every_name_that_it_shows_is_there():
    found = set(re.findall(r"rj\.(\w+)", GUIDE))
    assert found <= set(rj.__all__)
    assert {"split", "lookup", "rowwise", "rule", "step", "shard", "checked"} <= found


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ("jax_flax.py", [SAME]),
        ("jax_equinox.py", [SAME, "of their topic: 100%"]),
        ("jax_hessian_free.py", [SAME, "has an inverse: True", "has an inverse: False"]),
    ],
)
def test_an_example_runs(example, words):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / example)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words), done.stdout
