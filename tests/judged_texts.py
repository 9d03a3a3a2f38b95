"""Texts whose labels hang on words that the small table of `conftest.py` lacks."""

from __future__ import annotations

import numpy as np

from rowtune.adapt import Labelled

KNOWN = [f"{a}{b}{c}" for a in "bdgklm" for b in "aeiou" for c in "nr"]
GOOD, BAD = ["zog", "zug", "zag"], ["vox", "vux", "vax"]


def texts_with_labels(count=240, seed=1, name="texts.csv", labels=("bad", "good")):
    """Six known words drawn at random, and one new word that says the label."""
    rng = np.random.default_rng(seed)
    texts, own = [], []
    for i in range(count):
        good = i % 2
        words = [*rng.choice(KNOWN, 6), rng.choice(GOOD if good else BAD)]
        rng.shuffle(words)
        texts.append(" ".join(words))
        own.append(labels[good])
    return Labelled(name, tuple(texts), tuple(own), 0, 0)
