"""`Table`: lookups, updates, the scatter verbs, subsets and growth."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import scipy.optimize
from judge import Judge

from rowtune import Table, rules
from rowtune.errors import FrozenRowError, IdError, NonFiniteError, RowtuneError, ShapeError
from rowtune.row_memory import RowMemory


@pytest.fixture
def weights():
    return np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)


@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 3), (2, 2, 2)])
def test_a_lookup_has_the_shape_of_the_ids_and_then_the_width(weights, shape):
    ids = np.random.default_rng(1).integers(0, 8, shape)
    for train in ("all", [1, 6], []):
        found = Table(weights, train).lookup(ids)
        assert found.shape == (*shape, 3)
        np.testing.assert_array_equal(found, weights[ids])


def test_a_lookup_is_a_copy(weights):
    table = Table(weights, [1])
    table.lookup([1, 2])[:] = 9
    np.testing.assert_array_equal(table.weights, weights)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("chosen", [0, 1, 5, 40], ids="{} of 40 rows train".format)
def test_rows_come_from_where_they_are_by_ids_of_any_dtype(dtype, chosen):
    kept = np.random.default_rng(0).integers(0, 1 << 32, (300, 4), np.uint32).view(np.float32)
    ids = np.random.default_rng(1).permutation(100).astype(dtype)[:40]
    for base in (kept, np.asfortranarray(kept), np.repeat(kept, 2, 0)[::2], kept.astype(">f4")):
        table = Table(base, ids[:chosen])
        table.block.view(np.uint32)[:] += 1
        expected = kept.copy().view(np.uint32)
        expected[ids[:chosen]] += 1
        assert table.lookup(ids).tobytes() == expected[ids].tobytes()
        table.grow(kept[:1])
        assert len(table.lookup(np.append(ids.astype(np.int64), 300))) == 41


def test_duplicates_are_summed_before_the_rule_sees_them():
    for name in rules.names():
        twice, once = (Table(np.zeros((3, 2)), rule=name, lr=0.1) for _ in range(2))
        twice.update([1, 1, 2], [[1, 2], [3, -1], [1, 1]])
        once.update([1, 2], [[4, 1], [1, 1]])
        np.testing.assert_array_equal(twice.weights, once.weights)
        assert twice.steps.tolist() == [0, 1, 1]


@pytest.mark.parametrize("count", [255, 256, 257, 30_000])
def test_one_id_many_times_in_a_batch(count):
    rng = np.random.default_rng(2)
    ids = np.concatenate([np.full(count, 5), [0, 5, 7], np.full(count // 2, 2)])
    rng.shuffle(ids)
    grads = rng.standard_normal((len(ids), 3))
    weights = rng.standard_normal((8, 3))
    table = Table(weights, [0, 2, 5], "adam", lr=0.1)
    judge = Judge(weights, [0, 2, 5], "adam", table.hyper)
    for _ in range(2):
        table.update(ids, grads)
        judge.update(ids, grads)
    np.testing.assert_allclose(table.weights, judge.matrix(), rtol=1e-10)


def test_float32_sums_of_a_long_group_stay_close():
    grads = np.random.default_rng(3).random((100_000, 1)).astype(np.float32)
    table = Table(np.zeros((1, 1), np.float32), rule="sgd", lr=1.0)
    table.update(np.zeros(100_000, int), grads)
    exact = -grads.astype(np.float64).sum()
    assert abs(table.weights[0, 0] - exact) < 1e-6 * abs(exact)


def test_large_random_batches_agree_with_the_judge():
    rng = np.random.default_rng(4)
    weights = rng.standard_normal((5000, 2))
    trainable = rng.permutation(5000)[:3000]
    table = Table(weights, trainable, "rmsprop")
    judge = Judge(weights, trainable, "rmsprop", table.hyper)
    for size in (70_000, 10, 0, 70_000):
        ids = np.minimum(rng.zipf(1.3, size) - 1, 4999)
        grads = rng.standard_normal((size, 2))
        table.update(ids, grads)
        judge.update(ids, grads)
    np.testing.assert_allclose(table.weights, judge.matrix(), rtol=1e-9, atol=1e-12)


def test_gradients_of_any_layout_and_number_type(weights):
    grads = np.random.default_rng(5).integers(-3, 4, (4, 3))
    ids = [0, 1, 5, 1]
    expected = Table(weights, rule="sgd", lr=1.0)
    expected.update(ids, grads.astype(np.float32))
    for form in (
        grads,
        grads.tolist(),
        np.asfortranarray(grads.astype(np.float64)),
        np.repeat(grads, 2, axis=1)[:, ::2].astype(np.float16),
        np.flip(np.flip(grads.astype(np.float32), 0).copy(), 0),
    ):
        table = Table(weights, rule="sgd", lr=1.0)
        table.update(np.array(ids, np.uint16), form)
        np.testing.assert_array_equal(table.weights, expected.weights)


def test_an_empty_batch_does_nothing(weights):
    table = Table(weights)
    for ids, grads in (([], []), (np.zeros((0, 4), int), np.zeros((0, 4, 3)))):
        table.update(ids, grads)
    np.testing.assert_array_equal(table.weights, weights)
    assert not table.steps.any()


WRONG = [
    ([-1], np.zeros((1, 3)), IdError, "id -1 is not a row: expected 0 to 7"),
    ([8], np.zeros((1, 3)), IdError, "id 8 is not a row"),
    ([1.0], np.zeros((1, 3)), IdError, "dtype float64; expected integers"),
    ([1, 2], np.zeros((1, 3)), ShapeError, r"shape \(1, 3\); expected \(2, 3\)"),
    ([[1, 2]], np.zeros((2, 3)), ShapeError, r"expected \(1, 2, 3\)"),
    ([1], np.zeros((1, 2)), ShapeError, r"expected \(1, 3\)"),
    ([1], np.zeros((1, 3), complex), ShapeError, "complex128; expected floats"),
    ([1, 2], [[1, 2, 3], [1]], ShapeError, "not one array"),
    ([0, 1], [[0, 0, 0], [0, np.nan, 0]], NonFiniteError, "position 1 of the batch"),
    ([1], [[0, np.inf, 0]], NonFiniteError, "NaN or infinity"),
    ([1], [[0, 1e300, 0]], NonFiniteError, "NaN or infinity"),
    ([1, 1], [[3e38, 0, 0], [3e38, 0, 0]], NonFiniteError, "can overflow float32"),
]


@pytest.mark.parametrize(("ids", "grads", "error", "words"), WRONG)
def test_a_bad_update_raises_before_anything_is_written(weights, ids, grads, error, words):
    table = Table(weights, [0, 1, 2], "adam")
    table.update([0, 1], np.ones((2, 3)))
    before = table.block.tobytes(), table.state["v"].tobytes(), table.steps.tobytes()
    with pytest.raises(error, match=words) as caught:
        table.update(ids, grads)
    assert isinstance(caught.value, RowtuneError)
    assert before == (table.block.tobytes(), table.state["v"].tobytes(), table.steps.tobytes())
    table.update([2], np.ones((1, 3)))  # and the next step is as if nothing had been


def test_nan_is_found_wherever_it_hides_in_a_large_batch():
    table = Table(np.zeros((100, 64), np.float32))
    ids = np.arange(20_000) % 100
    for position in (0, 7_000, 19_999):
        grads = np.ones((20_000, 64), np.float32)
        grads[position, 63] = np.nan
        with pytest.raises(NonFiniteError, match=f"position {position} of"):
            table.update(ids, grads)
    assert not table.weights.any()


def test_check_finite_can_be_turned_off(weights):
    table = Table(weights, rule="sgd")
    table.update([1], [[np.nan, 0, 0]], check_finite=False)
    assert np.isnan(table.weights[1, 0])
    half = Table(weights.astype(np.float16), rule="sgd")
    with pytest.raises(NonFiniteError):
        half.update([1], [[np.nan, 0, 0]])
    half.update([1], [[np.nan, 0, 0]], check_finite=False)
    assert np.isnan(half.weights[1, 0])


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.zeros(3), r"shape \(3,\); expected a table of two dimensions"),
        (np.zeros((2, 2), int), "dtype int64; expected float16"),
        (np.zeros((2, 2), complex), "complex128"),
        ([["a"]], "<U1"),
    ],
)
def test_weights_that_are_not_a_float_matrix(weights, words):
    with pytest.raises(ShapeError, match=words):
        Table(weights)


def test_set_add_and_sub(weights):
    table = Table(weights, [1, 2, 5])
    table.set([5, 1], [[1, 2, 3], [4, 5, 6]])
    table.add([[5, 5], [1, 2]], np.ones((2, 2, 3)))
    table.sub([2], weights[[2]])
    expected = [[3, 4, 5], [5, 6, 7], [1, 1, 1]]
    np.testing.assert_allclose(table.lookup([5, 1, 2]), expected, rtol=1e-6)
    table.set([], [])
    table.add([], [])
    assert not table.steps.any()  # a user's own write is no step of the rule


@pytest.mark.parametrize("verb", ["set", "add", "sub"])
def test_the_scatter_verbs_refuse_what_they_should(weights, verb):
    table = Table(weights, [1, 2, 5])
    write = getattr(table, verb)
    before = table.block.tobytes()
    with pytest.raises(FrozenRowError, match=r"row 3 is frozen \(1 of 2 given are\)"):
        write([1, 3], np.ones((2, 3)))
    with pytest.raises(IdError, match="id -1"):
        write([-1], np.ones((1, 3)))
    with pytest.raises(ShapeError, match=r"shape \(3,\); expected \(1, 3\)"):
        write([1], np.ones(3))
    with pytest.raises(NonFiniteError, match="nothing was changed"):
        write([1, 2], [[1, 2, 3], [1, np.nan, 3]])
    if verb == "set":
        with pytest.raises(IdError, match="names row 5 twice"):
            write([5, 1, 5], np.ones((3, 3)))
    assert table.block.tobytes() == before


def test_with_columns_the_verbs_take_those_columns_only(weights):
    table = Table(weights, [1, 2], columns=[2, 0], rule="sgd", lr=1.0)
    table.set([2], [[7, 8]])  # columns in ascending order: 0, then 2
    np.testing.assert_array_equal(table.lookup(2), [7, weights[2, 1], 8])
    with pytest.raises(ShapeError, match=r"expected \(1, 2\)"):
        table.set([2], np.ones((1, 3)))
    table.update([2, 2, 3], np.ones((3, 3)))  # gradients are as wide as the lookup
    np.testing.assert_array_equal(table.lookup(2), [5, weights[2, 1], 6])


def test_a_subset_is_optimized_by_scipy_and_written_back():
    rng = np.random.default_rng(6)
    weights = rng.standard_normal((50, 4))
    target = rng.standard_normal((3, 4))
    table = Table(weights, slice(10, 30))
    subset = table.subset([22, 11, 17])
    assert len(subset) == 3
    np.testing.assert_array_equal(subset.values, weights[[22, 11, 17]])

    def cost(x):
        return ((x.reshape(3, 4) - target) ** 4).sum() + ((x.reshape(3, 4) - target) ** 2).sum()

    def gradient(x):
        miss = (x.reshape(3, 4) - target).ravel()
        return 4 * miss**3 + 2 * miss

    found = scipy.optimize.minimize(
        cost, subset.values.ravel(), jac=gradient, method="Newton-CG", tol=1e-10
    )
    subset.write(found.x)
    np.testing.assert_allclose(table.lookup([22, 11, 17]), target, atol=1e-6)
    others = np.setdiff1d(np.arange(50), [22, 11, 17])
    assert table.weights[others].tobytes() == weights[others].tobytes()
    subset.values[:] = 0
    subset.write()
    assert not table.lookup([22, 11, 17]).any()


def test_a_subset_refuses_frozen_and_repeated_rows(weights):
    table = Table(weights, [1, 2])
    with pytest.raises(FrozenRowError, match="row 3 is frozen"):
        table.subset([1, 3])
    with pytest.raises(IdError, match="twice"):
        table.subset([1, 1])
    with pytest.raises(ShapeError):
        table.subset([1]).write(np.ones(4))
    assert table.subset([]).values.shape == (0, 3)


@pytest.mark.parametrize("columns", [None, [0, 2]])
@pytest.mark.parametrize("train", ["all", [1, 6]])
def test_growing_keeps_every_row_and_its_state(weights, train, columns):
    rng = np.random.default_rng(7)
    table = Table(weights, train, "adam", columns=columns)
    twin = Table(np.vstack([weights, np.ones((2, 3), np.float32)]),
                 train if train == "all" else [1, 6, 8, 9], "adam", columns=columns)  # fmt: skip
    for _ in range(4):
        grads = rng.standard_normal((2, 3))
        table.update([1, 6], grads)
        twin.update([1, 6], grads)
    state = table.state["m"].copy()
    assert table.grow(np.ones((2, 3))).tolist() == [8, 9]
    np.testing.assert_array_equal(table.state["m"][: len(state)], state)
    for _ in range(4):
        grads = rng.standard_normal((3, 3))
        table.update([9, 1, 3], grads)
        twin.update([9, 1, 3], grads)
    np.testing.assert_array_equal(table.weights, twin.weights)
    np.testing.assert_array_equal(table.lookup(np.arange(10)), twin.weights)
    np.testing.assert_array_equal(table.steps, twin.steps)
    assert table.shape == (10, 3)
    assert len(table) == 10


def test_growing_by_nothing_or_by_nonsense(weights):
    table = Table(weights, [1])
    assert table.grow(np.zeros((0, 3))).tolist() == []
    for wrong in (np.ones(3), np.ones((1, 4)), 3.0):
        with pytest.raises(ShapeError):
            table.grow(wrong)
    with pytest.raises(NonFiniteError):
        table.grow([[np.nan, 0, 0]])
    assert table.shape == (8, 3)


def test_the_fingerprint_is_of_shape_dtype_and_bytes_and_of_nothing_else(weights):
    table = Table(weights, [1, 2])
    before = table.fingerprint()
    table.update([1], np.ones((1, 3)))
    table.grow(np.ones((1, 3)))
    assert table.fingerprint() == before == Table(np.asfortranarray(weights)).fingerprint()
    flipped = weights.copy()
    flipped.view(np.uint32)[7, 2] ^= 1
    others = [flipped, weights.reshape(3, 8), weights.astype(np.float64), weights.view(np.float16)]
    assert len({before, *(Table(other).fingerprint() for other in others)}) == 5
    zeros = np.zeros((2, 2), np.float32)
    assert Table(zeros).fingerprint() != Table(-zeros).fingerprint()


def test_it_says_what_it_is(weights):
    assert repr(Table(weights, [1, 2])) == (
        "Table(8 x 3 float32, 2 rows train, rule='adam', lr=0.001)"
    )
    assert Table(weights).dtype == np.float32


def test_long_groups_in_every_chunk_get_their_own_sums():
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.repeat(np.arange(0, 4000, 40), 300), np.arange(4000)])
    rng.shuffle(ids)
    grads = rng.integers(-8, 9, (len(ids), 64)).astype(np.float32)  # their sums are exact
    table = Table(np.zeros((4000, 64), np.float32), rule="sgd", lr=1.0)
    table.update(ids, grads)
    expected = np.zeros((4000, 64), np.float32)
    np.subtract.at(expected, ids, grads)
    np.testing.assert_array_equal(table.weights, expected)


def test_check_finite_can_be_turned_off_in_a_large_batch():
    table = Table(np.zeros((100, 64), np.float32), rule="sgd")
    grads = np.ones((20_000, 64), np.float32)
    grads[7] = np.nan
    table.update(np.arange(20_000) % 100, grads, check_finite=False)
    assert np.flatnonzero(np.isnan(table.weights[:, 0])).tolist() == [7]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_large_gradients_are_refused_only_where_a_sum_overflows(dtype):
    table = Table(np.zeros((40_000, 2), dtype), [*range(10), 39_999], rule="sgd", lr=1e-38)
    ids, grads = np.arange(40_000), np.zeros((40_000, 2), np.float32)
    grads[5] = 1e35  # alone it is no danger, whatever the length of the batch
    grads[20] = np.nan  # frozen
    table.update(ids, grads)
    with pytest.raises(NonFiniteError, match=r"reach 3e\+38, and their sum .* nothing was changed"):
        table.update([1, 1, 20], np.array([[3e38, 0], [3e38, 0], [np.nan, 0]]))
    assert table.steps.tolist() == [1] * 11


def test_each_of_many_steps_is_one_learning_rate():
    table = Table(np.zeros((1, 1)), rule="adam", lr=0.5)
    for step in range(1, 1100):  # the clock is tabulated anew several times on the way
        table.update([0], [[1.0]])
        np.testing.assert_allclose(table.weights, [[-0.5 * step]], rtol=1e-6)


def test_a_clock_that_stands_still_is_not_tabulated_further():
    table = Table(np.zeros((1, 1), np.float32), rule="adam")
    assert len(table._tuned.clock_table(10)) < 1000
    length = len(table._tuned.clock_table(100_000))
    assert len(table._tuned.clock_table(10**9)) == length
    np.testing.assert_array_equal(table._tuned.clock_table(10**9)[-1], [1, 1])
    falling = Table(np.zeros((1, 1)), rule="adagrad", lr_decay=0.1)
    assert len(falling._tuned.clock_table(100_000)) > 100_000


def test_an_interrupted_update_has_been_counted(monkeypatch):
    from rowtune import numpy_engine

    table, whole = Table(np.zeros((1, 1)), lr=0.1), numpy_engine.update

    def interrupted(*arguments):
        whole(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(numpy_engine, "update", interrupted)
    for _ in range(300):
        with pytest.raises(KeyboardInterrupt):
            table.update([0], [[1.0]])
    monkeypatch.undo()
    table.update([0], [[1.0]])
    np.testing.assert_allclose(table.weights, [[-30.1]], rtol=1e-6)


def test_growing_fills_the_state_of_new_rows_with_its_first_value():
    table = Table(np.zeros((2, 3)), rule="adagrad", initial_accumulator_value=0.5)
    table.update([0], np.ones((1, 3)))
    table.grow(np.zeros((1, 3)))
    assert table.state["total"].tolist() == [[1.5] * 3, [0.5] * 3, [0.5] * 3]


def test_growth_that_fails_changes_nothing(weights, monkeypatch):
    table = Table(weights, [1])

    whole = RowMemory.grown

    def no_memory(self, name, array, count):
        if name == "steps":  # the last
            raise MemoryError
        return whole(self, name, array, count)

    monkeypatch.setattr(RowMemory, "grown", no_memory)
    with pytest.raises(MemoryError):
        table.grow(np.ones((2, 3)))
    assert len(table.block) == 1
    assert table.shape == (8, 3)
    with pytest.raises(IdError):
        table.lookup([8])


def test_the_block_stays_in_the_layout_that_the_kernel_takes(weights):
    table = Table(np.asfortranarray(weights), [1], columns=[0, 2])
    table.grow(np.asfortranarray(np.ones((3, 3))))
    assert table.block.flags.c_contiguous
    swapped = Table(weights.astype(">f4"), [1])
    assert swapped.block.dtype.isnative
    np.testing.assert_array_equal(swapped.lookup([1, 2]), weights[[1, 2]])


def test_decoupled_decay_follows_the_learning_rate():
    table = Table(np.ones((1, 1)), rule="sgd", lr=1.0, weight_decay=0.5, decoupled=True)
    table.lr = 0.1
    table.update([0], [[0.0]])
    np.testing.assert_allclose(table.weights, [[0.95]])


def test_half_precision_ignores_nan_for_frozen_rows():
    table = Table(np.zeros((4, 2), np.float16), [1], "sgd", lr=1.0)
    table.update([2, 1], [[np.nan, np.nan], [1, 1]])
    assert table.weights[1].tolist() == [-1, -1]


def test_a_subset_of_neighbours_is_a_copy():
    table = Table(np.zeros((5, 2)))
    table.subset([1, 2, 3]).values[:] = 9
    assert not table.weights.any()


@pytest.mark.parametrize("train", ["all", slice(None), [1, 2]])
def test_weights_are_a_snapshot(weights, train):
    table = Table(weights, train)
    before = table.weights
    table.update([1], np.ones((1, 3)))
    np.testing.assert_array_equal(before, weights)
    assert (table.weights[1] != weights[1]).all()
    assert not before.flags.writeable


def test_its_own_block_may_serve_as_gradients():
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    table = Table(rows, rule="sgd", lr=1.0)
    table.update([1, 2, 3, 0], table.block)
    expected = rows.copy()
    expected[[1, 2, 3, 0]] -= rows
    np.testing.assert_array_equal(table.weights, expected)


def test_what_is_read_cannot_be_used_to_break_it(weights):
    table = Table(weights, [1])
    with pytest.raises(ValueError, match="read-only"):
        table.steps[:] = 100_000
    table.state["m"] = np.zeros((9, 9))  # a dictionary of its own
    table.update([1], np.ones((1, 3)))
    assert table.state["m"].shape == (1, 3)


@pytest.mark.parametrize("columns", [[], None])
def test_tables_without_width_or_rows(columns):
    table = Table(np.zeros((5, 0 if columns is None else 3)), columns=columns)
    width = table.shape[1]
    table.update([0, 1], np.zeros((2, width)))
    table.update([], [])
    table.set([1], np.zeros((1, 0)))
    assert table.lookup([1]).shape == (1, width)
    assert Table(np.zeros((0, 3))).lookup([]).shape == (0, 3)


def test_copies_and_pickles_train_on_as_if_they_were_the_table(weights):
    table = Table(weights, [1, 2], "nesterov", lr=0.1)
    table.update([1], np.ones((1, 3)))
    twin, other = copy.deepcopy(table), pickle.loads(pickle.dumps(table))
    for t in (table, twin, other):
        t.update([1, 2], np.ones((2, 3)))
        assert not t.base.flags.writeable
        assert not t.rows.ids.flags.writeable
    assert table.weights.tobytes() == twin.weights.tobytes() == other.weights.tobytes()
    assert twin.base is table.base
    twin.update([1], np.ones((1, 3)))
    assert table.weights.tobytes() != twin.weights.tobytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"train": {1, 2}}, 'train is a set; expected "all", a boolean mask'),
        ({"train": [[1], [2, 3]]}, "train is a list"),
        ({"train": slice(0.5, 2)}, "a slice of integers"),
        ({"columns": [4]}, "columns: id 4 is not a column: expected 0 to 2$"),
        ({"rule": ["adam"]}, "there is no rule"),
        ({"betas": (0.9, 0.99), "beta1": 0.5}, "not both"),
        ({"decoupled": 3}, "expected True or False"),
        ({"eps": 1e-50}, "is 0.0 in float32"),
        ({"lr": 1e39}, "is inf in float32"),
    ],
)
def test_more_arguments_that_make_no_sense(weights, arguments, words):
    with pytest.raises(RowtuneError, match=words):
        Table(weights, **arguments)


def test_a_refused_hyper_parameter_changes_nothing(weights):
    table = Table(weights)
    with pytest.raises(RowtuneError):
        table.set_hyper(eps=0.1, lr=1e39)
    assert (table.lr, table.hyper["eps"]) == (1e-3, 1e-8)
    with pytest.raises(IdError, match="not one array"):
        table.lookup([[1], [2, 3]])
