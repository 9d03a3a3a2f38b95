"""Reading that somebody ends early: between blocks, and while it waits for standard input."""

from __future__ import annotations

import io
import os
import sys
import threading

import numpy as np
import pytest

from rowtune.errors import CorpusError
from rowtune.learn import corpus, extend
from rowtune.learn.corpus import Corpus
from rowtune.learn.survey import survey
from rowtune.vectors import Vectors

VECTORS = Vectors(["one", "two", "three"], np.eye(3, dtype=np.float32))


def never():
    return False


@pytest.fixture
def pipe(monkeypatch):
    """Standard input as a pipe, and its other end."""
    there, here = os.pipe()
    with os.fdopen(there, "rb") as reading:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(reading))
        yield here
        sys.stdin.detach()


def stdin(enough):
    return ["".join(document) for document in Corpus(["-"]).documents(None, enough)]


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_reading_ends_after_the_block_in_which_it_was_enough(blocks):
    pulled = []

    def document(texts):
        for text in texts:
            pulled.append(text)
            yield text

    def documents():
        yield document(["one one ", "two two . "])
        yield document(["three ", "one three zork "])

    found = survey(VECTORS, documents(), 1, None, enough=lambda: len(pulled) >= blocks)
    assert len(pulled) == blocks
    words = (2, 4, 5, 8)[blocks - 1]
    assert found.notes == [f"Reading ended early, as was asked, after {words} words."]
    assert found.coverage().tokens == words


def test_nobody_who_had_enough_means_no_note_and_a_stop_before_the_first_word_an_error():
    assert survey(VECTORS, [["one two"]], 1, None, enough=never).notes == []
    with pytest.raises(CorpusError, match="stopped before the first word"):
        survey(VECTORS, [[], ["one"]], 1, None, enough=lambda: True)
    with pytest.raises(CorpusError, match="holds no words"):
        survey(VECTORS, [[]], 1, None, enough=never)


def test_a_glossary_is_read_also_when_the_corpus_is_not_to_its_end():
    found = survey(
        VECTORS, [["one"], ["two"]], 1, None, glossary={"zork": "three"}, enough=lambda: True
    )
    assert [found.types[i] for i in found.new.tolist()] == ["zork"]
    assert "two" not in found.types
    assert "after 1 words" in found.notes[0]


def test_a_blocked_read_ends_and_what_came_is_kept(pipe):
    os.write(pipe, b"one two three without an end")
    calls = []

    def enough():
        calls.append(1)
        return len(calls) > 5

    assert stdin(enough) == ["one two three without an end"]
    os.close(pipe)


def test_a_blocked_read_without_anything_ends_too(pipe):
    calls = []
    assert stdin(lambda: calls.append(1) or len(calls) > 2) == [""]
    os.close(pipe)


@pytest.mark.parametrize("size", [64, 1 << 20])
def test_what_comes_in_pieces_is_read_as_a_file_is(pipe, monkeypatch, size):
    monkeypatch.setattr(corpus, "_BLOCK", size)
    lines = [f"caf\u00e9 {i} na\u00efve " + "word" * (i % 20) for i in range(200)]
    text = "\n".join(lines) + "x" * 3 * 64

    def feed():
        data = text.encode()
        for at in range(0, len(data), 37):
            os.write(pipe, data[at : at + 37])
        os.close(pipe)

    thread = threading.Thread(target=feed)
    thread.start()
    (document,) = Corpus(["-"]).documents(None, never)
    blocks = list(document)
    thread.join()
    assert "".join(blocks) == text
    assert (len(blocks) > 20) is (size == 64)
    cut = [block for block in blocks[:-1] if not block.endswith(("\n", " "))]
    assert len(cut) <= 1, "no word is cut, but for the one that is longer than two blocks"


def test_standard_input_that_is_no_file_is_read_as_before(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one two\nthree")))
    asked = iter(range(99))  # a read that does not come about is given up
    assert stdin(lambda: next(asked, None) is None) == ["one two\nthree"]


def test_a_run_that_was_ended_early_has_a_result_and_says_so(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text("one two zork " * 5)
    result = extend(VECTORS, [str(tmp_path)], enough=lambda: True)
    assert [word.word for word in result.new_words] == ["zork"]
    assert result.new_words[0].count == 5
    assert "Reading ended early, as was asked, after 15 words." in result.notes
