from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowtune.errors import CorpusError
from rowtune.learn import extend, tokens
from rowtune.learn.defined import with_definitions
from rowtune.learn.glossary import definitions, read_glossary
from rowtune.learn.survey import Survey, survey
from rowtune.vectors import Vectors

VECTORS = Vectors(
    ["a", "of", "messages", "queue", "that", "nobody", "could", "read", "kept", "dead-man"],
    np.random.default_rng(0).standard_normal((10, 4)),
)


def entries(tmp_path, content):
    path = tmp_path / "terms.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_glossary(path)


@pytest.mark.parametrize(
    ("line", "word", "definition"),
    [
        ("quark\ta small thing", "quark", "a small thing"),
        ("quark: a small thing", "quark", "a small thing"),
        ("quark : a - small = thing", "quark", "a - small = thing"),
        ("quark - a small: thing", "quark", "a small: thing"),
        ("quark \u2013 a small thing", "quark", "a small thing"),
        ("quark = a small thing", "quark", "a small thing"),
        ("dead  letter queue\ta: b", "dead letter queue", "a: b"),
        ("std::vector: a row", "std::vector", "a row"),
        ("well-known - a thing", "well-known", "a thing"),
        ("a: b\tc", "a: b", "c"),
    ],
)
def test_every_way_to_write_an_entry(tmp_path, line, word, definition):
    assert entries(tmp_path, line) == {word: definition}


def test_comments_blanks_marks_of_order_line_ends_and_bad_bytes(tmp_path):
    content = b"\xef\xbb\xbfone: first\r\n\r\n  # no: entry\r\ntwo: caf\xe9\rthree\tthird\n\n"
    assert entries(tmp_path, content) == {"one": "first", "two": "caf\ufffd", "three": "third"}


def test_a_word_that_comes_again_keeps_both_definitions(tmp_path):
    assert entries(tmp_path, "a: x\nb: y\na = z\n") == {"a": "x . z", "b": "y"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: b\nno separator here\n", r"terms.txt:2: no definition in 'no separator here'; write"),
        ("\n\nword:\n", r"terms.txt:3: no definition in 'word:'"),
        ("\tdefinition\n", r"terms.txt:1: no definition in 'definition'"),
        (": definition\n", r"terms.txt:1: no word in ': definition'"),
        ("# only this\n", r"terms.txt: this glossary has no entries"),
        ("x" * 99, r"no definition in '" + "x" * 37 + r"\.\.\.'"),
    ],
)
def test_what_is_no_entry_is_an_error_with_file_and_line(tmp_path, content, said):
    with pytest.raises(CorpusError, match=said):
        entries(tmp_path, content)


@given(
    st.lists(
        st.sampled_from(
            ["don't", "C#", "a.b.c", "i.e.", "x-y", "end.", "the", "--", "f(x)", "\u2019s"]
        )
    ),
    st.integers(1, 5),
)
def test_every_word_of_a_definition_has_its_word_within_the_window(parts, window):
    (said,) = definitions({"word": " ".join(parts)}, window)
    found = tokens.split(said, True)
    at = [i for i, token in enumerate(found) if token == "word"]
    assert all(any(0 < abs(i - j) <= window for j in at) for i in range(len(found)) if i not in at)
    assert [t for t in found if t != "word"] == tokens.split(" ".join(parts), True)


def learned(glossary, text="a queue of messages . ", words=None, **options):
    found = survey(VECTORS, [[text]], 5, words, glossary=glossary, **options)
    return {found.types[i]: int(found.said[i]) for i in found.new.tolist()}, found


def test_a_word_that_is_only_in_the_glossary_is_learned_beside_the_frequent_ones():
    new, found = learned({"Limbo": "a queue of messages"}, "zork read " * 6 + "rare")
    assert new == {"zork": 6, "limbo": 0}
    assert found.notes == []
    assert learned({}, "zork read " * 6 + "rare")[0] == {"zork": 6}
    assert learned({"limbo": "a queue"}, "zork read " * 6, words=["rare"])[0] == {"limbo": 0}


def test_terms_of_several_words_are_one_type_in_the_text_too():
    glossary = {"Dead Letter Queue": "messages nobody could read", "dead letter": "kept", "C#": "a"}
    new, found = learned(glossary, "a Dead letter queue , a dead letter . c # and dead queue")
    assert new == {"dead_letter_queue": 1, "dead_letter": 1, "c#": 1}
    assert "dead" in found.types, "elsewhere a part is a word as before"


def test_words_that_the_table_knows_are_left_alone_with_a_note():
    new, found = learned({"queue": "a kept read", "dead man": "nobody"}, "a dead man")
    assert new == {}
    (note,) = found.notes
    assert "2 of the words of the glossary are in the table already" in note
    assert "queue, dead-man" in note
    assert {"dead", "man"} <= set(found.types)


