"""fastText models: a word's vector is the mean of its own row and of its n-grams' rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowtune.errors import FormatError
from rowtune.vectors import load, open_fasttext, save, verify
from rowtune.vectors.subwords import ngrams_of, ngrams_of_many
from vectors.reader_seeds import fasttext

WORDS = [b"the", "naïve".encode(), b"", b"\xff\x80", b"</s>", b"x" * 50]
BUCKET = 20
INPUTS = np.random.default_rng(3).normal(size=(len(WORDS) + BUCKET, 4)).astype(np.float32)


def expected(word: bytes, own: int | None, minn: int = 2, maxn: int = 3) -> np.ndarray:
    ids = [len(WORDS) + i for i in ngrams_of(word, minn, maxn, BUCKET)]
    rows = INPUTS[([] if own is None else [own]) + ids].astype(float)
    return rows.mean(axis=0) if len(rows) else np.zeros(4)


def test_hashes_are_fnv_1a_on_signed_bytes() -> None:
    # FNV-1a of published test vectors ("a", "foobar"), which have no byte above 127.
    assert ngrams_of(b"xay", 1, 1, 1 << 32)[1] == 0xE40C292C
    assert 0xBF9CF968 in ngrams_of(b"foobar", 6, 6, 1 << 32)
    unsigned = 2166136261
    for byte in "é".encode():
        unsigned = ((unsigned ^ byte) * 16777619) & 0xFFFFFFFF
    assert ngrams_of("é".encode(), 1, 1, 1 << 32) != [unsigned]


def test_ngrams_are_characters_between_marks() -> None:
    def count(word: str, minn: int, maxn: int) -> int:
        return len(ngrams_of(word.encode(), minn, maxn, 1 << 31))

    assert count("cat", 3, 3) == 3  # <ca cat at>
    assert count("日本", 3, 3) == 2 and count("日本", 1, 1) == 2  # the marks alone are none
    assert count("cat", 3, 6) == 6 and count("", 1, 9) == 1 and count("cat", 6, 9) == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(max_size=9) | st.text(max_size=9).map(str.encode), min_size=1, max_size=5),
    st.integers(0, 4),
    st.integers(1, 6),
    st.integers(1, 2**31 - 1),
)
def test_many_at_once_are_as_one_by_one(words: list[bytes], minn: int, maxn: int, b: int) -> None:
    words = [word.replace(b"\0", b"") for word in words]
    ids, counts = ngrams_of_many(words, minn, maxn, b)
    one_by_one = [ngrams_of(word, minn, maxn, b) for word in words]
    assert ids.tolist() == [i for part in one_by_one for i in part]
    assert counts.tolist() == [len(part) for part in one_by_one]


@pytest.mark.parametrize("version", [0, 11, 12])
def test_vectors_are_means(tmp_path: Path, version: int) -> None:
    path = tmp_path / "v.anything"
    path.write_bytes(fasttext(WORDS, INPUTS, bucket=BUCKET, version=version))
    v = load(path)
    assert list(v.words.iter_raw()) == WORDS and v.dim == 4
    for i, word in enumerate(WORDS):
        want = expected(word, i)
        if word == b"</s>" and version:  # since it has a version the end of a sentence is no word
            want = INPUTS[i]
        np.testing.assert_allclose(v.matrix[i], want, rtol=1e-5, atol=1e-6)
    save(v, tmp_path / "o.safetensors")
    assert verify(v, tmp_path / "o.safetensors").ok and verify(path, v).ok


def test_unknown_words_are_composed(tmp_path: Path) -> None:
    (tmp_path / "v.bin").write_bytes(fasttext(WORDS, INPUTS, bucket=BUCKET))
    model = open_fasttext(tmp_path / "v.bin")
    rows = model.rows(["cats", "the", ""])
    np.testing.assert_allclose(rows[0], expected(b"cats", None), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rows[1], expected(b"the", 0), rtol=1e-5, atol=1e-6)
    (tmp_path / "v.bin").write_bytes(fasttext(WORDS, INPUTS, bucket=BUCKET, maxn=0, minn=0))
    model = open_fasttext(tmp_path / "v.bin")
    assert np.array_equal(model.vectors(), INPUTS[: len(WORDS)]) and not model.rows(["cats"]).any()
    (tmp_path / "v.txt").write_text("a 1 2\n")
    with pytest.raises(FormatError, match=r"v.txt: no fastText model; expected the .bin"):
        open_fasttext(tmp_path / "v.txt")


def test_many_words_and_small_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [b"w%d" % i for i in range(9000)]
    inputs = np.random.default_rng(4).normal(size=(9000 + 50, 2)).astype(np.float32)
    (tmp_path / "v.bin").write_bytes(fasttext(words, inputs, bucket=50))
    whole = load(tmp_path / "v.bin", cache=False).matrix
    monkeypatch.setattr("rowtune.vectors.fasttext_model._VALUES_AT_A_TIME", 7)
    monkeypatch.setattr("rowtune.vectors.fasttext_file._PIECE", 5)
    pieces = open_fasttext(tmp_path / "v.bin")
    assert list(pieces.words.iter_raw()) == words
    np.testing.assert_allclose(pieces.rows(words[::100]), whole[::100], rtol=1e-5, atol=1e-6)


def test_classifiers_have_words_and_labels(tmp_path: Path) -> None:
    data = fasttext(WORDS, INPUTS, bucket=BUCKET, labels=[b"__label__a"], model=3)
    (tmp_path / "v.bin").write_bytes(data)
    assert list(load(tmp_path / "v.bin").words.iter_raw()) == WORDS


MODEL = fasttext(WORDS, INPUTS, bucket=BUCKET)
REFUSED = {
    "quantized": (fasttext(WORDS, INPUTS, bucket=BUCKET, quantized=True), "compressed fastText"),
    "pruned": (fasttext(WORDS, INPUTS, bucket=BUCKET, pruned=3), "compressed fastText"),
    "version": (fasttext(WORDS, INPUTS, bucket=BUCKET, version=13), "of version 13; expected 11"),
    "cut rows": (MODEL[:-1], r"cut short \(26 rows of 4 values in 415 bytes\)"),
    "cut words": (MODEL[:155], "cut short .ends within word"),
    "cut settings": (MODEL[:50], r"cut short \(50 bytes\)"),
    "many words": (MODEL[:64] + b"\xff\xff\xff\x7f" * 2 + MODEL[72:], "2,147,483,647 words in"),
    "fewer rows": (fasttext(WORDS, INPUTS[:-1], bucket=BUCKET), "25 x 4 for 6 words, 20 buckets"),
    "no words": (fasttext([], INPUTS, bucket=BUCKET), "0 entries for 0 words"),
    "long n-grams": (fasttext(WORDS, INPUTS, bucket=BUCKET, maxn=99), "n-grams of 2 to 99"),
    "no values": (fasttext(WORDS, INPUTS[:, :0], bucket=BUCKET), "0 values per row"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(tmp_path: Path, kind: str) -> None:
    data, message = REFUSED[kind]
    (tmp_path / "v.bin").write_bytes(data)
    with pytest.raises(FormatError, match=message) as caught:
        load(tmp_path / "v.bin")
    assert str(caught.value).startswith(str(tmp_path / "v.bin"))
