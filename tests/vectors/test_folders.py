"""Folders that spaCy, model2vec and sentence-transformers save."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowtune.errors import FormatError
from rowtune.vectors import load
from rowtune.vectors.key2row import read_key2row
from rowtune.vectors.murmur import murmur_many, murmur_one
from rowtune.vectors.words import Words
from vectors.reader_seeds import ROWS, WORDS, msgpack_map, spacy, tensors, tokenizer

SPEC = find_spec("wordllama")
WORDLLAMA = Path(SPEC.origin if SPEC and SPEC.origin else "missing").parent


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_hashes_are_those_that_spacy_documents() -> None:
    assert murmur_one(b"coffee", 1) == 3197928453018144401
    assert murmur_one(b"I", 1) == 4690420944186131903
    assert murmur_one(b"love", 1) == 3702023516439754181


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 2**64 - 1))
def test_hashes_of_many_are_as_one_by_one(texts: list[bytes], seed: int) -> None:
    texts.append(bytes(range(256)) * 9)  # a long one
    assert murmur_many(Words.packed(texts), seed).tolist() == [murmur_one(t, seed) for t in texts]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(-100, 2**31)), max_size=20))
def test_key2row_of_any_width(pairs: list[tuple[int, int]]) -> None:
    keys, rows = read_key2row("k", msgpack_map(pairs))
    assert list(zip(keys.tolist(), rows.tolist(), strict=True)) == pairs


def test_spacy_folders(tmp_path: Path) -> None:
    ids = [0, 1, 2, 3, 1, 5]
    vocabulary = lay(tmp_path / "en" / "vocab", spacy(WORDS, ids, ROWS))
    for place in (vocabulary, tmp_path / "en", vocabulary / "vectors"):
        v = load(place)
        assert list(v.words) == WORDS and np.array_equal(v.matrix, ROWS[ids])
    lay(vocabulary, {"key2row": spacy(WORDS, ids[::-1], ROWS)["key2row"]})  # no other file changes
    assert np.array_equal(load(vocabulary).matrix, ROWS[ids[::-1]])


def test_symbols_of_spacy_are_left_out_and_said_so(tmp_path: Path) -> None:
    files = spacy(WORDS, range(6), ROWS)
    keys = [murmur_one(word.encode(), 1) for word in WORDS]
    pairs = [(k, i) for i, k in enumerate(keys)]
    folder = lay(tmp_path / "v", {**files, "key2row": msgpack_map([(380, 2), *pairs])})
    with pytest.warns(UserWarning, match=r"1 words that are symbols of spaCy"):
        assert list(load(folder, cache=False).words) == WORDS
    lay(folder, {"key2row": msgpack_map([(380, 2), (1 << 40, 1), *pairs])})
    with pytest.warns(UserWarning, match="and 1 hashes without a string"):
        load(folder, cache=False)


SPACY = spacy(WORDS, range(6), ROWS)
SPACY_REFUSED = {
    "floret": ({"vectors.cfg": b'{"mode": "floret"}'}, "a floret table"),
    "rows beyond": ({"key2row": msgpack_map([(1, 6)])}, "rows 6 to 6, but vectors has 6"),
    "negative rows": ({"key2row": msgpack_map([(1, -1)])}, "rows -1 to -1"),
    "other strings": ({"strings.json": b'["x"]'}, "the strings of 0 of the 6 hashes"),
    "no list": ({"strings.json": b'{"x": 1}'}, "no list of strings"),
    "no JSON": ({"strings.json": b'["x"'}, "no JSON, or a damaged one"),
    "deep JSON": ({"strings.json": b"[" * 200_000}, "no JSON, or a damaged one"),
    "surrogates": ({"strings.json": b'["\\ud800"]'}, "lone surrogate"),
    "cut map": ({"key2row": SPACY["key2row"][:-1]}, "ends early, at byte"),
    "longer map": ({"key2row": SPACY["key2row"] + b"\0"}, "1 bytes follow its 6 entries"),
    "no map": ({"key2row": b"\x91\x01"}, "begins with byte 0x91"),
    "texts": ({"key2row": b"\x81\xa1a\x01"}, "byte 1 is 0xa1, no integer"),
    "promises": ({"key2row": b"\xdf\xff\xff\xff\xff\x01\x01"}, "ends early, at byte 7"),
    "negative keys": ({"key2row": b"\x81\xff\x01"}, "expected a MessagePack map"),
}


@pytest.mark.parametrize("kind", SPACY_REFUSED)
def test_damaged_spacy_folders(tmp_path: Path, kind: str) -> None:
    changed, message = SPACY_REFUSED[kind]
    with pytest.raises(FormatError, match=message) as caught:
        load(lay(tmp_path / "v", {**SPACY, **changed}))
    assert str(tmp_path / "v") in str(caught.value) and "\n" not in str(caught.value)


def test_a_spacy_table_may_not_outgrow_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowtune.vectors.spacy_words._ALWAYS", 0)
    wide = np.zeros((1, 20_000), np.float32)
    words = [f"w{i}" for i in range(1000)]
    with pytest.raises(FormatError, match=r"1,000 words share 1 rows.*80,000,000 bytes"):
        load(lay(tmp_path / "v", spacy(words, [0] * 1000, wide)))


def test_incomplete_folders(tmp_path: Path) -> None:
    folder = lay(tmp_path / "v", SPACY)
    for name in ("strings.json", "key2row"):
        (folder / name).unlink()
        with pytest.raises(FormatError, match=f"vectors without {name}"):
            load(folder)
    with pytest.raises(FormatError, match="a folder without a table that Rowtune knows"):
        load(lay(tmp_path / "w", {"tokenizer.json": tokenizer()}))
    two = {"tokenizer.json": tokenizer(), "a.safetensors": b"", "b.safetensors": b""}
    with pytest.raises(FormatError, match=r"2 .safetensors files; name the one with the table"):
        load(lay(tmp_path / "x", two))


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "Unigram"])
@pytest.mark.parametrize("name", ["embeddings", "embedding__weight", "matrix"])
def test_model2vec_and_static_embedding_folders(tmp_path: Path, kind: str, name: str) -> None:
    files = {
        "tokenizer.json": tokenizer(kind),
        "model.safetensors": tensors(**{name: ROWS, "weights": np.ones(6)}),
    }
    v = load(lay(tmp_path / "v", files))
    assert list(v.words) == WORDS and np.array_equal(v.matrix, ROWS)
    assert isinstance(v.matrix, np.memmap)
    assert load(tmp_path / "v" / "model.safetensors").words == v.words
    lay(tmp_path / "w" / "0_StaticEmbedding", files)
    (tmp_path / "w" / "modules.json").write_text("[]")
    assert load(tmp_path / "w").words == v.words


def test_the_table_among_the_tensors_of_a_model(tmp_path: Path) -> None:
    weights = tensors(
        embeddings__word_embeddings__weight=ROWS, embeddings__position_embeddings__weight=ROWS[:2]
    )
    files = {"tokenizer.json": tokenizer(words=WORDS[:4]), "model.safetensors": weights}
    for _ in range(2):  # the second time from the cache
        v = load(lay(tmp_path / "v", files))
        assert list(v.words) == WORDS[:4] and np.array_equal(v.matrix, ROWS[:4])  # padding left out


def test_ids_with_gaps_added_tokens_and_mappings(tmp_path: Path) -> None:
    content = json.loads(tokenizer("BPE", ["a", "b"]))
    content["model"]["vocab"] = {"b": 4, "a": 1}
    content["added_tokens"] = [{"id": 2, "content": "[NEW]"}, {"id": 1, "content": "[A]"}]
    files = {
        "tokenizer.json": json.dumps(content).encode(),
        "model.safetensors": tensors(embeddings=ROWS),
    }
    v = load(lay(tmp_path / "v", files))
    assert list(v.words) == ["[A]", "[NEW]", "b"] and np.array_equal(v.matrix, ROWS[[1, 2, 4]])
    mapping = np.array([0, 3, 3, 0, 5])
    lay(tmp_path / "v", {"model.safetensors": tensors(embeddings=ROWS, mapping=mapping)})
    for _ in range(2):
        assert np.array_equal(load(tmp_path / "v").matrix, ROWS[[3, 3, 5]])


TOKENIZERS = {
    "no model": (b"{}", "no tokenizer with a vocabulary"),
    "too many": (tokenizer(words=[*WORDS, "more"]), "token 'more' has row 6, but .* has 6"),
    "same id": (b'{"model": {"vocab": {"a": 1, "b": 1}}}', "two tokens have the same id"),
    "negative": (b'{"model": {"vocab": {"a": -1}}}', "token 'a' has the id -1; expected text"),
    "truth": (b'{"model": {"vocab": {"a": true}}}', "token 'a' has the id True"),
    "no text": (b'{"model": {"vocab": [[1, 2]]}}', "token 1 has the id 0"),
    "no pair": (b'{"model": {"vocab": [7]}}', "token None has the id 0"),
    "added": (b'{"model": {"vocab": []}, "added_tokens": [3]}', "token None has the id None"),
    "damaged": (tokenizer()[:-2], "no JSON, or a damaged one"),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_damaged_tokenizers(tmp_path: Path, kind: str) -> None:
    data, message = TOKENIZERS[kind]
    files = {"tokenizer.json": data, "model.safetensors": tensors(embeddings=ROWS)}
    with pytest.raises(FormatError, match=message) as caught:
        load(lay(tmp_path / "v", files))
    assert str(tmp_path / "v") in str(caught.value)


@pytest.mark.skipif(not WORDLLAMA.is_dir(), reason="wordllama is not installed")
def test_wordllama(tmp_path: Path) -> None:
    import tokenizers
    from safetensors.numpy import load_file

    listing = WORDLLAMA / "tokenizers" / "l2_supercat_tokenizer_config.json"
    weights = WORDLLAMA / "weights" / "l2_supercat_256.safetensors"
    v = load(weights, words=listing)
    known = tokenizers.Tokenizer.from_file(str(listing))
    assert [known.id_to_token(i) for i in range(known.get_vocab_size())] == list(v.words)
    assert v.matrix.dtype == np.float16 and v.matrix.shape == (32000, 256)
    assert np.array_equal(v.matrix, load_file(weights)["embedding.weight"])
