"""The summary is what `--json` prints: its keys are a promise, its values plain."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rowtune.learn.result import FreezeProof, Score
from rowtune.report.summary import summary


def test_it_has_the_promised_keys(case):
    plain = summary(case.extension)
    assert plain["new_words"] == 30
    assert plain["frozen"] == {
        "rows": 90,
        "sha256_before": "ab" * 32,
        "sha256_after": "ab" * 32,
        "identical": True,
    }
    assert plain["pretend_oov"]["rowtune"] == {
        "cosine": pytest.approx(0.45),
        "median_rank": 8.5,
        "overlap10": pytest.approx(0.03),
    }
    assert set(plain["pretend_oov"]) == {"random", "context mean", "a la carte", "rowtune"}
    assert plain["held_out"] == 60
    assert plain["coverage"]["tokens_after"] == 4800
    assert plain["settings"] == {"window": 5, "ridge": 0.5, "ngrams": [3, 4, 5], "off": None}
    assert plain["seconds"] == {"read": 0.25, "learn": 1.5}
    assert plain["notes"] == ["Two words were <rare>."]


def test_it_tells_every_word_with_its_facts(case):
    words = summary(case.extension)["words"]
    assert len(words) == 30
    second, source = words[1], case.extension.new_words[1]
    assert second == {
        "word": "$x_1$",
        "count": 999,
        "contexts": 899,
        "lacking": "case",
        "known_form": "old0",
        "neighbours": [list(pair) for pair in source.neighbours],
        "confidence": None,
        "confidence_level": None,
        "excerpts": [],
    }


def test_json_takes_it_and_any_reader_can_read_it_back(case):
    plain = summary(case.extension)
    text = json.dumps(plain, allow_nan=False, ensure_ascii=False)
    assert json.loads(text.encode("utf-8")) == plain  # lone surrogates would not encode
    assert "caf\ufffd" in text


def test_changed_rows_are_not_called_identical(case):
    changed = replace(case.extension, frozen=FreezeProof(90, "ab" * 32, "cd" * 32))
    assert summary(changed)["frozen"]["identical"] is False


def test_nan_becomes_null(case):
    strange = replace(case.extension, pretend_oov={"rowtune": Score(float("nan"), 1.0, 0.0)})
    assert summary(strange)["pretend_oov"]["rowtune"]["cosine"] is None


def test_parts_confidence_excerpts_and_provenance(full):
    plain = summary(full.extension, command="rowtune extend a b -o c")
    json.dumps(plain, allow_nan=False)
    assert len(plain["parts"]) == 4 * 6
    part = next(p for p in plain["parts"] if (p["part"], p["method"]) == ("all", "rowtune"))
    assert part == {
        "part": "all",
        "method": "rowtune",
        "words": 60,
        "cosine": pytest.approx(0.45),
        "median_rank": 8.5,
        "overlap10": pytest.approx(0.03),
        "cosine_interval": [pytest.approx(0.35), pytest.approx(0.55)],
        "median_rank_interval": [pytest.approx(6.8), pytest.approx(10.2)],
        "overlap10_interval": [0.0, 0.05],
    }
    levels = [(word["confidence"], word["confidence_level"]) for word in plain["words"][:4]]
    assert levels == [(0.71, "high"), (0.55, "medium"), (0.31, "low"), (None, None)]
    assert plain["words"][0]["excerpts"] == list(full.extension.new_words[0].excerpts)
    assert plain["corpus_sha256"] == "ef" * 32
    assert plain["provenance"]["command"] == "rowtune extend a b -o c"
    assert {"rowtune", "Python", "NumPy", "numba", "machine"} < set(plain["provenance"])


def test_what_nobody_measured_is_null_or_empty(case):
    plain = summary(case.extension)
    assert plain["parts"] == []
    assert plain["corpus_sha256"] is None
    assert "command" not in plain["provenance"]
