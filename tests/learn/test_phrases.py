from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowtune.learn import phrases, stream
from rowtune.learn.survey import survey
from rowtune.vectors import Vectors

FILLER = [f"{a}{b}{c}" for a in "bdgkl" for b in "aeiou" for c in "nrst"]  # 100 words
# First what is no part of a phrase, wherever it stands, then what is none where it is frequent.
TABLE = ["the", "of", *[f"x{i}" for i in range(298)], *FILLER, "event", "loop", "new", "york"]


def table(*more):
    words = [*TABLE, *more]
    return Vectors(words, np.random.default_rng(0).standard_normal((len(words), 8)))


def text(times=20, seed=0):
    """Filler, with some pairs that always stand together."""
    rng = np.random.default_rng(seed)
    said = []
    for _ in range(times):
        for pair in ("event loop", "new york times", "of the"):
            said += [*rng.choice(FILLER, 60), pair]
    return " ".join(said)


def found(said, vectors, **options):
    return survey(vectors, [[said]], 5, None, phrases=True, **options)


def read(said):
    return stream.read([[document] for document in said.split("|")], True)


def unread(settled):
    return " ".join("|" if i < 0 else settled.types[i] for i in settled.ids[:-1])


def test_a_run_becomes_one_type_the_longest_first_and_never_across_documents():
    said = read("a b c a b d b c|a b|c a c")
    number = {token: i for i, token in enumerate(said.types)}
    names = {"a b": "ab", "a b c": "abc", "c a": "ca"}
    runs = {tuple(number[part] for part in run.split()): name for run, name in names.items()}
    joined = stream.join(said, runs)
    assert unread(joined) == "abc ab d b c | ab | ca c"
    assert joined.counts.tolist() == [unread(joined).split().count(t) for t in joined.types]


@given(
    st.lists(st.sampled_from("abc|"), min_size=1, max_size=60).map(" ".join),
    st.dictionaries(st.text("abc", min_size=2, max_size=4), st.just(0), min_size=1, max_size=4),
    st.integers(1, 9),
)
def test_joining_in_small_blocks_is_what_a_plain_loop_does(said, wanted, block):
    source = read(said)
    number = {token: i for i, token in enumerate(source.types)}
    runs = {
        tuple(number[part] for part in run): "".join(run).upper()
        for run in wanted
        if all(part in number for part in run)
    }
    expected = []
    for document in said.split("|"):
        parts, at = document.split(), 0
        while at < len(parts):
            fits = [r for r in runs if [source.types[i] for i in r] == parts[at : at + len(r)]]
            best = max(fits, key=len, default=None)
            expected.append(runs[best] if best else parts[at])
            at += len(best or "x")
        expected.append("|")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_BLOCK", block)
        joined = stream.join(source, runs)
    assert unread(joined).split() == expected[:-1]


def test_pairs_are_those_whose_score_a_plain_count_finds():
    said = read(text(15) + "|" + text(15, seed=1))
    counts = dict(zip(said.types, said.counts.tolist(), strict=True))
    seen = Counter()
    for a, b in pairwise(said.ids.tolist()):
        if a >= 0 and b >= 0:
            seen[a, b] += 1
    total = sum(counts.values())
    for threshold in (2.0, 10.0):
        expected = sorted(
            (a, b)
            for (a, b), n in seen.items()
            if (n - 3) * total > threshold * said.counts[a] * said.counts[b]
        )
        assert len(expected) > 3
        for block, size in ((1 << 20, 1 << 16), (5, 2)):  # a sieve of two counters tells nothing
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(phrases, "_BLOCK", block)
                patch.setattr(phrases, "_FEWEST", size)
                patch.setattr(phrases, "_MOST", size)
                assert phrases._pairs(said, said.counts, 3, threshold) == expected


def test_words_that_stand_together_are_one_new_word_and_function_words_are_not():
    told = found(text(), table())
    new = {told.types[i]: int(told.counts[i]) for i in told.new.tolist()}
    assert new == {"event_loop": 20, "new_york_times": 20}
    assert dict(zip(told.types, told.width.tolist(), strict=True))["new_york_times"] == 3
    assert "of_the" not in told.types
    assert "of" in told.types
    # Not even where they are rare.
    assert "of_the" not in found(text() + " zork" * 20_000, table()).types
    # Without its place among the first of the table, "of the" is as much a phrase as the others.
    last = [*TABLE[2:], "x", "y", "of", "the"]
    assert "of_the" in found(text(), Vectors(last, np.ones((len(last), 2)))).types


def test_what_a_text_is_full_of_and_every_text_too_is_no_part_of_a_phrase():
    for place, joined in ((100, False), (400, True)):
        words = [*TABLE[:place], "bund", *TABLE[place:]]
        told = found(text().replace("event", "bund"), Vectors(words, np.ones((len(words), 2))))
        assert ("bund_loop" in told.types) is joined
    # A text that is not full of it has it in its phrases.
    words = [*TABLE[:100], "bund", *TABLE[100:]]
    said = text().replace("event", "bund") + " zork" * 7000
    assert "bund_loop" in found(said, Vectors(words, np.ones((len(words), 2)))).types


def test_four_words_join_in_two_passes_and_clitics_and_letters_never_do():
    said = text().replace("event loop", "don't method resolution order error q loop")
    told = found(said, table())
    assert "method_resolution_order_error" in told.types
    assert {"n't", "do", "q", "loop"} <= set(told.types)


@pytest.mark.parametrize("form", ["event_loop", "event-loop"])
def test_a_phrase_that_the_table_knows_is_known(form):
    vectors = table(form)
    told = found(text(), vectors)
    place = told.types.index(form)
    assert told.row[place] == len(vectors) - 1
    assert place in told.known
    assert place not in told.new
    assert "2 phrases were joined, 1 of them known to the table" in told.notes[0]


def test_a_name_in_the_text_with_the_letters_of_a_phrase_is_a_word():
    told = found(text() + " event_loop" * 6, table())
    assert told.counts[told.types.index("event_loop")] == 26
    assert told.width[told.types.index("event_loop")] == 1


def test_coverage_counts_the_words_of_the_text_phrases_or_not():
    vectors = Vectors([w for w in TABLE if w != "loop"], np.ones((len(TABLE) - 1, 2)))
    said = text() + " zork" * 3
    plain = survey(vectors, [[said]], 5, None).coverage()
    joined = found(said, vectors).coverage()
    assert (joined.types, joined.tokens) == (plain.types, plain.tokens)
    assert joined.tokens_before == plain.tokens_before == plain.tokens - 43
    assert joined.tokens_after == plain.tokens_after == plain.tokens - 3
    # "loop" and "times" have no row of their own: they only occur in phrases, which have one.
    assert plain.types_after - plain.types_before == 2
    assert joined.types_after == joined.types_before == plain.types_before


def test_words_asked_for_stay_whole_and_phrases_come_on_top():
    told = survey(table(), [[text()]], 5, ["loop"], phrases=True)
    assert [told.types[i] for i in told.new.tolist()] == ["new_york_times"]
    short = Vectors([w for w in TABLE if w != "loop"], np.ones((len(TABLE) - 1, 2)))
    told = survey(short, [[text()]], 5, ["loop"], phrases=True)
    assert {told.types[i] for i in told.new.tolist()} == {"loop", "new_york_times"}
