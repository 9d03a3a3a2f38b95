"""The command line, as a person uses it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture
def rowtune(tmp_path):
    """Run `rowtune` in a folder of its own; returns the finished process."""

    def run(*arguments, stdin=None):
        environment = {**os.environ, "ROWTUNE_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "100"}
        return subprocess.run(
            [sys.executable, "-m", "rowtune", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    return run


@pytest.fixture
def small(tmp_path):
    """A small table in GloVe's format, and a corpus that speaks of what it lacks."""
    rng = np.random.default_rng(0)
    words = [f"{a}{b}{c}" for a in "bdgklm" for b in "aeiou" for c in "nrstl"]
    # Words of one vowel live near each other, and near the vowel's own direction.
    centers = rng.standard_normal((5, 20))
    rows = [centers["aeiou".index(w[1])] + 0.3 * rng.standard_normal(20) for w in words]
    lines = [
        f"{w} " + " ".join(f"{x:.5f}" for x in row) for w, row in zip(words, rows, strict=True)
    ]
    (tmp_path / "small.txt").write_text("\n".join(lines) + "\n")
    sentences = []
    for _ in range(3000):
        vowel = "aeiou"[rng.integers(5)]
        near = [w for w in words if w[1] == vowel]
        sentence = list(rng.choice(near, 8))
        sentence[4] = f"z{vowel}z" if rng.random() < 0.3 else sentence[4]
        sentences.append(" ".join(sentence))
    (tmp_path / "corpus.txt").write_text("\n".join(sentences))
    return tmp_path


def test_extend_learns_the_missing_words_and_verify_agrees(rowtune, small):
    done = rowtune(
        "extend", "small.txt", "corpus.txt", "-o", "out.txt", "--json", "out.json", "--report=rep"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads((small / "out.json").read_text())
    assert facts["new_words"] == 5
    assert facts["frozen"]["rows"] == 150
    assert facts["frozen"]["identical"] is True
    assert facts["frozen"]["sha256_before"] == facts["frozen"]["sha256_after"]
    assert {"rowtune", "random", "context mean", "a la carte"} <= set(facts["pretend_oov"])
    assert set(facts["pretend_oov"]["rowtune"]) == {"cosine", "median_rank", "overlap10"}
    old, new = (small / "small.txt").read_bytes(), (small / "out.txt").read_bytes()
    assert new.startswith(old)
    learned = new[len(old) :].decode().splitlines()
    assert sorted(line.split()[0] for line in learned) == ["zaz", "zez", "ziz", "zoz", "zuz"]
    assert (small / "rep" / "index.html").read_text().count("zaz")

    done = rowtune("verify", "small.txt", "out.txt")
    assert done.returncode == 0, done.stdout
    assert "identical" in done.stdout


def test_a_learned_word_lies_among_the_words_it_occurs_with(rowtune, small):
    import rowtune as library

    done = rowtune("extend", "small.txt", "corpus.txt", "-o", "out.npy")
    assert done.returncode == 0, done.stderr
    vectors = library.load(small / "out.npy", cache=False)
    unit = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    near = np.argsort(-(unit[:150] @ unit[vectors.index("zaz")]))[:10]
    assert [vectors.words[i][1] for i in near].count("a") >= 9


def test_verify_finds_one_changed_byte(rowtune, small):
    text = (small / "small.txt").read_bytes()
    line = text.splitlines(keepends=True)[7]
    word = line.split()[0].decode()
    last = line.rstrip(b"\n")[-1:]
    changed = line.rstrip(b"\n")[:-1] + (b"3" if last != b"3" else b"4") + b"\n"
    (small / "after.txt").write_bytes(text.replace(line, changed))
    done = rowtune("verify", "small.txt", "after.txt")
    assert done.returncode == 1
    assert word in done.stdout
    assert "not identical" in done.stdout
    (small / "after.txt").write_bytes(text.replace(line, b""))
    done = rowtune("verify", "small.txt", "after.txt", "--json", "-")
    assert done.returncode == 1
    assert json.loads(done.stdout)["missing"] == [word]


def test_json_on_stdout_is_json_alone(rowtune, small):
    done = rowtune("extend", "small.txt", "-", "-o", "out.vec", "--json", "-",
                   stdin=(small / "corpus.txt").read_text())  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["new_words"] == 5


def test_a_list_of_words_says_what_is_learned(rowtune, small):
    (small / "words.txt").write_text("zaz\nzuz\nnever-seen\n")
    done = rowtune("extend", "small.txt", "corpus.txt", "-o", "out.txt", "--words", "words.txt",
                   "--json", "out.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads((small / "out.json").read_text())
    assert sorted(word["word"] for word in facts["words"]) == ["zaz", "zuz"]
    assert any("never-seen" in note for note in facts["notes"])


def test_the_same_seed_writes_the_same_file(rowtune, small):
    for name in ("a.txt", "b.txt"):
        assert rowtune("extend", "small.txt", "corpus.txt", "-o", name).returncode == 0
    assert (small / "a.txt").read_bytes() == (small / "b.txt").read_bytes()


MISTAKES = [
    (["extend", "nowhere.txt", "corpus.txt", "-o", "out.txt"], "nowhere.txt"),
    (["extend", "small.txt", "nowhere/", "-o", "out.txt"], "nowhere"),
    (["extend", "small.txt", "corpus.txt", "-o", "out.foo"], ".foo"),
    (["extend", "small.txt", "corpus.txt", "-o", "no/such/folder/out.txt"], "no/such/folder"),
    (["extend", "small.txt", "empty.txt", "-o", "out.txt"], "holds no words"),
    (["extend", "broken.txt", "corpus.txt", "-o", "out.txt"], "broken.txt"),
    (["verify", "small.txt", "nowhere.txt"], "nowhere.txt"),
    (["verify", "small.txt", "model.pkl"], "model.pkl"),
    (["six-items", "--engine", "theano"], "theano"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_users_mistake_is_one_line_and_no_traceback(rowtune, small, arguments, words):
    (small / "empty.txt").write_text("")
    (small / "broken.txt").write_text("a 1 2 3\nb 1 2\n")
    (small / "model.pkl").write_bytes(b"\x80\x04\x95" + bytes(50))
    done = rowtune(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr
    assert not [p for p in small.iterdir() if p.name.startswith((".out", "out"))]


def test_six_items(rowtune, tmp_path):
    done = rowtune("six-items", "--steps", "1500", "--dim", "3", "--json", "-", "--out", "six.png")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["engine"], facts["dim"], len(facts["trajectory"])) == ("numpy", 3, 16)
    assert (tmp_path / "six.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("verb", ["", "extend", "verify", "six-items"])
def test_help_teaches(rowtune, verb):
    done = rowtune(*([verb] if verb else []), "--help")
    assert done.returncode == 0
    assert "rowtune " + verb in done.stdout
    assert len(done.stdout.splitlines()) < 60


def test_the_version(rowtune):
    import rowtune as library

    assert rowtune("--version").stdout.split() == ["rowtune", library.__version__]
