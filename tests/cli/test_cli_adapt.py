"""`rowtune adapt`: what it writes, prints and refuses; nothing half-written."""

from __future__ import annotations

import json

import numpy as np
import pytest

import rowtune
from judged_texts import GOOD, KNOWN, texts_with_labels
from rowtune.adapt import training
from rowtune.adapt.ways import DROPPED, OURS, WAYS, WayRows


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A table as text with odd but legal numbers, and labelled texts in three formats."""
    monkeypatch.setattr(training, "ROUNDS", 2)
    rows = np.random.default_rng(0).standard_normal((len(KNOWN), 8)).astype(np.float32)
    rowtune.save(rowtune.Vectors(KNOWN, rows), tmp_path / "table.txt")
    text = (tmp_path / "table.txt").read_text().splitlines()
    text[0] = f"{KNOWN[0]} nan -0 1e0 +2.50 0x0 0 0 0".replace("0x0", "0.0")
    (tmp_path / "table.txt").write_text("\n".join(text) + "\n")
    own = texts_with_labels(60)
    rows = list(zip(own.texts, own.labels, strict=True))
    write_csv(tmp_path / "texts.csv", rows)
    lines = [json.dumps({"body": a, "stars": b}) for a, b in rows]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    return tmp_path


def write_csv(path, rows):
    path.write_text("text,label\n" + "".join(f"{a},{b}\n" for a, b in rows))


def names_in(folder):
    return {path.name for path in folder.iterdir()} - {"cache"}


def test_old_lines_stay_and_new_words_follow(command, files):
    done = command("adapt", "table.txt", "texts.csv", "-o", "out.txt", "--seeds", 1, "--json", "r")
    assert done.code == 0, done.err
    old, new = (files / "table.txt").read_bytes(), (files / "out.txt").read_bytes()
    assert new.startswith(old)
    added = [line.split()[0].decode() for line in new[len(old) :].splitlines()]
    assert len(added) == 6
    assert set(GOOD) < set(added)
    assert command("verify", "table.txt", "out.txt").code == 0
    assert "All 60 known rows are the same, bit for bit" in done.text
    assert "written: out.txt" in done.text
    result = json.loads((files / "r").read_text())
    assert set(result["ways"]) == set(WAYS)
    assert set(result["ours_minus"]) == set(WAYS) - {OURS}
    assert [each["word"] for each in result["written_words"]] == added
    assert result["frozen"]["identical"]
    assert result["frozen"]["sha256_before"] == result["frozen"]["sha256_after"]
    assert sum(result["texts"].values()) == 60


def test_without_out_only_the_comparison_is_printed(command, files):
    before = names_in(files)
    options = ("--text-column", "body", "--label-column", "stars", "--seeds", 2, "--json", "-")
    done = command("adapt", "table.txt", "texts.jsonl", *options)
    assert done.code == 0, done.err
    assert names_in(files) == before
    result = json.loads(done.out)
    assert len(result["ways"][DROPPED]["accuracy"]["by_seed"]) == 2
    assert result["written_words"] == []
    assert "ours minus" in done.err


def test_rows_left_out_are_said_and_a_test_file_is_the_test_part(command, files):
    with (files / "texts.csv").open("a") as file:
        file.write(",good\nsome text,\n")
    write_csv(files / "test.csv", [("ban zog", "good"), ("bar vox", "bad")] * 8)
    done = command(
        "adapt", "table.txt", "texts.csv", "--test", "test.csv", "--seeds", 1, "--json", "-"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["texts"]["test"] == 16
    assert "1 rows without a text were left out" in done.text
    assert "1 rows without a label were left out" in done.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["texts.csv", "--text-column", "body"], "no column 'body'; it has 'text', 'label'"),
        (["texts.csv", "-o", "texts.csv"], "texts.csv is read by this command"),
        (["texts.csv", "-o", "table.txt"], "table.txt is read by this command"),
        (["texts.csv", "--test", "t.csv", "--json", "t.csv"], "t.csv is read by this command"),
        (["texts.csv", "-o", "a.txt", "--json", "a.txt"], "a.txt is read by this command"),
        (["texts.csv", "-o", "out.xyz"], "out.xyz"),
        (["texts.csv", "--test", "texts.csv"], "texts.csv is the file that is trained on"),
        (["texts.csv", "-o", "no/out.txt"], "no such folder"),
        (["nothing.csv"], "no such file"),
        (["one.csv"], "all 60 texts have the label 'a'"),
        (["few.csv"], "2 texts with a label are too few"),
        (["texts.csv", "--test", "strange.csv"], "the label 'neutral' is not in texts.csv"),
        (["table.txt"], "the ending '.txt' says nothing of labelled texts"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(command, files, arguments, message):
    write_csv(files / "one.csv", [("ban", "a")] * 60)
    write_csv(files / "few.csv", [("ban", "a"), ("bar", "b")])
    write_csv(files / "strange.csv", [("ban", "neutral")] * 60)
    before = {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()}
    done = command("adapt", "table.txt", *arguments)
    assert done.code == 2
    assert message in done.text
    assert len(done.err.splitlines()) == 1
    after = {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()}
    assert after == before


def test_out_gets_no_name_where_the_proof_fails(command, files, monkeypatch):
    (files / "out.txt").write_text("mine")
    monkeypatch.setattr(WayRows, "hash_of_known", lambda self: "0" * 64)
    done = command("adapt", "table.txt", "texts.csv", "-o", "out.txt", "--seeds", 1)
    assert done.code == 1
    assert "CHANGED" in done.text
    assert (files / "out.txt").read_text() == "mine"


def test_a_file_that_lost_a_bit_gets_no_name(command, files, monkeypatch):
    from rowtune import vectors

    real = vectors.extend_file

    def damaging(source, table, words, rows, out, **options):
        real(source, table, words, rows, out, **options)
        out.write_bytes(out.read_bytes().replace(b"+2.50", b"+2.51", 1))

    monkeypatch.setattr(vectors, "extend_file", damaging)
    before = names_in(files)
    done = command("adapt", "table.txt", "texts.csv", "-o", "out.txt", "--seeds", 1)
    assert done.code == 1
    assert "not written" in done.text
    assert names_in(files) == before


def test_ctrl_c_leaves_nothing_half_written(command, files, monkeypatch):
    from rowtune import vectors

    real = vectors.extend_file

    def stopped(source, table, words, rows, out, **options):
        real(source, table, words, rows, out, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(vectors, "extend_file", stopped)
    before = names_in(files)
    done = command("adapt", "table.txt", "texts.csv", "-o", "out.txt", "--seeds", 1, "--json", "r")
    assert done.code == 130
    assert "no file is half-written" in done.text
    assert names_in(files) == before
