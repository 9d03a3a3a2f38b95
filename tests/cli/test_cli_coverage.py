"""`rowtune coverage`, and what its parts say of single words."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import rowtune
from rowtune.learn.compounds import parts_known
from rowtune.learn.typos import Typos, is_one_edit

LOWER = ["the", "data", "frame", "separate", "photovoltaic", "python", "key", "words", "file",
         "system", ".", "value", "it", "is", "n't", "server", "http", "2024"]  # fmt: skip
TEXT = """
The the the. Photovoltaic photo-voltaic. python3 files file data
DataFrame DataFrame DataFrame DataFrame DataFrame DataFrame
http.server http.server http.server http.server http.server
seperate NumPy numpy numpy NUMPY isn't filesystem 2024 2031
"""


@pytest.fixture
def run(command, tmp_path):
    def run(words, text, *more):
        rows = np.eye(len(words), 4, dtype=np.float32)
        rowtune.save(rowtune.Vectors(words, rows), tmp_path / "v.safetensors")
        (tmp_path / "text.txt").write_text(text)
        done = command("coverage", "v.safetensors", "text.txt", "--json", "facts.json", *more)
        assert done.code == 0, done.err
        return json.loads((tmp_path / "facts.json").read_text()), done

    return run


def by_word(facts):
    return {
        each["word"]: (kind, each["count"], each["known"])
        for kind, own in facts["lacking"].items()
        for each in own["words"]
    }


def test_why_a_table_of_lower_case_lacks_words(run):
    facts, done = run(LOWER, TEXT)
    assert by_word(facts) == {
        "The": ("case", 1, ["the"]),
        "Photovoltaic": ("case", 1, ["photovoltaic"]),
        "photo": ("new", 1, []),  # of photo-voltaic, which is rare and so read as its parts
        "voltaic": ("new", 1, []),
        "python3": ("number", 1, ["python"]),
        "files": ("number", 1, ["file"]),
        "DataFrame": ("compound", 6, ["data", "frame"]),
        "http.server": ("compound", 5, ["http", "server"]),
        "seperate": ("typo", 1, ["separate"]),
        "numpy": ("new", 4, []),  # with NumPy and NUMPY
        "filesystem": ("compound", 1, ["file", "system"]),
    }
    # the 2, file, data, is and n't have rows
    assert (facts["types_known"], facts["tokens_known"]) == (5, 6)
    assert (facts["types"], facts["tokens"]) == (5 + 11, 6 + 23)
    assert facts["numbers_and_marks"] == 4  # two stops, two years
    assert facts["numbers_and_marks_known"] == 3
    for kind in facts["lacking"].values():
        assert kind["types"] == len(kind["words"])
        assert kind["tokens"] == sum(each["count"] for each in kind["words"])
    assert "20.7% of 29 occurrences have a row" in done.text
    assert "in lower case, as the table has its words: 27.6%" in done.text
    assert "DataFrame (data + frame) 6, http.server (http + server) 5" in done.text


def test_a_table_with_capitals_takes_text_as_it_is(run):
    facts, done = run(["The", "Paris", "data", "email"], "the PARIS data Data e-mail " * 5)
    assert by_word(facts) == {
        "the": ("case", 5, ["The"]),
        "PARIS": ("case", 5, ["Paris"]),
        "Data": ("case", 5, ["data"]),
        "e-mail": ("punctuation", 5, ["email"]),
    }
    assert facts["lower_case_text"] is False
    assert "in lower case" not in done.text


def test_a_frequent_word_is_no_typo(run):
    text = "seperate " * 4
    assert by_word(run(LOWER, text)[0])["seperate"][0] == "typo"
    assert by_word(run(LOWER, text + "seperate")[0])["seperate"][0] == "new"
    assert by_word(run(LOWER, text, "--min-count", "4")[0])["seperate"][0] == "new"


def test_what_is_frequent_in_the_text_is_meant(run):
    words = [*(f"z{i:05}" for i in range(20_000)), "separate"]  # far down in the table
    assert by_word(run(words, "seperate " + "separate " * 49)[0])["seperate"][0] == "new"
    assert by_word(run(words, "seperate " + "separate " * 50)[0])["seperate"][0] == "typo"
    assert by_word(run(words, "seperate " + "Separate " * 50)[0])["seperate"][0] == "typo"


def test_a_text_that_is_known_whole(run):
    facts, done = run(LOWER, "the data")
    assert facts["tokens"] == facts["tokens_known"] == 2
    assert "100.0% of 2 occurrences" in done.text


def test_mistakes(command, table, tmp_path):
    (tmp_path / "empty.txt").write_text("... 12\n")
    for corpus, said in (("empty.txt", "holds no words"), ("no/", "no/")):
        done = command("coverage", "before.vec", corpus)
        assert done.code == 2
        assert said in done.err


def test_text_comes_from_stdin(command, table):
    done = command("coverage", "before.vec", "-", "--json", "-", stdin=b"king toad")
    assert json.loads(done.out)["tokens"] == 2


def edits(one, other):
    """Optimal string alignment, by its recursion."""
    if not one or not other:
        return len(one) + len(other)
    best = min(edits(one[1:], other) + 1, edits(one, other[1:]) + 1)
    best = min(best, edits(one[1:], other[1:]) + (one[0] != other[0]))
    if len(one) > 1 and one[:2] == other[1::-1]:
        best = min(best, edits(one[2:], other[2:]) + 1)
    return best


def test_one_edit_is_what_the_recursion_says():
    words = ["".join(w) for n in range(5) for w in itertools.product("ab", repeat=n)]
    words += ["abc", "acb", "cab", "bac", "abca"]
    index = Typos([], shortest=0)
    for one, other in itertools.product(words, words):
        assert is_one_edit(one, other) == (edits(one, other) == 1), (one, other)
        index.__init__([other], shortest=1)
        if one and other:
            right = edits(one, other) == 1 and one[0] == other[0]
            assert (index.meant(one) == other) == right, (one, other)


def test_the_most_frequent_is_meant_and_short_or_marked_words_are_left_out():
    assert Typos(["their", "theirs"]).meant("theirx") == "their"
    assert Typos(["theirs", "their"]).meant("theirx") == "theirs"
    assert Typos(["that"]).meant("taht") is None
    assert Typos(["separate"]).meant("seper-ate") is None


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("os.path", ("os", "path")),
        ("snake_case_word", ("snake", "case", "word")),
        ("HTTPServer", ("http", "server")),
        ("parseHTTP", ("parse", "http")),
        ("utf8_path", ("utf", "path")),
        ("os.frobnicate", ()),
        ("keyword", ()),  # key is too short to be a part of a word written as one
        ("filesystem", ("file", "system")),
        ("pathword", ("path", "word")),
        ("pathparse", ()),  # parse is not frequent
        ("ÄpfelMus", ("äpfel", "mus")),
        ("path", ()),
    ],
)
def test_compounds(word, parts):
    known = {"os", "path", "snake", "case", "word", "http", "server", "parse", "utf", "key", "file",
             "system", "äpfel", "mus"}  # fmt: skip
    assert parts_known(word, known.__contains__, known - {"parse"}) == parts
