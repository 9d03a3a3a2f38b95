"""What the guide shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from readme import engine_code

import rowtune
import rowtune.torch as rt

GUIDE = (Path(__file__).parents[2] / "docs" / "torch.md").read_text()


def test_its_python_runs_and_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    # That of language models is run where transformers is: test_torch_token_rows.py.
    train, catch_up, rates, _ = blocks
    names = {}
    exec(train, names)
    vectors, embedding, new = names["vectors"], names["embedding"], names["new"]
    assert next(tuple(p.shape) for p in names["model"].parameters()) == (15_000, 300)
    assert embedding.base.data_ptr() == vectors.data_ptr()
    frozen = np.setdiff1d(np.arange(75_000), new.numpy())
    assert torch.equal(embedding.weight[frozen], vectors[frozen])
    assert not torch.equal(embedding.weight[new], vectors[new])
    assert torch.equal(names["plain"](names["ids"]), embedding(names["ids"]))
    patched = rowtune.apply_patch(vectors.numpy(), "new-words.safetensors")
    assert np.array_equal(patched, embedding.weight.detach().numpy())
    exec(catch_up, names)
    assert names["optimizer"].row_state(names["table"].block)["step"].tolist() == [3] * 1_000
    exec(rates, names)
    table, touched = names["table"], names["optimizer"].row_state(names["table"].block)["step"]
    assert table.block.grad.norm() <= 1.0 and touched.tolist() == [1] * 8 + [0] * 92
    assert (table.block[:8].norm(dim=1) <= 1.0 + 1e-6).all()


def test_every_name_that_it_shows_is_there():
    for name in set(re.findall(r"rt\.(\w+(?:\.\w+)?)", GUIDE)):
        found = rt
        for part in name.split("."):
            found = getattr(found, part)


def test_the_code_of_the_readme_runs():
    names = {}
    exec(engine_code("torch"), names)
    steps = names["optimizer"].row_state(names["embedding"].block)["step"]
    assert steps.tolist() == [1, 0, 0]
