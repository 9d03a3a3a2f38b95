"""`Vectors` and `Words`: lookups, bytes that are no UTF-8, duplicates, refusals."""

import numpy as np
import pytest

from rowtune.errors import FormatError, ShapeError
from rowtune.vectors import Vectors, WordError
from rowtune.vectors import index as indexing
from rowtune.vectors.index import WordIndex, hash_one, hash_words
from rowtune.vectors.words import Words

EYE = np.eye(3, dtype=np.float32)


def test_lookup_by_word() -> None:
    v = Vectors(["a", "b", "ab"], EYE)
    assert v["ab"].tolist() == [0, 0, 1]
    assert "b" in v and "c" not in v and 3 not in v
    assert (len(v), v.dim, list(v)) == (3, 3, ["a", "b", "ab"])
    assert v.index("b") == 1
    assert v.ids(["b", "a", "b"]).tolist() == [1, 0, 1]
    assert v.ids(["b", "zz"], missing="ignore").tolist() == [1, -1]
    assert v.ids([]).dtype == np.int64


def test_the_matrix_is_not_copied() -> None:
    matrix = np.zeros((2, 4), np.float16)
    assert Vectors(["x", "y"], matrix).matrix is matrix


def test_missing_words_are_key_errors_that_read_well() -> None:
    v = Vectors(["a", "b", "c"], EYE)
    with pytest.raises(KeyError) as caught:
        v["nope"]
    assert isinstance(caught.value, WordError)
    assert str(caught.value).startswith("'nope' is not among the 3 words")
    with pytest.raises(WordError, match=r"2 of 3 words are not in this table, e.g. 'x', 'y'"):
        v.ids(["x", "a", "y"])


def test_first_of_duplicates_answers_and_all_rows_stay() -> None:
    v = Vectors(["a", "b", "a"], EYE)
    assert v.index("a") == 0 and v.ids(["a"]).tolist() == [0]
    assert v.words[2] == "a" and len(v.matrix) == 3


def test_words_are_a_sequence() -> None:
    words = Words.of(["one", "", "drei", "vier"])
    assert (words[0], words[-1], words[1]) == ("one", "vier", "")
    assert list(words[1:3]) == ["", "drei"] and list(words[3:1]) == []
    assert words[::2] == ["one", "drei"]
    assert words == ["one", "", "drei", "vier"] and words[:1] != ["two"]
    assert words == Words.of(["one", "", "drei", "vier"]) and words != Words.of(["one"])
    assert "drei" in words and "four" not in words
    assert repr(words).startswith("Words(['one', '', 'drei', 'vier'], 4 words)")
    with pytest.raises(IndexError, match="word 4 of 4 words"):
        words[4]


def test_bytes_that_are_no_utf8_come_back() -> None:
    raw = [b"\xff\xfe", "\u2028".encode(), b"caf\xe9"]
    words = Words.of([r.decode("utf-8", "surrogateescape") for r in raw])
    assert list(words.iter_raw()) == raw
    v = Vectors(words, EYE)
    assert v.index("caf\udce9") == 2


def test_a_surrogate_that_stands_for_no_byte_is_refused() -> None:
    with pytest.raises(FormatError, match="lone surrogate"):
        Vectors(["\ud800"], np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("words", "matrix", "message"),
    [
        (["a"], np.zeros((2, 2)), "1 words for 2 rows"),
        (["a"], np.zeros(2), r"shape \(2,\)"),
        (["a"], np.zeros((1, 2), int), "dtype int64"),
        (["a"], np.zeros((1, 0)), "rows of no values"),
    ],
)
def test_what_is_no_table_is_refused(words: list[str], matrix: np.ndarray, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Vectors(words, matrix)


def test_hash_of_many_equals_hash_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "_WORDS_AT_A_TIME", 3)
    rng = np.random.default_rng(0)
    raw = [rng.bytes(int(n)) for n in rng.integers(0, 12, 50)] + [b"", b"x" * 5000]
    assert hash_words(Words.packed(raw)).tolist() == [hash_one(r) for r in raw]


def test_colliding_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "hash_one", lambda raw: 7)
    monkeypatch.setattr(indexing, "hash_words", lambda w: np.full(len(w), 7, np.uint64))
    index = WordIndex(Words.of(["a", "b", "c", "b"]))
    assert [index.find(w) for w in "abcd"] == [0, 1, 2, -1]
    assert index.find_many(["d", "c", "b"]).tolist() == [-1, 2, 1]


def test_the_dict_of_many_lookups_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "_LOOKUPS_BEFORE_DICT", 2)
    index = WordIndex(Words.of(["a", "b", "a"]))
    assert [index.find(w) for w in ["a", "b", "x", "a", "b", "x"]] == [0, 1, -1, 0, 1, -1]
    assert index._dict is not None
    assert index.find_many(["b", "x", "a"]).tolist() == [1, -1, 0]
