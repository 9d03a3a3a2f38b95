"""Files of pairs and of questions, in the forms that people have them, and what is refused."""

from __future__ import annotations

import gzip
import importlib.machinery

import numpy as np
import pytest

from rowtune.errors import FormatError
from rowtune.evaluate import datasets, read_pairs, read_questions

TWO = (("love", "sex"), ("tiger", "cat"))
SIMLEX = (
    "word1\tword2\tPOS\tSimLex999\tconc(w1)\tSD(SimLex)\n"
    "love\tsex\tN\t6.77\t3.5\t1\ntiger\tcat\tN\t7.35\t4.6\t2\n"
)


@pytest.mark.parametrize(
    "text",
    [
        "love\tsex\t6.77\ntiger\tcat\t7.35\n",
        "love sex 6.770000\ntiger cat 7.350000",
        "love   sex 6.77\n\n  \ntiger cat 7.35\n",
        "Word 1,Word 2,Human (mean)\nlove,sex,6.77\ntiger,cat,7.35\n",
        "Word 1,Word 2,Human (mean),1,2\nlove,sex,6.77,9,6\ntiger,cat,7.35,9,7\n",
        "first;second;x;mean\nlove;sex;8;6.77\n'tiger';cat;2;7.35\n".replace("'", '"'),
        "# a comment\n# Word 1\tWord 2\tHuman (mean)\nlove\tsex\t6.77\ntiger\tcat\t7.35\n",
        "love\tsex\tV\t6.77\tSYNONYMS\ntiger\tcat\tN\t7.35\tNONE\n",
        "love\tsex\t6.77\t7\t5\t\ntiger\tcat\t7.35\n",  # after the score, columns may be missing
        SIMLEX,
        SIMLEX.replace("\n", "\r\n"),
        SIMLEX.replace("\n", "\r"),
        "\ufeff" + SIMLEX,
    ],
)
def test_a_form_that_is_published(tmp_path, text):
    path = tmp_path / "pairs.txt"
    path.write_bytes(text.encode())
    found = read_pairs(path)
    assert found.words == TWO
    assert found.scores.tolist() == [6.77, 7.35]
    assert found.notes == ()
    assert found.name == "pairs.txt"


