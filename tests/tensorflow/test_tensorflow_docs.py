"""What the guide shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

import rowtune.tensorflow as rtf

GUIDE = (Path(__file__).parents[2] / "docs" / "tensorflow.md").read_text()
TRAINS = np.arange(1_000) >= 900


def changed(before, after):
    return (np.asarray(before) != after.numpy()).any(axis=1)


def test_its_python_runs_and_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, large, by_hand, capped, another, scatter, stopped, partial, lazy = re.findall(
        r"```python\n(.*?)```", GUIDE, flags=re.DOTALL
    )
    names = {}
    exec(train, names)
    vectors, emb, new = names["vectors"], names["emb"], names["new"]
    assert [v.shape.as_list() for v in emb.trainable_variables] == [[15_000, 50]]
    moved = changed(vectors, names["matrix"])
    assert 0 < moved.sum() < 3 * 64 * 12 and set(moved.nonzero()[0]) <= set(new.tolist())
    held = dict(tf.train.list_variables("run"))
    assert [15_000, 50] in held.values() and [75_000, 50] not in held.values()

    exec(large, dict(names))
    exec(by_hand, names)

    exec(capped, names)
    assert np.linalg.norm(names["optimizer"].states[0].arrays["m"].numpy()) <= 0.1 * 0.5001
    assert changed(np.zeros((1_000, 8)), names["table"].merge()).nonzero()[0].tolist() == [950]

    exec(another, names)
    variable = names["variable"]
    assert changed(np.zeros((1_000, 8)), variable).nonzero()[0].tolist() == [950, 951]

    exec(scatter, names)
    assert variable.numpy()[901:903].tolist() == [[1] * 8] * 2

    before = variable.numpy()
    exec(stopped, names)
    assert changed(before, variable).nonzero()[0].tolist() == [950]

    exec(partial, names)
    assert names["found"].numpy().tobytes() == vectors[[[1, 2], [3, 4]]].tobytes()

    names["layer"] = layer = rtf.Embedding(vectors, train=[2, 4, 6])
    exec(lazy, names)
    assert changed(vectors, layer.merge()).nonzero()[0].tolist() == [2, 4]
    np.testing.assert_allclose(abs(layer([2, 4]) - vectors[[2, 4]]), 1e-3, rtol=1e-2)


def test_every_name_that_it_shows_is_there():
    for name in set(re.findall(r"rtf\.(\w+)", GUIDE)):
        assert hasattr(rtf, name)


def test_every_public_name_is_in_the_guide():
    for name in rtf.__all__:
        assert re.search(rf"\b{name}\b", GUIDE), name
