"""`rowtune convert`."""

from __future__ import annotations

import gzip
import itertools
import json

import numpy as np
import pytest

import rowtune
from rowtune.vectors import conversion, text_runs
from rowtune.vectors.beside import metadata_for

NAMES = ["a.txt", "a.vec", "a.bin", "a.npy", "a.safetensors", "a.txt.gz", "a.bin.gz"]


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(NAMES, 2)))
def test_any_into_any_keeps_words_order_and_bits(command, table, tmp_path, one, other):
    rows = np.array(table.matrix)
    rows[0, 0], rows[1, 1], rows[2, 2] = -0.0, 1 / 3, 1e-42
    rowtune.save(rowtune.Vectors(table.words, rows), tmp_path / one)
    (tmp_path / "out").mkdir()
    done = command("convert", one, f"out/{other}", "--json", "-")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["rows"], facts["dim"], facts["dtype"]) == (6, 3, "float32")
    assert facts["bytes"] == (tmp_path / "out" / other).stat().st_size
    back = rowtune.load(tmp_path / "out" / other, cache=False)
    assert list(back.words) == list(table.words)
    assert back.matrix.tobytes() == rows.tobytes()
    assert [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == []


def test_a_part_in_another_dtype(command, table, tmp_path):
    (tmp_path / "words.txt").write_text("\ufefffrog\r\nking\nFrogs\ntoad\n")
    done = command("convert", "before.vec", "out.safetensors", "--dtype", "float16", "--limit", "5",
                   "--words", "words.txt", "--json", "facts.json")  # fmt: skip
    assert done.code == 0, done.err
    assert "2 words not in the table: Frogs, toad" in done.text
    assert "2 rows x 3 float16" in done.text
    out = rowtune.load("out.safetensors", cache=False)
    assert list(out.words) == ["king", "frog"]  # in the order of the table
    assert out.matrix.dtype == np.float16
    assert (out.matrix == table.matrix[[0, 4]]).all()
    assert json.loads((tmp_path / "facts.json").read_text())["missing"] == ["Frogs", "toad"]


@pytest.mark.parametrize("limit", [1, 299, 300, 301, 5_000])
def test_runs_of_lines_join_without_a_seam(command, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(text_runs, "_RUN_BYTES", 5_000)
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((1000, 5)).astype(np.float32)
    words = [f"w {i}" if i % 50 == 7 else f"w{i}" for i in range(1000)]  # some need repair
    rowtune.save(rowtune.Vectors(words, rows), tmp_path / "many.vec")
    assert command("convert", "many.vec", "out.safetensors", "--limit", limit).code == 0
    out = rowtune.load("out.safetensors", cache=False)
    assert list(out.words) == words[:limit]
    assert out.matrix.tobytes() == rows[:limit].tobytes()


def test_damage_is_named_by_its_line_in_any_run(command, tmp_path, monkeypatch):
    monkeypatch.setattr(text_runs, "_RUN_BYTES", 64)
    lines = [f"w{i} 1 2 3" for i in range(100)]
    lines[56] = "w56 1 x 3"
    (tmp_path / "bad.vec").write_text("100 3\n" + "\n".join(lines) + "\n")
    (tmp_path / "out.npy").write_bytes(b"what was there")
    done = command("convert", "bad.vec", "out.npy")
    assert done.code == 2
    assert "bad.vec, line 58" in done.err
    lines[56:] = []
    (tmp_path / "bad.vec").write_text("100 3\n" + "\n".join(lines) + "\n")
    done = command("convert", "bad.vec", "out.npy")
    assert done.code == 2
    assert "promises 100 rows, but 56 follow" in done.err
    assert (tmp_path / "out.npy").read_bytes() == b"what was there"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.vec", "out.npy"]


def test_the_inputs_are_never_written(command, table, tmp_path):
    rowtune.save(table, tmp_path / "t.npy")
    (tmp_path / "link.vec").symlink_to("before.vec")
    (tmp_path / "list.words.txt").write_text("king\n")
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    for arguments in (
        ["before.vec", "before.vec"],
        ["before.vec", "./link.vec"],
        ["t.npy", "t.npy"],
        ["t.npy", "t.words.txt"],
        ["before.vec", "list.npy", "--words", "list.words.txt"],
        ["before.vec", "out.vec", "--json", "before.vec"],
    ):
        done = command("convert", *arguments)
        assert done.code == 2, arguments
        assert "is read by this command" in done.err, arguments
    assert {p: p.read_bytes() for p in before} == before


def test_values_that_do_not_fit_are_refused(command, table, tmp_path):
    rows = np.array(table.matrix)
    rows[3, 1] = 70_000
    rowtune.save(rowtune.Vectors(table.words, rows), tmp_path / "big.vec")
    done = command("convert", "big.vec", "half.npy", "--dtype", "float16")
    assert done.code == 2
    assert "the row of 'woman' has a value too large for float16" in done.err
    rows[3, 1] = np.inf  # was infinite before: nothing is lost
    rowtune.save(rowtune.Vectors(table.words, rows), tmp_path / "big.npy")
    assert command("convert", "big.npy", "half.npy", "--dtype", "float16").code == 0
    rowtune.save(rowtune.Vectors(table.words, rows.astype(np.float64)), tmp_path / "wide.npy")
    done = command("convert", "wide.npy", "out.bin")
    assert done.code == 2
    assert "--dtype float32" in done.err
    assert command("convert", "wide.npy", "out.bin", "--dtype", "float32").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["before.vec", "out.foo"], ".foo"),
        (["before.vec", "no/folder/out.vec"], "no/folder"),
        (["nowhere.vec", "out.vec"], "nowhere.vec"),
        (["before.vec", "out.vec", "--dtype", "int8"], "int8"),
        (["before.vec", "out.vec", "--words", "none.txt"], "no row to write"),
        (["before.vec", "out.vec", "--words", "absent.txt"], "absent.txt"),
    ],
)
def test_mistakes(command, table, tmp_path, arguments, said):
    (tmp_path / "none.txt").write_text("toad\n")
    done = command("convert", *arguments)
    assert done.code == 2
    assert said in done.err.replace("\n", "")
    assert not (tmp_path / "out.vec").exists()


def test_packed_text_is_packed_once(command, table, tmp_path):
    assert command("convert", "before.vec", "out.txt.gz").code == 0
    assert gzip.decompress((tmp_path / "out.txt.gz").read_bytes()).startswith(b"king 3 1 0\n")


def test_packed_text_is_mapped_not_held(command, table, tmp_path, monkeypatch):
    rowtune.save(table, tmp_path / "packed.txt.gz")
    seen = []

    def read_rows(source):
        data, layout = whole(source)
        seen.append(isinstance(data, np.memmap))
        return data, layout

    whole = conversion.read_rows
    monkeypatch.setattr(conversion, "read_rows", read_rows)
    assert command("convert", "packed.txt.gz", "out.npy").code == 0
    assert seen == [True]
    left = {"before.vec", "packed.txt.gz", "out.npy", "out.words.txt"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_the_words_of_a_projector_table_are_not_written_over(command, tmp_path):
    metadata = metadata_for(tmp_path / "out.tsv")
    np.save(tmp_path / "t.npy", np.eye(2, dtype=np.float32))
    metadata.write_text("a\nb\n")
    (tmp_path / "t.words.txt").symlink_to(metadata)
    done = command("convert", "t.npy", "out.tsv")
    assert done.code == 2
    assert "is read by this command" in done.err
    assert metadata.read_text() == "a\nb\n"
