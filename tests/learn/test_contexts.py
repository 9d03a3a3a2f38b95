from __future__ import annotations

import numpy as np

from rowtune.kernels import threads
from rowtune.learn.contexts import gather
from rowtune.learn.features import buckets


def naive(ids, slots, targets, rows, weights, bucket):
    window = len(bucket) // 2
    sums = np.zeros((targets, bucket.max() + 1, rows.shape[1]))
    mass = np.zeros(sums.shape[:2])
    seen = np.zeros(targets, int)
    for t, centre in enumerate(ids):
        if centre < 0 or slots[centre] < 0:
            continue
        around = []
        for side in (-1, 1):
            for step in range(1, window + 1):
                at = t + side * step
                if not 0 <= at < len(ids) or ids[at] < 0:
                    break
                if ids[at] != centre and weights[ids[at]] > 0 and bucket[window + side * step] >= 0:
                    around.append((ids[at], bucket[window + side * step]))
        for other, b in around:
            sums[slots[centre], b] += weights[other] * rows[other]
            mass[slots[centre], b] += weights[other]
        seen[slots[centre]] += bool(around)
    return sums, mass, seen


def example():
    rng = np.random.default_rng(0)
    ids = rng.integers(-1, 20, 3000).astype(np.int32)
    slots = np.full(20, -1, np.int32)
    slots[[3, 7, 11, 19]] = [0, 1, 2, 3]
    rows = rng.standard_normal((20, 5)).astype(np.float32)
    weights = rng.random(20).astype(np.float32)
    weights[[2, 7]] = 0
    return ids, slots, 4, rows, weights


def test_the_kernel_equals_plain_loops():
    for window in (1, 2, 4, 10):
        found = gather(*example(), buckets(window))
        sums, mass, seen = naive(*example(), buckets(window))
        width = found.sums.shape[1]
        np.testing.assert_allclose(found.sums, sums[:, :width], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.mass, mass[:, :width], rtol=1e-5)
        np.testing.assert_array_equal(found.seen, seen)


def test_same_bits_on_one_thread_and_three():
    one, three, before = [], [], threads.get_num_threads()
    for number, results in ((1, one), (3, three)):
        threads.set_num_threads(number)
        results.append(gather(*example(), buckets(5)))
    threads.set_num_threads(before)
    assert one[0].sums.tobytes() == three[0].sums.tobytes()


def test_buckets_keep_left_and_right_apart():
    assert buckets(6).tolist() == [3, 2, 2, 2, 1, 0, -1, 4, 5, 6, 6, 6, 7]
