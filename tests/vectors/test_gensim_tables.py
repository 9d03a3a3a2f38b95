"""To gensim and back, in memory."""

from __future__ import annotations

import numpy as np
import pytest

from rowtune.errors import FormatError, ShapeError
from rowtune.vectors import Vectors, from_gensim, to_gensim

pytest.importorskip("gensim", reason="gensim is not installed")
ROWS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
TABLE = Vectors(["the", "caf\udce9", "cat", "dog"], ROWS)


def test_there_and_back_shares_the_rows() -> None:
    keyed = to_gensim(TABLE)
    assert np.shares_memory(keyed.vectors, ROWS) and len(keyed) == 4
    assert np.array_equal(keyed["caf\udce9"], ROWS[1]) and "cow" not in keyed
    nearest = max(range(3), key=lambda i: float(ROWS[i] @ ROWS[3] / np.linalg.norm(ROWS[i])))
    assert keyed.most_similar("dog", topn=1)[0][0] == TABLE.words[nearest]
    back = from_gensim(keyed)
    assert back.words == TABLE.words and np.shares_memory(back.matrix, ROWS)


def test_the_first_of_two_rows_counts() -> None:
    keyed = to_gensim(Vectors(["a", "b", "a", "c"], ROWS))
    assert keyed.index_to_key == ["a", "b", "c"] and np.array_equal(keyed.vectors, ROWS[[0, 1, 3]])


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_dtypes_stay(dtype: str) -> None:
    assert to_gensim(Vectors(TABLE.words, ROWS.astype(dtype))).vectors.dtype == dtype


def test_models_and_what_is_none() -> None:
    from gensim.models import KeyedVectors, Word2Vec

    model = Word2Vec([["a", "b", "a"]], vector_size=2, min_count=1, workers=1)
    v = from_gensim(model)
    assert list(v.words) == ["a", "b"] and np.array_equal(v.matrix, model.wv.vectors)
    keyed = KeyedVectors(3, 0)
    keyed.add_vectors([7, 8], ROWS[:2])
    with pytest.raises(FormatError, match="the key 7 is no text"):
        from_gensim(keyed)
    with pytest.raises(ShapeError, match=r"got dict; expected gensim's KeyedVectors"):
        from_gensim({})
