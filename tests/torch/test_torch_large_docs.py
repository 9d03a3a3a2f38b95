"""What the guide to large tables shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

import rowtune

GUIDE = (Path(__file__).parents[2] / "docs" / "large_tables.md").read_text()


def test_its_python_runs_and_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL):
        exec(block, names)
    table, new, codes = names["table"], names["new"], names["codes"]
    patched = rowtune.apply_patch(names["opened"], "new-rows.safetensors")
    np.testing.assert_allclose(patched[new], table[new] - 0.1, rtol=1e-5, atol=1e-6)
    assert (np.delete(patched, new, axis=0) == np.delete(table, new, axis=0)).all()
    embedding = names["embedding"]
    frozen = np.setdiff1d(np.arange(10_000), new)
    assert torch.equal(embedding.weight[frozen], torch.from_numpy(codes.rows(frozen)))
    assert (embedding.weight[3] != torch.from_numpy(codes.rows([3]))[0]).all()


def test_every_name_that_it_shows_is_there():
    for name in set(re.findall(r"rowtune\.(\w+)", GUIDE)) - {"torch"}:
        getattr(rowtune, name)