def test_other_bytes_blanks_in_words_packed_files_and_what_is_said(tmp_path):
    path = tmp_path / "pairs.tsv.gz"
    path.write_bytes(
        gzip.compress(b"eins\tzwei\tdrei\nnew york\tcaf\xe9\t-.5\ncaf\xe9\tnew york\t1e1\n")
    )
    found = read_pairs(path)
    assert found.words == (("new york", "caf\udce9"), ("caf\udce9", "new york"))
    assert found.scores.tolist() == [-0.5, 10.0]
    assert found.notes == (
        "line 1 was taken for a header: eins zwei drei",
        "1 of its 2 pairs occur again; each line counts",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "holds no pairs"),
        (b"\n# only this\n", "holds no pairs"),
        (b"love\nsex\n", "line 1: 1 columns; expected two words and a number"),
        (b"love 6.77\n", "line 1: 2 columns"),
        (b"love\tsex\t6.77\ntiger\tcat\n", "line 2: 2 columns"),
        (b"love\tsex\t6.77\n\ntiger\tcat\tx\n", "line 3, column 3: 'x' is no number"),
        (b"love\tsex\t6.77\ntiger\tcat\tnan\n", "line 2, column 3: 'nan' is no number"),
        (b"love\tsex\t6.77\ntiger\tcat\t1e999\n", "line 2, column 3: '1e999' is no number"),
        (b"love\tsex\t6,77\n", "line 1, column 3: '6,77' is no number; write a point"),
        (b"love sex 6,77\n", "line 1, column 3: '6,77' is no number; write a point"),
        (b"a;b;score\nlove;sex;6,77\n", "line 2, column 3: '6,77' is no number; write a point"),
        (b"love,sex,6,77\n", "line 1: columns 3 and 4 are numbers; name one 'score'"),
        (b"a,b,score\nlove,sex,6,77\n", "line 2: 4 columns; expected as many as before it, 3"),
        (b"love sex 6\nnew york city 7\n", "line 2: 4 columns; expected as many as before it, 3"),
        (b"love\t\t6.77\n", "line 1: a word is empty"),
        (b"love\tsex\tN\ntiger\tcat\tN\n", "line 2: no number after the two words"),
        (b"word1\tword2\tscore\n", "line 1 has no number and is the only one"),
        ("love\tsex\t6.77\n".encode("utf-16"), "this is UTF-16; expected UTF-8"),
        (b"love\tsex\0\t6.77\n", "this is no text"),
        (b"a,b,score\n" + b"x" * 200_000 + b",b,1\n", "line 2: field larger than"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_refused_by_its_line(tmp_path, text, said):
    path = tmp_path / "pairs.txt"
    path.write_bytes(text)
    with pytest.raises(FormatError) as error:
        read_pairs(path)
    assert str(error.value).startswith(f"{path}")
    assert said in str(error.value)


def test_what_gensim_has_is_found_by_name():
    words, similar = read_pairs("wordsim353"), read_pairs("simlex999")
    assert (len(words.words), len(similar.words)) == (353, 999)
    assert words.words[0] == ("love", "sex")
    assert (words.scores.min(), words.scores.max()) == (0.23, 10)
    assert similar.scores[0] == 1.58
    questions = read_questions("questions-words")
    assert (len(questions.words), len(questions.sections)) == (19_544, 14)
    assert questions.words[-1] == ("write", "writes", "work", "works")
    assert np.bincount(questions.section)[4] == 506
    assert questions.sections[4] == "family"


def test_without_gensim_one_is_told_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "find_spec", lambda name: None)
    with pytest.raises(FormatError, match=r"not installed; type: pip install gensim"):
        read_pairs("wordsim353")
    without_data = importlib.machinery.ModuleSpec("gensim", None, is_package=True)
    without_data.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(datasets, "find_spec", lambda name: without_data)
    with pytest.raises(FormatError, match="pip install gensim"):
        read_questions("questions-words")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wordsim353").write_text("a b 1\n")  # a file goes before a name
    assert read_pairs("wordsim353").words == (("a", "b"),)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FormatError, match=r"no such file; expected one, or .* wordsim353"):
        read_pairs(tmp_path / "no.txt")
    with pytest.raises(FormatError, match="this is a folder"):
        read_questions(tmp_path)


def test_questions(tmp_path):
    path = tmp_path / "q.txt"
    path.write_bytes(
        b"\xef\xbb\xbf// by hand\r\n# more\r\na b c d\r\n: capital-common\r\nA B  C\tD\r\n\r\n"
        b":gram1\r\na b c caf\xe9\r\na b c d\r\n: capital-common\r\ne f g h\r\n"
    )
    found = read_questions(path)
    assert found.words == (
        ("a", "b", "c", "d"), ("A", "B", "C", "D"), ("a", "b", "c", "caf\udce9"),
        ("a", "b", "c", "d"), ("e", "f", "g", "h"),
    )  # fmt: skip
    assert found.sections == ("(no section)", "capital-common", "gram1")
    assert found.section == (0, 1, 2, 2, 1)
    assert found.notes == ("1 of its 5 questions occur again; each line counts",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no questions"),
        (": family\n", "holds no questions"),
        (": family\nboy girl brother\n", "line 2: 3 words; expected four words, or ': name'"),
        ("a b c d\nword\n", "line 2: 1 word; expected four words"),
        ("a b c d e\n", "line 1: 5 words"),
    ],
)
def test_what_is_no_question_is_refused_by_its_line(tmp_path, text, said):
    path = tmp_path / "q.txt"
    path.write_text(text)
    with pytest.raises(FormatError) as error:
        read_questions(path)
    assert str(error.value).startswith(f"{path}")
    assert said in str(error.value)
