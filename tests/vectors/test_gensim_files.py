"""The files that gensim tests its own readers with."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from rowtune.errors import FormatError
from rowtune.vectors import load, save, verify

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


REFUSED = {
    "pretrained.vec": "promises 3 rows, but 1 follow",
    "toy-model.bin": "a fastText model",
    "crime-and-punishment.bin": "a fastText model",
    "word2vec_old": "a pickle",
    "word2vec_pre_kv_py3": "a pickle",
    "old_keyedvectors_320.dat": "a pickle",
    "model-from-gensim-3.8.0.w2v": "a pickle",
    "varembed_vectors.pkl": "a pickle",
    "fasttext_old": "a pickle",
    "ft_kv_3.6.0.model.gz": "a pickle",
    "non_ascii_fasttext.bin": "no table of word vectors",
    "fb-ngrams.txt": "values; expected",
    "alldata-id-10.txt": "no table of word vectors",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_is_no_table(name: str) -> None:
    with pytest.raises(FormatError, match=REFUSED[name]):
        load(FOLDER / name)
