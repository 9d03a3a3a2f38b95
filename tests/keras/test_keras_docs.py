"""What the guide and the README show is run, on every backend."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from readme import engine_code

import rowtune.keras as rk

GUIDE = (Path(__file__).parents[2] / "docs" / "keras.md").read_text()


def moved(before, after):
    return set((np.asarray(before) != after).any(axis=1).nonzero()[0].tolist())


def test_its_python_runs_and_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, large, loop, mask = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    names = {}
    exec(train, names)
    vectors, embedding, new = names["vectors"], names["embedding"], set(names["new"].tolist())
    texts = names["texts"]
    assert [tuple(w.shape) for w in embedding.trainable_weights] == [(15_000, 50)]
    assert moved(vectors, names["matrix"]) == new & set(texts.ravel().tolist())
    loaded = names["keras"].models.load_model("words.keras")
    assert loaded.layers[1].merge().tobytes() == names["matrix"].tobytes()

    exec(large, dict(names))
    exec(loop, names)
    chosen = new & set(texts[:4].ravel().tolist())
    assert moved(names["before"], embedding.merge()) == chosen and chosen
    loss = float(names["keras"].ops.convert_to_numpy(names["loss"]))
    assert 0 < loss < 10

    exec(mask, names)
    rows = names["keras"].ops.convert_to_numpy(names["rows"])
    assert rows.tobytes() == vectors[[[1, 2], [3, 4]]].tobytes()


def test_the_readmes_code_runs():
    names = {}
    exec(engine_code("keras"), names)
    changed = moved(np.ones((1_000, 50)), names["embedding"].merge())
    assert changed == {3}


def test_every_name_that_it_shows_is_there():
    for name in set(re.findall(r"rk\.(\w+)", GUIDE)):
        assert hasattr(rk, name)
    for name in set(re.findall(r"rk\.optimizers\.(\w+)", GUIDE)):
        assert name in rk.optimizers.__all__


def test_every_public_name_is_in_the_guide():
    for name in [*rk.__all__, *rk.optimizers.__all__]:
        assert re.search(rf"\b{name}\b", GUIDE), name
