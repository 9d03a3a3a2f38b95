"""`rowtune info`."""

from __future__ import annotations

import hashlib
import json

import numpy as np

import rowtune


def test_what_is_odd_is_counted(command, tmp_path):
    rng = np.random.default_rng(0)
    words = ["the", "The", "THE", "tHe", "the", "in 5", "caf\udce9", "</s>", "<unk>", "7"]
    words += [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(240)]
    rows = rng.standard_normal((250, 4)).astype(np.float32)
    rows[3], rows[5, 1], rows[6, 2] = 0, np.nan, np.inf
    rows[100:] *= 10
    rowtune.save(rowtune.Vectors(words, rows), tmp_path / "odd.npy")
    done = command("info", "odd.npy", "--json", "-")
    assert done.code == 0
    facts = json.loads(done.out)
    assert (facts["rows"], facts["words"], facts["dim"]) == (250, 249, 4)
    assert (facts["dtype"], facts["format"]) == ("float32", ".npy")
    assert facts["repeated"] == ["the"]
    assert (facts["zero_rows"], facts["not_finite_rows"]) == ([3], [5, 6])
    assert facts["case"] == {"lower": 246, "capitalized": 1, "upper": 1, "mixed": 1}
    assert (facts["with_digit"], facts["with_space"], facts["not_text"]) == (2, 1, 1)
    assert facts["markers"] == ["<unk>", "</s>"]
    assert facts["sha256"] == hashlib.sha256(rows.tobytes()).hexdigest()
    assert facts["lower_case_text"] is False
    assert [(band["first"], band["last"]) for band in facts["bands"]] == [(1, 100), (101, 250)]
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    first, second = facts["bands"]
    assert np.isclose(second["median"], np.median(norms[100:]))
    assert np.isclose(first["low"], np.quantile(norms[:100][np.isfinite(norms[:100])], 0.05))


def test_it_is_said_in_words(command, table, tmp_path):
    rows = np.vstack([table.matrix, [[0, 0, 0]]]).astype(np.float32)
    rowtune.save(rowtune.Vectors([*table.words, "king"], rows), tmp_path / "a.txt.gz")
    done = command("info", "a.txt.gz")
    assert done.code == 0
    assert "a.txt.gz: 7 rows x 3 float32, GloVe text, gz" in done.text
    assert "repeated 1 word: king" in done.text
    assert "zero rows 1 (row 7, counted from 1)" in done.text
    assert "text is taken as it is" in done.text
    for name, kind in (("b.vec", "word2vec text"), ("b.bin", "word2vec binary")):
        rowtune.save(table, tmp_path / name)
        assert f"6 rows x 3 float32, {kind}" in command("info", name).text


def test_the_fingerprint_is_the_one_of_patches(command, table, tmp_path):
    facts = json.loads(command("info", "before.vec", "--json", "-").out)
    chosen = rowtune.Table(np.array(table.matrix), train=[1, 4])
    chosen.save_patch(tmp_path / "rows.safetensors")
    done = command("info", "rows.safetensors", "--json", "rows.json")
    assert done.code == 0
    about = json.loads((tmp_path / "rows.json").read_text())
    assert about["format"] == "patch"
    assert about["tables"]["table"]["base"] == facts["fingerprint"]
    assert about["tables"]["table"]["ids"] == [1, 4]
    assert "2 rows of 6 x 3 float32" in done.text


def test_a_damaged_patch_is_no_table(command, table, tmp_path):
    chosen = rowtune.Table(np.array(table.matrix), train=[1, 4])
    chosen.save_patch(tmp_path / "rows.safetensors")
    data = bytearray((tmp_path / "rows.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "rows.safetensors").write_bytes(data)
    done = command("info", "rows.safetensors")
    assert done.code == 2
    assert "damaged" in done.err


def test_a_table_without_rows(command, tmp_path):
    (tmp_path / "none.vec").write_text("0 5\n")
    done = command("info", "none.vec", "--json", "-")
    assert json.loads(done.out)["bands"] == []