def test_definitions_are_read_behind_the_corpus_as_documents_of_their_own():
    _, found = learned({"limbo": "a b c d e", "zork": "nobody"}, "read", window=3)
    said = "".join("|" if i < 0 else found.types[i] + " " for i in found.stream.tolist())
    defined = "limbo a b c limbo d e limbo |zork nobody zork |"
    assert said == "read |" + defined
    number = found.types.index
    assert found.counts[number("limbo")] == 3
    assert found.said[number("limbo")] == 0, "it is in no text but its definition"
    assert found.said[number("read")] == found.counts[number("read")] == 1


def test_a_definition_moves_the_row_of_its_word_and_the_less_the_more_the_text_says():
    types = ["the", "cat", "purr", "new", "often", "other"]
    row = np.array([0, 1, 2, -1, -1, -1])
    raw = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 4.0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], "f")
    counts = np.array([10_000, 3, 3, 0, 40, 9])
    found = Survey(
        stream=np.empty(0, np.int32), types=types, counts=counts, said=counts, row=row,
        known=np.arange(3), new=np.array([4, 5, 3]), notes=[],
        width=np.ones(6, np.int64), plain=np.zeros(4, np.int64),
    )  # fmt: skip
    vectors = Vectors(types[:3], raw[:3])
    learned = np.array([[3, 0, 0], [0, 0, 5], [0.5, 0, 0]], "f")
    glossary = {"New": "the cat , they purr", "often": "a cat", "cat": "known", "other": "unknown"}
    rows, moved = with_definitions(learned, found, vectors, raw, glossary)
    assert sorted(moved.tolist()) == [0, 2]
    assert rows[1].tobytes() == learned[1].tobytes()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [3, 5, 0.5], rtol=1e-6)
    assert rows[2, 2] > rows[2, 1] > rows[2, 0] > 0, "the words of the text more than the article"
    assert rows[0, 0] > 4 * rows[0, 1] > 0, "the text has it forty times"


def test_defined_words_lie_with_their_definitions_and_phrases_are_said_to_be_such(world, tmp_path):
    names = world.vectors.words
    glossary = {"qqvv": " ".join(names[2:12]), "qqww xx": " ".join(names[-12:-2])}
    # Two words of two topics that always follow each other, in every fourth line.
    lines = world.text.splitlines()
    pair = f" {names[3]} qqzz"
    path = tmp_path / "text"
    path.write_text("\n".join(line + pair * (i % 30 == 0) for i, line in enumerate(lines)))
    zeros = np.zeros((300, world.vectors.dim))
    table = Vectors(
        [*[f"{i}." for i in range(300)], *names], np.vstack([zeros, world.vectors.matrix])
    )
    result = extend(table, [str(path)], glossary=glossary, phrases=True)
    rows = dict(zip([w.word for w in result.new_words], result.rows, strict=True))
    phrase = f"{names[3]}_qqzz"
    assert set(rows) == set(world.unknown) | {"qqvv", "qqww_xx", phrase}
    assert (result.settings["glossary entries"], result.settings["phrases"]) == (2, True)
    first, last = world.vectors.matrix[2:12].mean(0), world.vectors.matrix[-12:-2].mean(0)
    assert rows["qqvv"] @ first > rows["qqvv"] @ last
    assert rows["qqww_xx"] @ last > rows["qqww_xx"] @ first
    assert {w.word for w in result.new_words if w.lacking == "phrase"} == {phrase}
    assert result.frozen.identical


def test_entries_that_differ_in_case_alone_all_count():
    types = ["cat", "purr", "api"]
    raw = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], "f")
    counts = np.array([3, 3, 1])
    found = Survey(
        stream=np.empty(0, np.int32), types=types, counts=counts, said=counts,
        row=np.array([0, 1, -1]), known=np.arange(2), new=np.array([2]), notes=[],
        width=np.ones(3, np.int64), plain=np.zeros(4, np.int64),
    )  # fmt: skip
    learned = np.array([[0, 0, 1]], "f")
    glossary = {"API": "cat", "api": "purr"}
    rows, moved = with_definitions(learned, found, Vectors(types[:2], raw[:2]), raw, glossary)
    assert moved.tolist() == [0]
    assert rows[0, 0] == pytest.approx(rows[0, 1]) and rows[0, 0] > rows[0, 2] > 0


def test_definitions_are_no_part_of_the_text_that_is_covered():
    text = "a queue of messages . zork read"
    plain = survey(VECTORS, [[text]], 1, None).coverage()
    _, found = learned({"limbo": "nobody could read"}, text)
    assert found.coverage().tokens == plain.tokens
    assert found.coverage().types == plain.types
