from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import sys
import sysconfig
from pathlib import Path

import pytest

from rowtune.errors import CorpusError
from rowtune.learn import python_docs
from rowtune.learn.corpus import Corpus


def texts(*sources: str) -> list[str]:
    return ["".join(document) for document in Corpus(sources).documents()]


def test_a_file_a_folder_and_a_glob(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b" / "c.rst").write_text("two")
    (tmp_path / ".hidden").write_text("three")
    assert texts(str(tmp_path / "a.txt")) == ["one"]
    assert texts(str(tmp_path)) == ["one", "two"]
    assert texts(str(tmp_path / "**" / "*.rst")) == ["two"]


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_packed_files_are_read_as_they_are(tmp_path, ending, pack):
    (tmp_path / f"a.{ending}").write_bytes(pack(b"packed words"))
    assert texts(str(tmp_path / f"a.{ending}")) == ["packed words"]


def test_a_damaged_packed_file_is_named(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"packed words " * 1000)[:40])
    with pytest.raises(CorpusError, match=r"a\.gz: cannot be read"):
        texts(str(path))


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert texts("-") == ["from a pipe"]


def test_bytes_that_are_no_utf8_are_replaced(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 bar")
    assert texts(str(tmp_path / "a.txt")) == ["caf\ufffd bar"]


def test_blocks_end_with_a_line_so_that_no_word_is_cut(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("some more words\n!" * 200_000)
    (document,) = [list(blocks) for blocks in Corpus([str(path)]).documents()]
    assert len(document) > 1
    assert all(block.endswith("\n") for block in document[:-1])
    assert sum(map(len, document)) == 17 * 200_000


def test_binary_files_are_skipped_in_folders_with_a_note_and_refused_by_name(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.bin").write_bytes(b"\x7fELF\0\0")
    corpus = Corpus([str(tmp_path)])
    assert ["".join(document) for document in corpus.documents()] == ["one"]
    assert any("b.bin" in note for note in corpus.notes)
    with pytest.raises(CorpusError, match=r"b\.bin: this is a binary file"):
        texts(str(tmp_path / "b.bin"))


@pytest.mark.parametrize("name", ["nowhere.txt", "*.nothing"])
def test_a_missing_source_says_what_to_give(tmp_path, name):
    with pytest.raises(CorpusError, match="give text files"):
        Corpus([str(tmp_path / name)])


def test_an_empty_folder_and_no_source_at_all(tmp_path):
    with pytest.raises(CorpusError, match="holds no files"):
        Corpus([str(tmp_path)])
    with pytest.raises(CorpusError, match="no corpus was given"):
        Corpus([])


def test_python_docs_are_many_repeat_and_import_nothing_odd():
    notes: list[str] = []
    before = set(sys.modules)
    first = list(python_docs.docstrings(notes))
    assert first[:60] == list(itertools.islice(python_docs.docstrings(notes), 60))
    text = "\n".join(first)
    assert len(text.split()) > 150_000
    assert "collections" in text
    folder = Path(sysconfig.get_path("stdlib"))
    read = [path.relative_to(folder).parts for path in python_docs._sources(folder)]
    assert ("json", "decoder.py") in read
    assert not {"test", "idlelib", "site-packages", "this.py"} & {
        p for parts in read for p in parts
    }
    imported = set(sys.modules) - before
    assert imported <= set(sys.builtin_module_names)
    assert not {"this", "antigravity", "turtledemo"} & set(sys.modules)
    assert "Return the absolute value of the argument" in text  # compiled-in: builtins.abs


def test_a_file_named_twice_is_read_once_and_a_bad_one_in_a_folder_is_skipped(tmp_path):
    (tmp_path / "a.txt").write_text("some words\n")
    (tmp_path / "bad.txt.gz").write_bytes(b"no gzip at all")
    corpus = Corpus([str(tmp_path), str(tmp_path / "a.txt"), str(tmp_path / "*.txt")])
    texts = ["".join(document) for document in corpus.documents()]
    assert texts == ["some words\n"]
    assert "bad.txt.gz" in corpus.notes[0]
