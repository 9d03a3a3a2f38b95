"""What may join the blend, and when kernels take its place: planted signals and planted noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rowtune.learn import blend, choice
from rowtune.learn.candidates import OWN_SPACE, SKIP_GRAM
from rowtune.learn.choice import Known
from rowtune.learn.judge import ALIGNED, CONTEXTS_ONLY, OURS, every_method
from rowtune.learn.material import Material
from rowtune.learn.nearest import unit

WORDS, DIM = 600, 5
PARTS = (slice(0, 300), slice(300, 450), slice(450, 600))
BAND = (20, 300)


def noise(width, seed):
    return unit(np.random.default_rng(seed).standard_normal((WORDS, width)))


def known_of(candidates, target):
    counts = np.random.default_rng(3).integers(5, 900, WORDS)
    spelled = noise(DIM, 1)
    seen = np.log1p(counts)[:, None].astype(np.float32)
    # As `blend_inputs` has them: contexts, then spelling, then two columns of counts.
    inputs = np.hstack([noise(4, 2), spelled, seen, seen**2])
    return Known(Material(inputs, spelled, candidates), target, counts, BAND)


def chosen(candidates, target=None, table=None, seed=0, progress=lambda *_: None):
    target = noise(DIM, 0) if target is None else target
    table = target if table is None else table
    known = known_of(candidates, target)
    evidence = blend.Evidence(np.arange(WORDS), PARTS, None, known.material.spelled, target)
    true = np.arange(WORDS)[PARTS[1]]
    rng = np.random.default_rng(seed)
    return known, evidence, choice.choose(evidence, known, table, true, rng, progress)


def told(share):
    """Rows that know the answer, apart from some noise."""
    return unit(noise(DIM, 0) + np.float32(share) * noise(DIM, 9))


def bent():
    """An own space in which the direction decides the row, and no linear map of it does."""
    rng = np.random.default_rng(6)
    angle = rng.uniform(0, 2 * np.pi, WORDS)
    space = np.stack([np.cos(angle), np.sin(angle)], 1)
    target = np.zeros((WORDS, DIM))
    target[:, 0], target[:, 1] = np.cos(4 * angle), np.sin(4 * angle)
    return space.astype(np.float32), unit(target + 0.05 * rng.standard_normal(target.shape))


def test_a_candidate_that_knows_the_answer_joins_and_noise_does_not():
    _, _, ways = chosen({"told": told(0.3)})
    assert [way.name for way in ways] == ["blend + told", "blend"]
    assert ways[0].joined == ("told",) and ways[0].settings["inputs"] == "blend + told"
    assert ways[0].worth.mean() > ways[1].worth.mean() + 0.1
    _, _, ways = chosen({"noise": noise(DIM, 8)})
    assert [way.name for way in ways] == ["blend", "blend + noise"]


def test_candidates_are_tried_beside_those_that_have_joined():
    _, _, ways = chosen({"told": told(0.8), "noise": noise(DIM, 8), "more": told(0.1)})
    assert ways[0].name == "blend + told + more"
    assert {way.name for way in ways[1:]} == {"blend", "blend + told", "blend + told + noise"}


@pytest.mark.parametrize(("gain", "joins"), [(0.21, True), (0.19, False), (-0.5, False)])
def test_a_gain_counts_beyond_two_of_its_standard_errors(gain, joins):
    spread = np.random.default_rng(0).normal(0, 1, 100)
    spread = (spread - spread.mean()) / spread.std()
    before = np.random.default_rng(1).normal(0, 5, 100)
    assert choice._is_better(before + spread + gain, before) is joins
    assert not choice._is_better(before, before)


def test_kernels_win_where_no_linear_map_does_and_lose_on_noise():
    space, target = bent()
    _, _, ways = chosen({OWN_SPACE: space}, target)
    assert ways[0].name == f"kernels over blend + {OWN_SPACE}"
    assert ways[0].worth.mean() > ways[1].worth.mean() + 0.3
    assert len(ways) == 3 and ways[0].settings["penalty"] in choice._KERNEL_PENALTIES
    _, _, ways = chosen({OWN_SPACE: noise(8, 7)})
    assert ways[0].name == "blend"
    assert f"kernels over blend + {OWN_SPACE}" in {way.name for way in ways[1:]}


def test_kernels_stand_over_what_has_joined():
    space, target = bent()
    mixed = unit(target + 2 * np.roll(target, 1, 1))
    other = unit(np.roll(target, 1, 1) + 0.3 * noise(DIM, 9))
    _, _, ways = chosen({SKIP_GRAM: other, OWN_SPACE: space}, mixed)
    assert ways[0].name == f"kernels over blend + {SKIP_GRAM} + {OWN_SPACE}"
    assert ways[0].joined[0] == SKIP_GRAM


def test_without_the_own_space_there_are_no_kernels():
    for candidates in ({}, {SKIP_GRAM: noise(DIM, 8)}):
        _, _, ways = chosen(candidates)
        assert len(ways) == 1 + len(candidates)
        assert not any(way.name.startswith("kernels") for way in ways)


def test_landmarks_follow_the_seed_and_are_like_the_words_to_learn(monkeypatch):
    monkeypatch.setattr(choice, "LANDMARKS", 60)
    space, target = bent()
    bits = []
    for seed in (1, 1, 2):
        known, _, ways = chosen({OWN_SPACE: space}, target, seed=seed)
        assert ways[0].name.startswith("kernels")
        bits.append(ways[0].fit(known[PARTS[0]])(known[PARTS[2]].material).tobytes())
    assert bits[0] == bits[1] != bits[2]
    known.counts[:] = 10**7
    known.counts[100:200] = 50
    marks = choice._system(known, (), 1).landmarks
    expected = unit(space[100:200])
    alike = (marks.space @ expected.T).max(1)
    assert len(marks) == 60 and (alike > 1 - 1e-6).mean() > 0.9


def test_the_validation_words_alone_decide_and_the_test_words_are_not_looked_at():
    def ways_of(spoiled):
        target, own = noise(DIM, 0), told(0.3)
        target[spoiled], own[spoiled] = 1, -1
        ways = chosen({"told": own, OWN_SPACE: noise(6, 7)}, target, table=noise(DIM, 0))[2]
        return [(way.name, way.settings, way.worth.tobytes()) for way in ways]

    clean, tested, validated, trained = map(ways_of, (slice(0, 0), PARTS[2], PARTS[1], PARTS[0]))
    assert clean == tested
    assert clean not in (validated, trained)


def test_rows_lean_on_spelling_as_directions_by_the_chosen_amount():
    _, _, ways = chosen({})
    way = replace(ways[0], leaning=0.75)
    rows, spelled = 7 * noise(DIM, 4), 3 * noise(DIM, 5)
    np.testing.assert_allclose(
        way.rows(rows, spelled), unit(rows) + 0.75 * unit(spelled), atol=1e-6
    )


@pytest.mark.parametrize(("sign", "leans"), [(1, True), (-1, False)])
def test_the_leaning_is_the_one_that_brings_validation_words_back_best(sign, leans):
    known, evidence, _ = chosen({})
    known.material.spelled[:] = sign * told(0.3)
    goal, spelled = known.target[PARTS[1]], known.material.spelled[PARTS[1]]
    rows = unit(goal + noise(DIM, 4)[PARTS[1]])
    worth = []
    for leaning in choice._LEANINGS:
        tried = unit(unit(rows) + np.float32(leaning) * spelled)
        rank = (tried @ known.target.T > (tried * goal).sum(1)[:, None] + 1e-6).sum(1) + 1
        worth.append(((tried * goal).sum(1) - 0.01 * np.log(rank)).mean())
    trial = choice._Trial(evidence, known, known.target, np.arange(WORDS)[PARTS[1]])
    way = trial._with_leaning("", (), None, {}, rows)
    assert (way.leaning > 0) is leans
    assert way.leaning == choice._LEANINGS[int(np.argmax(worth))]
    assert way.settings["leaning on spelling"] == way.leaning
    assert way.worth.mean() == pytest.approx(max(worth), abs=1e-4)


def test_a_candidate_comes_with_its_length_and_its_direction():
    material = known_of({"one": 3 * noise(2, 5), "two": noise(4, 6)}, noise(DIM, 0)).material
    wide = material.beside(("two", "one"))
    expected = [material.base, noise(4, 6), noise(4, 6), 3 * noise(2, 5), noise(2, 5)]
    np.testing.assert_allclose(wide, np.hstack(expected), atol=1e-6)
    assert (
        material[PARTS[1]].beside(("one",)).tobytes()
        == material.beside(("one",))[PARTS[1]].tobytes()
    )


def test_every_way_is_judged_and_contexts_alone_see_no_spelling():
    known, evidence, ways = chosen({SKIP_GRAM: told(0.5), OWN_SPACE: noise(7, 7)})
    contexts = np.zeros((WORDS, 2, DIM), np.float32)
    held = blend.Contexts(contexts, np.ones((WORDS, 2), np.float32), np.ones(WORDS, np.int64))
    evidence = blend.Evidence(evidence.types, PARTS, held, evidence.spelled, evidence.target)
    mean = np.full(DIM, 0.1, np.float32)
    learned, predicted = every_method(evidence, known, ways, mean, np.random.default_rng(0))
    assert {OURS, CONTEXTS_ONLY, ALIGNED, SKIP_GRAM} <= set(learned)
    assert {way.name for way in ways[1:]} <= set(learned) and ways[0].name not in learned
    assert all(rows.shape == (150, DIM) for rows in learned.values())
    refit = ways[0].fit(known[PARTS[0]])(known[PARTS[2]].material)
    assert predicted.tobytes() == refit.tobytes()
    np.testing.assert_array_equal(
        learned[OURS], ways[0].rows(refit, known.material.spelled[PARTS[2]])
    )
    known.material.spelled[:] = known.material.base[:, 4 : 4 + DIM] = 3
    again, _ = every_method(evidence, known, ways, mean, np.random.default_rng(0))
    assert again[CONTEXTS_ONLY].tobytes() == learned[CONTEXTS_ONLY].tobytes()
    assert again[OURS].tobytes() != learned[OURS].tobytes()


def test_progress_ends_at_its_total():
    calls = []
    chosen({OWN_SPACE: noise(6, 7)}, progress=lambda *call: calls.append(call))
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
