"""`rowtune neighbors`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import rowtune


def test_the_order_and_the_cosines_are_those_of_a_plain_loop(command, tmp_path):
    rng = np.random.default_rng(3)
    words = [f"w{i}" for i in range(70_000)]
    rows = rng.standard_normal((len(words), 3)).astype(np.float16)
    rows[5], rows[6, 0] = 0, np.nan
    rowtune.save(rowtune.Vectors(words, rows), tmp_path / "v.safetensors")
    done = command("neighbors", "v.safetensors", "w69999", "w7", "-k", "4", "--json", "-")
    assert done.code == 0
    found = json.loads(done.out)["queries"]
    plain = rows.astype(np.float64)
    plain[6] = 0
    unit = plain / np.maximum(np.linalg.norm(plain, axis=1), 1e-12)[:, None]
    for query, own in zip(found, (69_999, 7), strict=True):
        cosines = unit @ unit[own]
        cosines[own] = -2
        best = np.argsort(-cosines)[:4]
        assert query["query"] == words[own]
        assert [near["word"] for near in query["neighbors"]] == [words[i] for i in best]
        assert np.allclose([near["cosine"] for near in query["neighbors"]], cosines[best])


@pytest.mark.parametrize("typed", [["king", "-", "man", "+", "woman"], ["king - man + woman"]])
def test_a_sum_of_words(command, table, typed):
    done = command("neighbors", "before.vec", *typed, "-k", "2", "--json", "-")
    (query,) = json.loads(done.out)["queries"]
    assert query["query"] == "king - man + woman"
    unit = table.matrix / np.linalg.norm(table.matrix, axis=1, keepdims=True)
    target = unit[0] - unit[2] + unit[3]
    cosines = unit @ target / np.linalg.norm(target)
    assert [near["word"] for near in query["neighbors"]] == ["queen", "frog"]
    assert np.allclose([near["cosine"] for near in query["neighbors"]], cosines[[1, 4]])


def test_a_sum_beside_a_word_and_a_table_that_is_smaller_than_k(command, table):
    done = command("neighbors", "before.vec", "king + woman", "frog")
    assert done.code == 0
    assert done.out.splitlines()[0].split() == ["king", "+", "woman", "cosine"]
    assert len(done.out.splitlines()) == (1 + 4) + (1 + 5)


def test_an_unknown_word_is_told_what_there_is(command, table, tmp_path):
    done = command("neighbors", "before.vec", "Queen", "frgo", "frog", "zzz", "--json", "near.json")
    assert done.code == 1
    assert "'Queen' is not among the 6 rows; the table has 'queen' (case differs)" in done.text
    assert "'frgo' is not among the 6 rows; spelled almost alike: frog" in done.text
    assert "`rowtune extend` learns a row" in done.text
    facts = json.loads((tmp_path / "near.json").read_text())
    assert [query["query"] for query in facts["queries"]] == ["frog"]
    assert [each["word"] for each in facts["unknown"]] == ["Queen", "frgo", "zzz"]


@pytest.mark.parametrize("word", ["fog", "frg", "froog", "fxog", "rfog", "frogg", "xfrog", "rog"])
def test_every_kind_of_slip_is_found(command, tmp_path, word):
    rowtune.save(rowtune.Vectors(["other", "frog", "x"], np.eye(3, dtype="f4")), tmp_path / "v.vec")
    done = command("neighbors", "v.vec", word)
    assert done.code == 1
    assert "spelled almost alike: frog" in done.text


def test_a_mark_is_a_word_where_it_is_no_sign(command, tmp_path):
    rowtune.save(rowtune.Vectors(["+", "-", "a"], np.eye(3, dtype="f4")), tmp_path / "v.vec")
    done = command("neighbors", "v.vec", "+", "-", "--json", "-")
    assert [query["query"] for query in json.loads(done.out)["queries"]] == ["+", "-"]
    done = command("neighbors", "v.vec", "a", "+", "-", "--json", "-")
    assert [query["query"] for query in json.loads(done.out)["queries"]] == ["a + -"]
    done = command("neighbors", "v.vec", "+", "a", "-", "--json", "-")
    assert [query["query"] for query in json.loads(done.out)["queries"]] == ["+", "a", "-"]
