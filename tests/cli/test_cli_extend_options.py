"""What `rowtune extend` learns besides frequent words, and Ctrl-C by real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import rowtune
from rowtune.cli.stopping import finish_on_interrupt

WORDS = [f"{a}{b}{c}" for a in "bdgklmprst" for b in "aeiou" for c in "nrst"]  # 200
SAID = "finishing with what was read; Ctrl-C again to stop now without writing\n"


def sentences(count):
    rng = np.random.default_rng(0)
    return "".join(" ".join([*rng.choice(WORDS, 9), "quixo"]) + " .\n" for _ in range(count))


@pytest.fixture
def vectors(tmp_path):
    """A table that is large enough to hide words of it, with rows that tell nothing."""
    first = [f"{i}." for i in range(300)]
    rows = np.random.default_rng(0).standard_normal((len(first) + len(WORDS), 8))
    rowtune.save(
        rowtune.Vectors([*first, *WORDS], rows.astype(np.float32)), tmp_path / "vectors.vec"
    )
    return "vectors.vec"


def test_phrases_and_a_glossary_reach_the_file_and_the_summary(command, table, tmp_path):
    (tmp_path / "text").write_text("king of frogs " * 20)
    (tmp_path / "terms.txt").write_text("Tree Frog: a frog on a woman\r\nking: a man\n")
    done = command("extend", "before.vec", "text", "-o", "new.vec", "--json", "-", "--phrases",
                   "--glossary", "terms.txt")  # fmt: skip
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["settings"]["phrases"] is True
    assert said["settings"]["glossary entries"] == 2
    assert {"Tree_Frog", "of"} <= set(rowtune.load(tmp_path / "new.vec").words)
    assert "1 of the words of the glossary are in the table already" in done.err
    done = command("extend", "before.vec", "text", "-o", "new.vec", "--json", "-")
    assert json.loads(done.out)["settings"]["phrases"] is False
    assert "Tree_Frog" not in rowtune.load(tmp_path / "new.vec").words


def test_a_glossary_that_is_none_is_refused_before_any_work(command, table, tmp_path):
    (tmp_path / "text").write_text("king of frogs " * 20)
    (tmp_path / "terms.txt").write_text("frog: green\nno entry\n")
    done = command("extend", "before.vec", "text", "-o", "new.vec", "--glossary", "terms.txt")
    assert done.code == 2
    assert "terms.txt:2: no definition in 'no entry'" in done.text
    done = command("extend", "before.vec", "text", "-o", "new.vec", "--glossary", "gone.txt")
    assert done.code == 2
    assert "gone.txt" in done.text
    done = command("extend", "before.vec", "text", "-o", "terms.txt", "--glossary", "terms.txt")
    assert done.code == 2
    assert "terms.txt is read by this command" in done.text
    assert (tmp_path / "terms.txt").read_text() == "frog: green\nno entry\n"
    assert not (tmp_path / "new.vec").exists()


@pytest.fixture
def reading(tmp_path, vectors):
    """A real process that has read a part of its standard input and waits for more."""
    (tmp_path / "new.vec").write_bytes(b"old")
    process = subprocess.Popen(
        [sys.executable, "-m", "rowtune", "extend", vectors, "-", "-o", "new.vec"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
        env={**os.environ, "ROWTUNE_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "200"},
    )  # fmt: skip
    # A command that never ends fails its test.
    watch = threading.Timer(60, process.kill)
    watch.start()
    # More than a pipe holds: once it is gone the command is reading.
    process.stdin.write(sentences(20_000).encode())
    process.stdin.flush()
    yield process
    watch.cancel()
    process.kill()
    for file in (process.stdin, process.stdout, process.stderr):
        file.close()
    process.wait()


def test_the_first_interrupt_ends_a_blocked_read_and_keeps_what_was_learned(reading, tmp_path):
    reading.send_signal(signal.SIGINT)
    assert reading.stderr.readline().decode() == SAID
    said = (reading.stdout.read() + reading.stderr.read()).decode()
    assert reading.wait() == 0, said
    assert "quixo" in rowtune.load(tmp_path / "new.vec").words
    assert "Reading ended early, as was asked, after" in said
    assert "written: new.vec" in said


def test_the_second_interrupt_stops_at_once_and_leaves_the_old_file(reading, tmp_path):
    before = {path.name for path in tmp_path.iterdir()} - {"cache"}
    reading.send_signal(signal.SIGINT)
    assert reading.stderr.readline().decode() == SAID
    reading.send_signal(signal.SIGINT)
    assert b"stopped; no file is half-written" in reading.stderr.read()
    assert reading.wait() == 130
    assert (tmp_path / "new.vec").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == before


def test_the_handler_is_there_for_the_time_of_learning_only(capfd):
    before = signal.getsignal(signal.SIGINT)
    with finish_on_interrupt() as enough:
        assert not enough()
        signal.raise_signal(signal.SIGINT)
        assert enough()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr().err == SAID


def test_an_interrupt_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with finish_on_interrupt() as enough:
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert not enough()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_handle_no_signals():
    found = []

    def work():
        with finish_on_interrupt() as enough:
            found.append((enough(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, signal.getsignal(signal.SIGINT))]


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_no_other_output_takes_the_place_of_a_table(command, tmp_path, option):
    table = "a 1 2\nb 2 1\n"
    for name in ("before.vec", "text"):
        (tmp_path / name).write_text(table)
    for target in ("before.vec", "out.vec", "text"):
        done = command("extend", "before.vec", "text", "-o", "out.vec", option, target)
        assert done.code == 2, target
        assert (tmp_path / "before.vec").read_text() == (tmp_path / "text").read_text() == table
        assert not (tmp_path / "out.vec").exists()


def test_stages_that_would_change_the_corpus_are_refused(command, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "before.vec").write_text("a 1 2\n")
    (tmp_path / "notes" / "text").write_text("a b")
    (tmp_path / "out.vec.stages").write_text("mine")
    for out, said in (("notes/out.vec", "corpus folder"), ("out.vec", "no folder")):
        done = command("extend", "before.vec", "notes", "-o", out, "--resume")
        assert done.code == 2 and said in done.err
    assert (tmp_path / "out.vec.stages").read_text() == "mine"
