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


def test_a_damaged_cache_never_reaches_the_file_or_the_proof(rowtune, small, tmp_path):
    assert rowtune("verify", "small.txt", "small.txt").returncode == 0
    import rowtune as library

    os.environ["ROWTUNE_CACHE_DIR"] = str(tmp_path / "cache")
    try:
        library.load(small / "small.txt")
    finally:
        del os.environ["ROWTUNE_CACHE_DIR"]
    (entry,) = (tmp_path / "cache").rglob("*.safetensors")
    data = bytearray(entry.read_bytes())
    for place in range(len(data) - 3000, len(data), 7):
        data[place] ^= 1
    entry.write_bytes(data)
    assert rowtune("extend", "small.txt", "corpus.txt", "-o", "out.npy").returncode == 0
    assert rowtune("verify", "small.txt", "out.npy").returncode == 0


def test_verify_reads_the_file_even_if_its_time_did_not_change(rowtune, small):
    (small / "after.txt").write_bytes((small / "small.txt").read_bytes())
    assert rowtune("verify", "small.txt", "after.txt").returncode == 0
    before = (small / "after.txt").stat()
    data = bytearray((small / "after.txt").read_bytes())
    place = data.index(b"\n", 5000) - 1
    data[place] = ord("1") if data[place] != ord("1") else ord("2")
    (small / "after.txt").write_bytes(data)
    os.utime(small / "after.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert rowtune("verify", "small.txt", "after.txt").returncode == 1


def test_a_proof_that_fails_keeps_the_old_file(small, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    import rowtune.vectors
    from rowtune.cli.app import app

    monkeypatch.chdir(small)
    monkeypatch.setenv("ROWTUNE_CACHE_DIR", str(tmp_path / "cache"))
    (small / "out.txt").write_text("what was there\n")
    whole = rowtune.vectors.extend_file

    def spoiled(source, vectors, words, rows, out, **more):
        whole(source, vectors, words, rows, out, **more)
        text = out.read_bytes()
        out.write_bytes(text[:50].replace(b"1", b"2") + text[50:])

    monkeypatch.setattr(rowtune.vectors, "extend_file", spoiled)
    done = CliRunner().invoke(app, ["extend", "small.txt", "corpus.txt", "-o", "out.txt"])
    assert done.exit_code == 1
    assert "out.txt is as it was" in done.output
    assert (small / "out.txt").read_text() == "what was there\n"
    assert not [p for p in small.iterdir() if p.name.startswith(".rowtune")]


def test_words_that_look_like_markup_or_are_no_text(rowtune, small):
    rows = np.ones((3, 2), np.float32)
    import rowtune as library

    words = ["[/red]", "[bold]x", "caf\udce9"]
    library.save(library.Vectors(words, rows), small / "a.txt")
    library.save(library.Vectors(words, 2 * rows), small / "b.txt")
    done = rowtune("verify", "a.txt", "b.txt", "--json", "v.json")
    assert done.returncode == 1
    assert "[bold]x" in done.stdout
    assert "Traceback" not in done.stderr
    assert json.loads((small / "v.json").read_text())["differing"] == [*words[:2], "caf\ufffd"]


def test_rows_that_are_not_finite_keep_their_bits_and_spoil_nothing(rowtune, small):
    import rowtune as library

    table = library.load(small / "small.txt", cache=False)
    matrix = np.array(table.matrix)
    matrix[0, 0], matrix[1, 1], matrix[2, 2] = np.inf, np.nan, 3e38
    library.save(library.Vectors(table.words, matrix), small / "odd.npy")
    done = rowtune("extend", "odd.npy", "corpus.txt", "-o", "out.npy", "--report", "rep")
    assert done.returncode == 0, done.stderr
    assert "3 rows of the table hold NaN" in " ".join(done.stdout.split())
    learned = library.load(small / "out.npy", cache=False).matrix
    assert learned[:150].tobytes() == matrix.tobytes()
    usual = np.linalg.norm(matrix[3:], axis=1)
    assert (np.linalg.norm(learned[150:], axis=1) < 2 * usual.max()).all()


def test_inputs_are_not_overwritten_and_refusals_come_first(rowtune, small):
    (small / "out.words.txt").write_text("\ufeffzaz\nzez\n", encoding="utf-8")
    done = rowtune("extend", "small.txt", "corpus.txt", "-o", "out.npy", "--words", "out.words.txt")
    assert done.returncode == 2
    assert "is read by this command" in " ".join(done.stderr.split())
    assert (small / "out.words.txt").read_text(encoding="utf-8").startswith("\ufeffzaz")
    done = rowtune("extend", "small.txt", "corpus.txt", "-o", "o.txt", "--words", "out.words.txt",
                   "--json", "-")  # fmt: skip
    assert json.loads(done.stdout)["new_words"] == 2
    for arguments in (["-o", "/dev/null"], ["-o", "o.txt", "--json", "."],
                      ["-o", "o.txt", "--report", "corpus.txt"]):  # fmt: skip
        done = rowtune("extend", "small.txt", "corpus.txt", *arguments)
        assert done.returncode == 2, arguments


def test_a_path_with_brackets_is_printed_as_it_is(rowtune, small):
    done = rowtune("extend", "small.txt", "corpus.txt", "-o", "o[a].txt")
    assert "written: o[a].txt" in done.stdout


INTERRUPTED = """
import sys
from rowtune import engines
from rowtune.cli.app import main

def run(*arguments):
    {interrupted}

engines.run_six_items = run
sys.argv = ["rowtune", "six-items", "--json", "six.json"]
main()
"""


INTERRUPTIONS = [
    "raise KeyboardInterrupt",
    # Between a kernel of numba's and what called it.
    "raise SystemError('returned a result with an exception set') from KeyboardInterrupt()",
]


@pytest.mark.parametrize("interrupted", INTERRUPTIONS)
def test_ctrl_c_says_so_and_leaves_nothing(tmp_path, interrupted):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(interrupted=interrupted)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 130
    assert "stopped" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_another_error_of_the_interpreter_is_not_taken_for_ctrl_c(tmp_path):
    script = INTERRUPTED.format(interrupted="raise SystemError('of another kind')")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "SystemError: of another kind" in done.stderr


def test_the_rules_are_shown_with_source_equality_state_and_catch_up(rowtune):
    from rowtune import rules

    shown = rowtune("rules")
    assert shown.returncode == 0, shown.stderr
    for name in rules.names():
        assert f" {name} " in shown.stdout
    table = json.loads(rowtune("rules", "--json", "-").stdout)["rules"]
    assert [each["name"] for each in table] == list(rules.names())
    adam = next(each for each in table if each["name"] == "adam")
    assert adam["equals"] == "torch.optim.Adam"
    assert adam["source"].endswith("ICLR 2015")
    assert (adam["state"], adam["defaults"]["beta2"]) == ("2 D", 0.999)
    assert adam["catch_up"].startswith("closed form")
