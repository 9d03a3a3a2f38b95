"""A small world for learning: words made of topic syllables, whose rows are sums of topics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from rowtune.vectors import Vectors

DIM = 12
TOPICS = ("bak", "dor", "fen", "gul", "hix", "jum", "kel", "lop", "mir", "nas")


@dataclass
class World:
    vectors: Vectors  # known words only
    unknown: dict[str, np.ndarray]  # the rows that lacking words would have
    text: str


@pytest.fixture(scope="session")
def world() -> World:
    rng = np.random.default_rng(7)
    topic = rng.standard_normal((len(TOPICS), DIM)).astype(np.float32)
    names: list[str] = []
    rows: list[np.ndarray] = []
    themes: list[int] = []
    for t, syllable in enumerate(TOPICS):
        for i in range(50):
            names.append(f"{syllable}{'aeiou'[i % 5]}{'rstlm'[i // 5 % 5]}{'ae'[i // 25]}t")
            rows.append(topic[t] + 0.5 * rng.standard_normal(DIM).astype(np.float32))
            themes.append(t)
    lines = []
    for _ in range(1500):
        t = int(rng.integers(len(TOPICS)))
        pool = [i for i, theme in enumerate(themes) if theme == t]
        lines.append(" ".join(names[i] for i in rng.choice(pool, 12)) + " .")
    matrix = np.array(rows)
    lacking = set(range(0, len(names), 25))
    kept = [i for i in range(len(names)) if i not in lacking]
    return World(
        Vectors([names[i] for i in kept], matrix[kept]),
        {names[i]: matrix[i] for i in sorted(lacking)},
        "\n".join(lines) + "\n",
    )


@pytest.fixture
def corpus(world: World, tmp_path) -> str:
    path = tmp_path / "corpus.txt"
    path.write_text(world.text)
    return str(path)
