"""Skip-gram: the compiled walks against plain loops, and what they must and must not move."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rowtune.kernels import threads
from rowtune.learn import skipgram_kernels as kernels
from rowtune.learn.nearest import unit
from rowtune.learn.negatives import aliases
from rowtune.learn.skipgram import PARTS, Settings, SkipGram, padded, seed_of

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15
f32 = np.float32


def mixed(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def plain_thin(ids, keep, seed):
    out = []
    for t, token in enumerate(ids):
        drawn = mixed((seed + (t + 1) * GAMMA) & MASK) >> 32
        if token < 0 or drawn < int(keep[token]):
            out.append(int(token))
    return out


def plain_push(moving, frozen, label, squares, at, rate, table):
    score = min(max(kernels.dot(moving, frozen), f32(-8)), f32(8))
    error = f32(label) - table[min(int((score + f32(8)) * f32(256)), 4095)]
    squares[at] += error * error
    moving += rate * error / np.sqrt(squares[at]) * frozen


def plain_window(ids, t, window, seed):
    reach = 1 + (((mixed((seed + t * GAMMA) & MASK) >> 32) * window) >> 32)
    for side in (-1, 1):
        for step in range(1, reach + 1):
            at = t + side * step
            if not 0 <= at < len(ids) or ids[at] < 0:
                break
            if ids[at] != ids[t]:
                yield ids[at]


def plain_draw(state, by, begin, end):
    bits = mixed(state)
    cell = begin + (((bits >> 32) * (end - begin)) >> 32)
    return cell if bits & 0xFFFFFFFF < int(by.bar[cell]) else int(by.other[cell])


def plain_contexts(model, types, rows):
    """What `SkipGram.fit_contexts` says it does, one part after the other."""
    s, frozen = model.settings, padded(rows)
    row_of = {int(c): i for i, c in enumerate(types)}
    contexts = np.zeros((len(model.parts.bar), frozen.shape[1]), f32)
    squares = np.zeros(len(contexts), f32)
    for begin in range(0, len(model.stream), s.block):
        seed = int(seed_of(model.seed, 1, 0, begin))
        ids = plain_thin(model.stream[begin : begin + s.block], model._keep, seed)
        for part in range(PARTS):
            first, last = model.parts.edges[part : part + 2].tolist()
            state, owed = mixed((seed + part + 1) & MASK), 0.0
            for t, token in enumerate(ids):
                if token not in row_of:
                    continue
                row, found = frozen[row_of[token]], 0
                for other in plain_window(ids, t, s.window, seed):
                    c = model.slot[other]
                    if c >= 0:
                        found += 1
                        if first <= c < last:
                            plain_push(contexts[c], row, 1, squares, c, f32(s.rate), model.table)
                owed += found * s.negatives * float(model.parts.share[part])
                while owed >= 1:
                    owed -= 1
                    state = (state + GAMMA) & MASK
                    c = plain_draw(state, model.parts, first, last)
                    plain_push(contexts[c], row, 0, squares, c, f32(s.rate), model.table)
    return contexts


def plain_rows(model, contexts, types, dim):
    """What `SkipGram.fit_rows` says it does, one target after the other within a part."""
    s, rows = model.settings, padded(np.zeros((len(types), dim), f32))
    squares = np.zeros(len(rows), f32)
    slot_of = {int(c): i for i, c in enumerate(types)}
    for begin in range(0, len(model.stream), s.block):
        seed = int(seed_of(model.seed, 2, 0, begin))
        ids = plain_thin(model.stream[begin : begin + s.block], model._keep, seed)
        for part in range(PARTS):
            state = mixed((seed + part + 1) & MASK)
            for t, token in enumerate(ids):
                target = slot_of.get(token, -1)
                if target < 0 or target % PARTS != part:
                    continue
                move = (rows[target], squares, target, f32(s.rate), model.table)
                for other in plain_window(ids, t, s.window, seed):
                    if model.slot[other] < 0:
                        continue
                    plain_push(move[0], contexts.rows[model.slot[other]], 1, *move[1:])
                    for _ in range(s.negatives):
                        state = (state + GAMMA) & MASK
                        c = plain_draw(state, model.whole, 0, len(model.slot[model.slot >= 0]))
                        plain_push(move[0], contexts.rows[c], 0, *move[1:])
    return rows[:, :dim]


def example(**settings):
    rng = np.random.default_rng(3)
    types, dim = 40, 10
    ids = np.minimum(rng.zipf(1.3, 2500) - 1, types + 10).astype(np.int32)
    ids[ids >= types] = -1
    counts = np.bincount(ids[ids >= 0], minlength=types)
    known = np.arange(0, types, 2)
    rows = unit(rng.standard_normal((len(known), dim)))
    chosen = Settings(**{"sample": 3e-2, "block": 1000, **settings})
    return SkipGram(ids, counts, 5, chosen, seed=11), known, rows


def test_contexts_have_the_bits_that_plain_loops_give():
    model, known, rows = example(window=4, negatives=3)
    fitted = model.fit_contexts(known, rows)
    assert np.abs(fitted.rows).max() > 0.1
    assert fitted.rows.tobytes() == plain_contexts(model, known, rows).tobytes()


def test_rows_have_the_bits_that_plain_loops_give():
    model, known, rows = example(window=3, negatives=2)
    contexts = model.fit_contexts(known, rows)
    targets = np.array([1, 3, 4, 25])
    fitted = model.fit_rows(contexts, targets, 10)
    assert np.abs(fitted).max() > 0.1
    assert fitted.tobytes() == plain_rows(model, contexts, targets, 10).tobytes()


def test_the_same_bits_on_one_thread_and_three():
    outcomes, before = [], threads.get_num_threads()
    for number in (1, 3):
        threads.set_num_threads(number)
        model, known, rows = example()
        contexts = model.fit_contexts(known, rows)
        fitted = model.fit_rows(contexts, np.arange(40), 10)
        outcomes.append(
            (contexts.rows.tobytes(), fitted.tobytes(), model.train(known, 7).tobytes())
        )
    threads.set_num_threads(before)
    assert outcomes[0] == outcomes[1]


def test_a_seed_decides_the_bits():
    model, known, rows = example()
    again, _, _ = example()
    other = SkipGram(model.stream, model.counts, 5, model.settings, seed=12)
    one, two, three = (m.fit_contexts(known, rows).rows.tobytes() for m in (model, again, other))
    assert one == two != three


def test_the_frozen_side_never_moves_and_hidden_words_are_no_centres():
    model, known, rows = example()
    before = rows.tobytes()
    contexts = model.fit_contexts(known, rows)
    kept = contexts.rows.tobytes()
    model.fit_rows(contexts, np.arange(40), 10)
    assert rows.tobytes() == before
    assert contexts.rows.tobytes() == kept
    spoiled = rows.copy()
    spoiled[3:] = 1e3  # rows of words that are left out
    fit, again = (model.fit_contexts(known[:3], r[:3]).rows for r in (rows, spoiled))
    assert fit.tobytes() == again.tobytes()


def test_a_word_whose_row_was_hidden_comes_back_near_its_likes():
    """Words of two topics; the row learned for a hidden word points to its own topic."""
    rng = np.random.default_rng(1)
    topic = np.repeat([0, 1], 30)
    lines = [np.append(rng.choice(np.flatnonzero(topic == k % 2), 12), -1) for k in range(600)]
    ids = np.concatenate(lines).astype(np.int32)
    counts = np.bincount(ids[ids >= 0], minlength=60)
    middle = rng.standard_normal((2, 8))
    rows = unit(middle[topic] + 0.2 * rng.standard_normal((60, 8)))
    hidden = np.array([4, 17, 33, 50])
    known = np.setdiff1d(np.arange(60), hidden)
    model = SkipGram(ids, counts, 1, Settings(sample=0))
    learned = unit(model.fit_rows(model.fit_contexts(known, rows[known]), hidden, 8))
    score = learned @ unit(np.array([rows[known][topic[known] == k].mean(0) for k in (0, 1)])).T
    assert score.argmax(1).tolist() == topic[hidden].tolist()
    space = unit(model.train(np.arange(60), 8, epochs=5))
    similar = space @ space.T
    assert similar[:30, :30].mean() > similar[:30, 30:].mean() + 0.3


def test_aliases_draw_by_the_power_of_the_count_within_each_part():
    counts = np.array([1, 50, 3, 900, 20, 20, 1000])
    by = aliases(counts, np.array([0, 4, 7]))
    mass = counts**0.75
    np.testing.assert_allclose(by.share, [mass[:4].sum() / mass.sum(), mass[4:].sum() / mass.sum()])
    for begin, end in ((0, 4), (4, 7)):
        chance = np.zeros(7)
        for cell in range(begin, end):
            own = int(by.bar[cell]) / 2**32
            chance[cell] += own / (end - begin)
            chance[by.other[cell]] += (1 - own) / (end - begin)
        np.testing.assert_allclose(chance[begin:end], mass[begin:end] / mass[begin:end].sum())
        drawn = [
            kernels.draw(np.uint64(seed_of(5, i)), by.bar, by.other, begin, end)
            for i in range(2000)
        ]
        seen = np.bincount(drawn, minlength=7)[begin:end] / 2000
        np.testing.assert_allclose(seen, mass[begin:end] / mass[begin:end].sum(), atol=0.04)


def test_thinning_keeps_breaks_and_rare_words_and_the_share_of_word2vec():
    ids = np.tile(np.array([0, 0, 0, 1, -1], np.int32), 20_000)
    ids[7] = 2
    counts = np.bincount(ids[ids >= 0], minlength=3)
    model = SkipGram(ids, counts, 1, Settings(sample=0.05))
    thinned = kernels.thin(ids, model._keep, np.uint64(1))
    left = np.bincount(thinned + 1, minlength=4)
    ratio = 0.05 * counts.sum() / counts[0]
    assert left[0] == 20_000 and left[3] == 1
    assert left[1] / counts[0] == pytest.approx(math.sqrt(ratio) + ratio, abs=0.01)


def test_the_sigmoid_table_is_the_sigmoid():
    table = kernels.sigmoid_table()
    x = -8 + (np.arange(4096) + 0.5) / 256
    np.testing.assert_allclose(table, 1 / (1 + np.exp(-x)), rtol=1e-5)


def test_progress_counts_all_tokens():
    calls = []
    model, known, rows = example()
    model.progress = lambda done, total: calls.append((done, total))
    model.fit_contexts(known, rows, epochs=2)
    assert calls[-1] == (5000, 5000) and len(calls) == 6
