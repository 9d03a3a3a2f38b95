"""A small extension with words that break careless reports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from rowtune.learn.result import Coverage, Extension, FreezeProof, HeldOutWord, NewWord, Score
from rowtune.vectors.vectors import Vectors

# Markup, mathematics (well-formed and broken), bytes that were no UTF-8, signs that no font has,
# terminal markup, entities, a right-to-left word, a control character.
AWKWARD = (
    "<script>alert(1)</script>", "$x_1$", r"$\frac{", "caf\udce9", "\U00010fff\u4e2d",
    "[red]x[/red]", "a&amp;b", "\u05d0\u05d1", "bell\x07", '"quoted\'', "{{ 7 * 7 }}",
)  # fmt: skip
METHODS = ("random", "context_mean", "a_la_carte", "rowtune")


@dataclass(frozen=True)
class Case:
    """What a report is made of."""

    extension: Extension
    vectors: Vectors


def make_case(new: int = 30, known: int = 90, dim: int = 12, hidden: int = 60) -> Case:
    random = np.random.default_rng(7)
    words = [f"old{i}" for i in range(known)]
    matrix = random.normal(size=(known, dim)).astype(np.float32)
    rows = random.normal(size=(new, dim)).astype(np.float32)
    names = [*AWKWARD, *(f"new{i}" for i in range(new))][:new]
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    new_words = []
    for i, name in enumerate(names):
        cosines = unit @ rows[i] / np.linalg.norm(rows[i])
        nearest = np.argsort(-cosines)[:5]
        new_words.append(
            NewWord(
                word=name,
                count=1000 - i,
                contexts=900 - i,
                neighbours=tuple((words[j], float(cosines[j])) for j in nearest),
                lacking="case" if i % 3 == 1 else "new",
                known_form="old0" if i % 3 == 1 else None,
            )
        )
    scores = {
        name: Score(0.15 * i, 8000.0 / 10**i + 0.5, 0.01 * i) for i, name in enumerate(METHODS)
    }
    held_out = tuple(
        HeldOutWord(
            words[i],
            5 + i * i,
            {name: float(random.uniform(0, 1)) for name in METHODS},
            {name: int(random.integers(1, known)) for name in METHODS},
        )
        for i in range(hidden)
    )
    extension = Extension(
        new_words=tuple(new_words),
        rows=rows,
        coverage=Coverage(200, 100, 100 + new, 5000, 4000, 4800),
        frozen=FreezeProof(known, "ab" * 32, "ab" * 32),
        pretend_oov=scores,
        held_out=held_out,
        settings={
            "window": np.int64(5),
            "ridge": np.float32(0.5),
            "ngrams": (3, 4, 5),
            "off": None,
        },
        seconds={"read": 0.25, "learn": 1.5},
        notes=("Two words were <rare>.",),
    )
    return Case(extension, Vectors(words, matrix))


@pytest.fixture(scope="session")
def case() -> Case:
    return make_case()
