"""What must not help: rows of hidden words under other names, and rows that mean nothing."""

from __future__ import annotations

import numpy as np
import pytest

from rowtune.learn import extend
from rowtune.vectors import Vectors


@pytest.fixture(scope="module")
def small():
    """Words in ten topics by their company alone; spelling says nothing of them."""
    rng = np.random.default_rng(0)
    syllables = ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui"]
    words = sorted({"".join(rng.choice(syllables, 3)) for _ in range(400)})[:300]
    topic = rng.integers(0, 10, len(words))
    rows = rng.standard_normal((10, 8))[topic] + 0.6 * rng.standard_normal((len(words), 8))
    lines = [
        " ".join(rng.choice([w for w, t in zip(words, topic, strict=True) if t == k], 12))
        for k in rng.integers(0, 10, 1500)
    ]
    return words[:260], rows[:260].astype(np.float32), "\n".join(lines)


def spelled(words, rows, text, tmp_path):
    path = tmp_path / "text"
    path.write_text(text)
    result = extend(Vectors(words, rows), [str(path)])
    assert len(result.held_out) >= 15
    return result


def test_a_word_that_is_twice_in_the_table_is_hidden_twice(small, tmp_path):
    words, rows, text = small
    once = spelled(words, rows, text, tmp_path).pretend_oov["spelling"].cosine
    again = rows + np.random.default_rng(1).standard_normal(rows.shape).astype("f") * 0.1
    for second in (rows, again):
        twice = spelled([*words, *words], np.vstack([rows, second]), text, tmp_path)
        assert twice.pretend_oov["spelling"].cosine < once + 0.15, "0.7 where it is not hidden"


def test_a_row_that_another_word_has_too_is_hidden_with_it(small, tmp_path):
    words, rows, text = small
    plural = [f"{word}s" for word in words]
    said = "\n".join(text.replace(" ", "s ").split("\n")[:700]) + "\n" + text
    result = spelled([*words, *plural], np.vstack([rows, rows]), said, tmp_path)
    assert result.pretend_oov["spelling"].cosine < 0.3, "0.7 where it is not hidden"


def test_rows_without_a_direction_are_neither_learned_from_nor_asked_for(small, tmp_path):
    words, rows, text = small
    rows = rows.copy()
    rows[::4], rows[1::8], rows[5::8] = 0, np.nan, np.inf
    result = spelled(words, rows, text, tmp_path)
    whole = {
        word for word, row in zip(words, rows, strict=True) if np.isfinite(row).all() and row.any()
    }
    assert {word.word for word in result.held_out} <= whole
    assert result.pretend_oov["rowtune"].cosine > 0.5
    assert np.isfinite(result.rows).all()
