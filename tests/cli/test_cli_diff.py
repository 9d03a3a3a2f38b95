"""`rowtune diff`."""

from __future__ import annotations

import json

import numpy as np

import rowtune


def save(words, rows, path, dtype=np.float32):
    rowtune.save(rowtune.Vectors(words, np.asarray(rows, dtype)), path)


def test_the_same_is_0(command, table, tmp_path):
    rowtune.save(table, tmp_path / "after.npy")
    done = command("diff", "before.vec", "after.npy", "--json", "-")
    assert done.code == 0
    facts = json.loads(done.out)
    assert facts["same"] is True
    assert facts["common"] == 6
    assert facts["added"] == facts["removed"] == facts["moved"] == []


def test_what_moved_and_how_far(command, table, tmp_path):
    rows = np.array(table.matrix)
    rows[0] = [1, 3, 0]  # by an angle of cosine 0.6
    rows[4] = [0, 0, 2.5]  # longer, the same direction
    rows[5] = [0, 0, 0]
    save([*table.words, "toad"], [*rows, [1, 1, 1]], tmp_path / "after.vec")
    done = command("diff", "before.vec", "after.vec", "--json", "diff.json", "--top", "2")
    assert done.code == 1
    facts = json.loads((tmp_path / "diff.json").read_text())
    assert (facts["same"], facts["reordered"]) == (False, False)
    assert (facts["added"], facts["removed"]) == (["toad"], [])
    assert [moved["word"] for moved in facts["moved"]] == ["Frogs", "king", "frog"]
    assert facts["moved"][0]["cosine"] is None  # a row of zeros has no direction
    assert np.isclose(facts["moved"][1]["cosine"], 0.6)
    assert np.isclose(facts["moved"][2]["cosine"], 1)
    assert [moved["largest"] for moved in facts["moved"]] == [4, 2, 0.5]
    assert "added: 1 row: toad" in done.text
    assert "moved: 3 rows of 6" in done.text
    assert "unchanged: 3 rows" in done.text
    assert "king 0 0 0.6000 2" in done.text
    assert "frog 4 4" not in done.text, "--top 2 shows two"


def test_bits_count_not_values(command, tmp_path):
    save(["a", "b"], [[0.0, 1], [np.nan, 2]], tmp_path / "a.npy")
    save(["a", "b"], [[0.0, 1], [np.nan, 2]], tmp_path / "b.npy")
    assert command("diff", "a.npy", "b.npy").code == 0
    save(["a", "b"], [[-0.0, 1], [np.nan, 2]], tmp_path / "b.npy")
    done = command("diff", "a.npy", "b.npy", "--json", "-")
    assert done.code == 1
    assert [moved["word"] for moved in json.loads(done.out)["moved"]] == ["a"]


def test_order_removal_and_dtype_are_differences(command, table, tmp_path):
    turned = np.array([0, 2, 1, 3, 4, 5])
    save([table.words[i] for i in turned], table.matrix[turned], tmp_path / "turned.vec")
    done = command("diff", "before.vec", "turned.vec", "--json", "-")
    assert done.code == 1
    assert json.loads(done.out)["reordered"] is True
    assert json.loads(done.out)["moved"] == []
    save(table.words[:5], table.matrix[:5], tmp_path / "short.vec")
    done = command("diff", "before.vec", "short.vec")
    assert done.code == 1
    assert "removed: 1 row: Frogs" in done.text
    save(table.words, table.matrix, tmp_path / "wide.npy", np.float64)
    done = command("diff", "before.vec", "wide.npy", "--json", "-")
    assert done.code == 1  # the same values but for what they are stored in
    assert json.loads(done.out)["moved"] == []
    assert "values are float64 and were float32" in done.text


def test_a_word_with_two_rows_is_compared_row_by_row(command, tmp_path):
    save(["a", "b", "a"], [[1, 0], [2, 0], [3, 0]], tmp_path / "a.vec")
    save(["b", "a", "a"], [[2, 0], [1, 0], [4, 0]], tmp_path / "b.vec")
    facts = json.loads(command("diff", "a.vec", "b.vec", "--json", "-").out)
    assert [(m["row_before"], m["row_after"]) for m in facts["moved"]] == [(2, 2)]


def test_trouble_is_2(command, table, tmp_path):
    save(["a"], [[1, 2]], tmp_path / "narrow.vec")
    for after, said in (("narrow.vec", "3 values before and of 2 after"), ("no.vec", "no.vec")):
        done = command("diff", "before.vec", after)
        assert done.code == 2
        assert said in done.err
