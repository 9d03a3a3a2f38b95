"""The files that gensim tests its own readers with: each loads as it does there, or is refused."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from rowtune.errors import FormatError
from rowtune.vectors import load, open_fasttext, save, verify

SPEC = find_spec("gensim")  # finds its folder without importing it
FOLDER = Path(SPEC.origin if SPEC and SPEC.origin else "missing").parent / "test" / "test_data"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="gensim's test files not installed")

TABLES = {  # name: rows, dimension, first word
    "test_glove.txt": (76, 50, "the"),
    "toy-model.vec": (22, 5, "the"),
    "crime-and-punishment.vec": (291, 5, "и"),
    "lee_fasttext.vec": (1762, 10, "the"),
    "high_precision.kv.txt": (2, 2, "kangaroo.n.01"),
    "high_precision.kv.bin": (2, 2, "kangaroo.n.01"),
    "euclidean_vectors.bin": (2747, 10, "the"),
    "poincare_vectors.bin": (1182, 10, "mammal.n.01"),
    "word2vec_pre_kv_c": (1750, 10, "the"),
    "pang_lee_polarity_fasttext.vec": (1694, 100, "."),
    "w2v_keyedvectors_load_test.modeldata": (2, 3, "ありがとう\udce3\udc83"),
    "EN.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt": (20, 300, "one"),
    "IT.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt": (20, 300, "uno"),
}


@pytest.mark.parametrize("name", TABLES)
def test_reads_what_is_there(name: str, tmp_path: Path) -> None:
    v = load(FOLDER / name)
    rows, dim, first = TABLES[name]
    assert (len(v), v.dim) == (rows, dim)
    assert v.words[0] == first
    if name.endswith((".vec", ".txt")):
        lines = [line for line in (FOLDER / name).read_bytes().split(b"\n") if line]
        lines = lines[-rows:]
        naive = np.array([[np.float32(float(x)) for x in ln.split()[-dim:]] for ln in lines])
        assert np.array_equal(v.matrix, naive)
        assert list(v.words.iter_raw()) == [
            line.rsplit(b" ", dim + 1)[0].split(b" ")[0] for line in lines
        ]
    for out in ("o.vec", "o.bin", "o.safetensors"):
        save(v, tmp_path / out)
        assert verify(v, tmp_path / out).ok


MODELS = {  # name: rows, dimension, first word
    "crime-and-punishment.bin": (291, 5, "и"),
    "lee_fasttext.bin": (1762, 10, "the"),
    "lee_fasttext_new.bin": (1763, 10, "the"),
    "toy-model.bin": (22, 5, "the"),
    "toy-model-pretrained.bin": (24, 5, "the"),
    "non_ascii_fasttext.bin": (171, 2, "ji"),
    "cp852_fasttext.bin": (171, 2, "ji"),
    "pang_lee_polarity_fasttext.bin": (1694, 100, "."),
}
UNKNOWN = ["qwertz", "unbelievablest", "ünïcode", "日本語", "x"]


@pytest.mark.parametrize("name", MODELS)
def test_fasttext_models_are_what_gensim_reads(name: str) -> None:
    v, model = load(FOLDER / name), open_fasttext(FOLDER / name)
    assert (len(v), v.dim) == MODELS[name][:2] and v.words[0] == MODELS[name][2]
    if name.startswith("pang"):  # a classifier, which gensim refuses: fastText's own text instead
        assert (
            np.abs(load(FOLDER / "pang_lee_polarity_fasttext.vec").matrix - v.matrix).max() < 1e-4
        )
        return
    from gensim.models.fasttext import load_facebook_model

    theirs = load_facebook_model(FOLDER / name).wv
    # gensim spells </s> too, as fastText has not done since its files have a version; and it hashes
    # the bytes it puts in place of what is no UTF-8.
    odd = set() if model.spells_end else {"</s>"}
    rows = [i for i, w in enumerate(v.words) if w not in odd and max(w, default="") < "\udc80"]
    assert len(rows) > 0.5 * len(v)
    np.testing.assert_allclose(v.matrix[rows], theirs.vectors[rows], rtol=1e-5, atol=1e-6)
    assert [theirs.index_to_key[i] for i in rows] == [v.words[i] for i in rows]
    np.testing.assert_allclose(model.rows(UNKNOWN), theirs[UNKNOWN], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["crime-and-punishment", "lee_fasttext", "toy-model"])
def test_fasttext_models_are_what_fasttext_wrote_as_text(name: str) -> None:
    model, text = load(FOLDER / f"{name}.bin"), load(FOLDER / f"{name}.vec")
    rows = model.matrix[model.ids(list(text.words))]  # </s> included
    np.testing.assert_allclose(rows, text.matrix, rtol=6e-5, atol=6e-6)


# With no_header gensim leaves the file open, a warning; GloVe is compared with its text above.
@pytest.mark.parametrize("name", [name for name in TABLES if name != "test_glove.txt"])
def test_tables_are_what_gensim_reads(name: str) -> None:
    from gensim.models import KeyedVectors

    v = load(FOLDER / name)
    theirs = KeyedVectors.load_word2vec_format(
        FOLDER / name,
        binary=name.endswith(".bin"),
        unicode_errors="surrogateescape",
    )
    assert theirs.index_to_key == list(v.words)
    assert np.array_equal(theirs.vectors, v.matrix)


READ_TOO = {  # columns of words and numbers, which no rule tells from vectors
    "w2v_keyedvectors_load_test.vocab",
    "sstats_test.txt",
}


def test_every_other_file_is_refused_in_one_line() -> None:
    read = set()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_dir():
            continue
        try:
            load(path, cache=False)
            read.add(path.name)
        except FormatError as error:
            assert "\n" not in str(error) and str(error).startswith(str(path))
    assert read == {*TABLES, *MODELS, *READ_TOO}


REFUSED = {
    "pretrained.vec": "promises 3 rows, but 1 follow",
    "word2vec_old": "a pickle",
    "word2vec_pre_kv_py3": "a pickle",
    "old_keyedvectors_320.dat": "a pickle",
    "model-from-gensim-3.8.0.w2v": "a pickle",
    "varembed_vectors.pkl": "a pickle",
    "fasttext_old": "a pickle",
    "ft_kv_3.6.0.model.gz": "a pickle",
    "word2vec_pre_kv_sep_py3": r"rows lie in word2vec_pre_kv_sep_py3.syn0.npy and are read if",
    "word2vec_pre_kv_sep_py3.syn0.npy": "rows without words; expected word2vec_pre_kv_sep_py3.syn",
    "doc2vec_old_sep.syn0_lockf.npy": "the array has shape",
    "fb-ngrams.txt": "values; expected",
    "alldata-id-10.txt": "no table of word vectors",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_is_no_table(name: str) -> None:
    with pytest.raises(FormatError, match=REFUSED[name]):
        load(FOLDER / name)


def test_rows_beside_a_pickle_are_read_with_their_words(tmp_path: Path) -> None:
    rows = np.load(FOLDER / "word2vec_pre_kv_sep_py3.syn0.npy")
    words = tmp_path / "words.txt"
    words.write_text("".join(f"w{i}\n" for i in range(len(rows))))
    v = load(FOLDER / "word2vec_pre_kv_sep_py3.syn0.npy", words=words)
    assert np.array_equal(v.matrix, rows)
