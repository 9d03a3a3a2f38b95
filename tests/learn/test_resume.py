"""Runs that were stopped go on with the same bits, and nothing of another run gets in."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from rowtune.errors import CorpusError
from rowtune.learn import extend, run
from rowtune.learn.corpus import Corpus
from rowtune.learn.resume import stages_of
from rowtune.learn.stages import forget
from rowtune.learn.survey import survey
from rowtune.learn.survey_arrays import corpus_sha256, packed, unpacked
from rowtune.vectors import Vectors

FILES = ["reading", "spelling-and-contexts", "own-space", "skip-gram"]


@pytest.fixture(scope="module")
def short(world, tmp_path_factory):
    """A corpus that is learned from in a second."""
    path = tmp_path_factory.mktemp("resume") / "corpus.txt"
    path.write_text("\n".join(world.text.splitlines()[:400]) + "\n")
    return path


@pytest.fixture(scope="module")
def undisturbed(world, short):
    return extend(world.vectors, [str(short)])


def stop_at(stage, at=1):
    """A progress callback that interrupts the run when ``stage`` is named for the nth time."""
    seen = []

    def progress(name, done, total):
        seen.append(name)
        if seen.count(stage) == at:
            raise KeyboardInterrupt

    return progress


def left_in(folder):
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def stopped(vectors, source, folder, *stage, **settings):
    with pytest.raises(KeyboardInterrupt):
        extend(vectors, [str(source)], resume=folder, progress=stop_at(*stage), **settings)
    return left_in(folder)


def same(one, two):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if field.name == "rows":
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        elif field.name == "notes":
            kept = [[n for n in notes if not n.startswith("Taken from")] for notes in (a, b)]
            assert kept[0] == kept[1]
        elif field.name != "seconds":
            assert a == b, field.name


@pytest.mark.parametrize(
    ("stage", "at", "finished"),
    [("learning from spelling", 1, 1), ("skip-gram", 3, 3), ("finding neighbours", 1, 4)],
)
def test_a_run_that_was_stopped_goes_on_with_the_same_bits(
    world, short, undisturbed, tmp_path, monkeypatch, stage, at, finished
):
    folder = tmp_path / "deep" / "stages"
    assert stopped(world.vectors, short, folder, stage, at) == {
        f"{name}.stage" for name in FILES[:finished]
    }
    monkeypatch.setattr(run, "survey", None)  # reading again would fail
    result = extend(world.vectors, [str(short)], resume=folder)
    same(result, undisturbed)
    names = ", ".join(name.replace("-", " ") for name in FILES[:finished]).replace("skip ", "skip-")
    assert f"Taken from an earlier run that was stopped: {names}." in result.notes
    assert left_in(folder) == {f"{name}.stage" for name in FILES}, "until the caller is done"


def test_an_undisturbed_run_with_a_folder_is_as_without_and_leaves_other_files_alone(
    world, short, undisturbed, tmp_path
):
    (tmp_path / "mine.txt").write_text("a letter")
    result = extend(world.vectors, [str(short)], resume=tmp_path)
    same(result, undisturbed)
    assert result.notes == undisturbed.notes
    forget(tmp_path)
    assert left_in(tmp_path) == {"mine.txt"}


def test_damage_is_computed_anew(world, short, undisturbed, tmp_path):
    stopped(world.vectors, short, tmp_path / "r", "blending")
    for name, damage in (("reading", slice(0, 5000)), ("own-space", slice(0, 0))):
        path = tmp_path / "r" / f"{name}.stage"
        path.write_bytes(path.read_bytes()[damage])
    path = tmp_path / "r" / "spelling-and-contexts.stage"
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    result = extend(world.vectors, [str(short)], resume=tmp_path / "r")
    same(result, undisturbed)
    assert "Taken from an earlier run that was stopped: skip-gram." in result.notes


def test_what_was_cut_short_is_not_kept(world, short, tmp_path):
    reached = []

    def progress(name, done, total):
        reached.append(name)
        if name == "blending":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend(world.vectors, [str(short)], resume=tmp_path / "r", progress=progress,
               enough=lambda: "learning from spelling" in reached)  # fmt: skip
    assert left_in(tmp_path / "r") == {"reading.stage"}


def test_a_changed_corpus_is_read_again(world, short, tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(short.read_text())
    stopped(world.vectors, path, tmp_path / "r", "preparing")
    path.write_text(short.read_text() + "anotherword here\n" * 5)
    found = extend(world.vectors, [str(path)], resume=tmp_path / "r")
    assert "anotherword" in {word.word for word in found.new_words}
    assert not any("Taken from" in note for note in found.notes)


def kept(folder, vectors, path, **settings):
    """Whether a stage that some run left is taken by a run of these settings; else it is left."""
    asked = {"min_count": 5, "seed": 0, "words": None, "glossary": None, **settings}
    stages = stages_of(folder, vectors, [str(path)], asked, None)
    stages("reading", lambda: {"a": np.arange(3)})
    return stages.found == ["reading"]


def test_stages_belong_to_one_table_one_corpus_and_one_set_of_settings(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some words")
    table = Vectors(["a", "b"], np.ones((2, 3), np.float32))
    run_of = (tmp_path / "r", table, path)
    assert not kept(*run_of) and kept(*run_of)
    for change in ({"min_count": 4}, {"seed": 1}, {"words": ["x"]}, {"glossary": {"x": "y"}}):
        assert not kept(*run_of, **change) and kept(*run_of, **change)
    assert kept(*run_of, glossary={"x": "y"}) and not kept(*run_of, glossary={"x": "z"})
    assert not kept(*run_of, words=["x", "y"]) and kept(*run_of, words={"y", "x"})
    flipped = table.matrix.copy()
    flipped.view(np.int32)[1, 2] ^= 1
    for other in (
        Vectors(["a", "b"], flipped),
        Vectors(["a", "c"], table.matrix),
        Vectors(["a", "b"], table.matrix.astype(np.float16)),
        Vectors(["a"], table.matrix[:1]),
    ):
        assert not kept(tmp_path / "r", other, path)
        assert kept(tmp_path / "r", other, path) and not kept(*run_of)
    stamp = path.stat().st_mtime_ns
    path.write_text("same words")
    os.utime(path, ns=(stamp, stamp + 1000))
    assert not kept(*run_of)
    path.write_text("longer words")
    os.utime(path, ns=(stamp, stamp + 1000))
    assert not kept(*run_of)
    (tmp_path / "b.txt").write_text("longer words")
    os.utime(tmp_path / "b.txt", ns=(stamp, stamp + 1000))
    assert not kept(tmp_path / "r", table, tmp_path / "b.txt")


def test_standard_input_cannot_be_resumed(world, tmp_path):
    with pytest.raises(CorpusError, match="put it into a file"):
        extend(world.vectors, ["-"], resume=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    assert stages_of(None, world.vectors, ["-"], {}, None).folder is None


def test_files_whose_names_are_no_utf8_are_noted_and_can_be_resumed(world, tmp_path):
    name = os.fsdecode(b"bad\xff")
    (tmp_path / f"{name}.bin").write_bytes(b"\x7fELF\0\0")
    (tmp_path / f"{name}.txt").write_text("some new words " * 6)
    for folder in (None, tmp_path.with_name("r")):
        result = extend(world.vectors, [str(tmp_path)], resume=folder)
        assert any(f"{name}.bin" in note for note in result.notes)
        assert {word.word for word in result.new_words} == {"some", "new", "words"}


def read(vectors, *texts):
    return survey(vectors, [[text] for text in texts], 1, None)


def test_a_survey_taken_apart_is_the_same_survey(world, short):
    found = survey(world.vectors, Corpus([str(short)]).documents(), 5, None)
    found.notes[:] = ["one", "", "dreißig"]
    again = unpacked({name: array.copy() for name, array in packed(found).items()})
    for field in dataclasses.fields(found):
        a, b = getattr(found, field.name), getattr(again, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b


def test_the_hash_of_a_corpus_is_of_its_words_and_their_documents(world, undisturbed, short):
    def hashed(*texts):
        return corpus_sha256(read(world.vectors, *texts))

    base = hashed("one two three", "four")
    assert base == hashed("One  two\nthree", "four")  # the table is in lower case
    others = {hashed("one two", "three four"), hashed("one two three four"),
              hashed("two one three", "four"), hashed("one two three", "five")}  # fmt: skip
    assert len(others) == 4 and base not in others
    found = survey(world.vectors, Corpus([str(short)]).documents(), 5, None)
    assert undisturbed.corpus_sha256 == corpus_sha256(found)
