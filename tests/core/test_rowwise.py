"""Rules that look at whole rows: `row_mean`, `row_norm`, and state of one number per row."""

from __future__ import annotations

import math
import pickle
import re

import numba
import numba.core.event
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge import Judge
from numpy import maximum, sign, sqrt, where

from rowtune import Table, numpy_engine, rules
from rowtune.errors import PatchError, RuleError
from rowtune.kernels import threads
from rowtune.kernels.fused import kernel_of
from rowtune.kernels.row_sum import row_sum
from rowtune.rules import per_row, row_mean, row_norm, rule
from rowtune.rules.moments import adam_clock
from rowtune.step import Trained


@rule(
    state={"m": 0.0, "v": 0.0},
    clock=(adam_clock, "unbias_m unbias_root"),
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-6,
)
def lamb(
    row, grad, m, v, lr, unbias_m, unbias_root, beta1, one_minus_beta1, beta2, one_minus_beta2, eps
):
    """Adam's direction, as long as the row: norms of a value that needs the new state."""
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * (grad * grad)
    direction = unbias_m * m / (sqrt(v) * unbias_root + eps)
    length, of_row = row_norm(direction), row_norm(row)
    ratio = where((length > 0) & (of_row > 0), of_row / maximum(length, eps), 1.0)
    return row - lr * ratio * direction, m, v


@rule(state={"m": 0.0, "seen": per_row(1.0)}, lr=0.1, power=0.5)
def everything(row, grad, m, seen, lr, power):
    """Every operator and name, and a mean of what needs a norm of what needs a mean."""
    a = -grad // 2 + grad % 3.0 + abs(grad) ** 2 + 2 ** -abs(grad) + (maximum(grad, 0) + 1) ** power
    b = where((a > 0) & (grad < 1) | (m >= 2), a, 1 - a) - row_mean(a)
    c = where(grad == 0.0, sign(a), sqrt(abs(b))) + where(a != 2, 1.0, 3)
    n = row_norm(b * c) + row_mean(c)
    d = 0.5 * c / (n + 1)
    e = row_mean(where(d <= n, d, -d) * m)
    return row - lr * d * e, m + d, seen + 1 / (1 + n) + row_mean(d) * 3


@rule(state={"other": 2.0, "size": per_row()}, lr=1.0)
def exchange(row, grad, other, size, lr):
    """The row and its state change places; the size is that of the row which is left."""
    return other - lr * grad, row, size / 2 + row_norm(other - lr * grad)


@rule(state={"count": per_row("start")}, lr=1.0, start=5.0)
def counting(row, grad, count, lr, start):
    """State of one number per row, and no sum over a row."""
    return row - lr * grad / count, count + start


RULES = [lamb, everything, exchange, counting]
RULES += [rules.get("rowwise_adagrad"), rules.get("rowwise_adam")]
NAMES = [r.name for r in RULES]


def update_plainly(table, ids, grads):
    trained = Trained(table.block, tuple(table.state.values()), table._block.steps)
    numpy_engine.update_plain(table._tuned, trained, table.rows.slots(ids), grads, True)


CASES = [(chosen, dtype, 0.0, False) for chosen in RULES for dtype in (np.float32, np.float64)]
CASES += [(lamb, np.float64, 0.1, False), (lamb, np.float64, 0.1, True)]


@pytest.mark.parametrize(("chosen", "dtype", "weight_decay", "decoupled"), CASES)
def test_the_kernel_does_what_numpy_does_with_whole_arrays(chosen, dtype, weight_decay, decoupled):
    eps = np.finfo(dtype).eps
    for width in (1, 5, 16, 37):
        rng = np.random.default_rng(width)
        weights = rng.standard_normal((9, width)).astype(dtype)
        hyper = {"lr": 0.03, "weight_decay": weight_decay, "decoupled": decoupled}
        compiled, plain = (Table(weights, [7, 0, 3, 8], chosen, **hyper) for _ in range(2))
        for _ in range(12):
            ids = rng.integers(0, 9, 12)
            grads = rng.standard_normal((12, width)).astype(dtype)
            compiled.update(ids, grads)
            update_plainly(plain, ids, grads)
        np.testing.assert_allclose(compiled.block, plain.block, rtol=99 * eps, atol=99 * eps)
        for name, array in compiled.state.items():
            np.testing.assert_allclose(array, plain.state[name], rtol=99 * eps, atol=99 * eps)
            assert array.dtype == dtype


def test_plain_numbers_in_a_rule_do_not_widen_float32():
    table = Table(np.zeros((2, 3), np.float32), rule=everything)
    table.update([0], np.ones((1, 3)))
    kernel = kernel_of(everything, "none")
    (float32,) = (k for s, k in kernel.overloads.items() if "float64" not in str(s))
    kinds = {name: str(kind) for name, kind in float32.type_annotation.typemap.items()}
    values = {kind for name, kind in kinds.items() if re.match(r"x\d", name)}
    assert values == {"float32", "bool"}


def test_lamb_by_hand():
    row, grad, lr = np.array([3.0, 4.0, 0.0]), np.array([0.5, -2.0, 1.0]), 0.1
    table = Table(row[None], rule=lamb, lr=lr, eps=1e-12)
    table.update([0], grad[None])
    # In its first step Adam's direction is the sign of the gradient, of norm sqrt(3); the row's: 5.
    np.testing.assert_allclose(table.weights[0], row - lr * 5 / math.sqrt(3) * np.sign(grad))


def test_rowwise_adam_by_hand():
    table = Table(np.ones((2, 2)), rule="rowwise_adam", lr=0.1, betas=(0.5, 0.75), eps=0.5)
    table.update([1], [[3.0, -4.0]])  # mean of squares: 12.5
    table.update([1], [[1.0, 1.0]])
    assert table.state["m"].tolist() == [[0.0, 0.0], [1.25, -0.5]]
    assert table.state["v"].tolist() == [[0.0], [0.75 * 0.25 * 12.5 + 0.25]]
    first = 0.1 / (math.sqrt(12.5) + 0.5)
    second = 0.1 / 0.75 / (math.sqrt((0.1875 * 12.5 + 0.25) / 0.4375) + 0.5)
    expected = [1 - 3 * first - 1.25 * second, 1 + 4 * first + 0.5 * second]
    np.testing.assert_allclose(table.weights, [[1, 1], expected], rtol=1e-14)


def test_rowwise_adagrad_by_hand():
    table = Table(np.ones((2, 2)), rule="rowwise_adagrad", lr=0.1, eps=0.5)
    table.update([1], [[3.0, -4.0]])  # mean of squares: 12.5
    table.update([1], [[1.0, 1.0]])
    assert table.state["total"].tolist() == [[0.0], [13.5]]
    first = 0.1 / (math.sqrt(12.5) + 0.5)
    second = 0.1 / (math.sqrt(13.5) + 0.5)
    expected = [1 - 3 * first - second, 1 + 4 * first - second]
    np.testing.assert_allclose(table.weights, [[1, 1], expected], rtol=1e-14)


def test_the_mean_is_over_the_columns_that_train():
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((6, 5))
    hyper = rules.get("rowwise_adagrad").hyper(lr=0.3, weight_decay=0.2)
    table = Table(weights, [1, 4], "rowwise_adagrad", columns=[0, 3], **hyper)
    judge = Judge(weights, [1, 4], "rowwise_adagrad", hyper, columns=[0, 3])
    for _ in range(9):
        ids, grads = rng.integers(0, 6, 4), rng.standard_normal((4, 5))
        table.update(ids, grads)
        judge.update(ids, grads)
    np.testing.assert_allclose(table.weights, judge.matrix(), rtol=1e-13)


def test_state_of_one_number_per_row_is_one_column_wide():
    table = Table(np.zeros((9, 4)), [2, 5, 8], counting, start=7.0)
    assert table.state["count"].tolist() == [[7.0]] * 3
    table.update([5, 5, 1], np.ones((3, 4)))
    assert table.state["count"].tolist() == [[7.0], [14.0], [7.0]]
    table.grow(np.ones((2, 4)))
    table.update([9], np.ones((1, 4)))
    assert table.state["count"].tolist() == [[7.0], [14.0], [7.0], [14.0], [7.0]]
    assert everything.state_widths(4) == {"m": 4, "seen": 1}
    assert everything.first_values(everything.hyper()) == {"m": 0.0, "seen": 1.0}
    assert [r.is_elementwise for r in RULES] == [False] * 6
    assert rules.get("adam").is_elementwise


def test_half_precision_rows_keep_float32_state():
    table = Table(np.zeros((3, 4), np.float16), rule="rowwise_adagrad", lr=0.5)
    table.update([1, 1], np.ones((2, 4)))
    assert table.state["total"].dtype == np.float32
    assert table.state["total"].tolist() == [[0.0], [4.0], [0.0]]
    assert table.weights[1].tolist() == [-0.5] * 4


@pytest.mark.parametrize("chosen", [lamb, rules.get("rowwise_adagrad")], ids=lambda r: r.name)
def test_one_and_two_threads_give_the_same_bits(chosen):
    before, results = threads.get_num_threads(), []
    for number in (1, 2):
        threads.set_num_threads(number)
        rng = np.random.default_rng(5)
        table = Table(rng.standard_normal((20_000, 50)).astype(np.float32), rule=chosen)
        for _ in range(2):
            ids = np.minimum(rng.zipf(1.2, 30_000) - 1, 19_999)
            table.update(ids, rng.standard_normal((30_000, 50), dtype=np.float32))
        state = [array.tobytes() for array in table.state.values()]
        results.append((table.weights.tobytes(), *state))
    threads.set_num_threads(before)
    assert results[0] == results[1]


def test_the_second_call_compiles_nothing():
    table = Table(np.zeros((50, 4), np.float32), [1, 2, 3], everything)
    table.update([1, 1, 2], np.ones((3, 4)))
    with numba.core.event.install_recorder("numba:compile") as compiled:
        table.lr = 0.5
        table.update([2, 3], np.ones((2, 4)))
        Table(np.zeros((9, 70), np.float32), rule=everything).update([5], np.ones((1, 70)))
    assert not compiled.buffer


@pytest.mark.parametrize("chosen", RULES, ids=NAMES)
def test_rows_without_columns_are_no_trouble(chosen):
    table = Table(np.zeros((9, 0)), rule=chosen)
    table.update([1, 2], np.zeros((2, 0)))
    update_plainly(table, np.array([1, 3]), np.zeros((2, 0)))
    assert table.steps.tolist() == [0, 2, 1, 1, 0, 0, 0, 0, 0]
    assert not any(np.isnan(array).any() for array in table.state.values())


# --- sums ----------------------------------------------------------------------------------------


@numba.njit
def padded_sum(values):
    padded = np.zeros(-(-values.shape[0] // 16) * 16, values.dtype)
    padded[: values.shape[0]] = values
    return row_sum(padded)


def sum_in_lanes(values):
    lanes = np.zeros(16, values.dtype)
    for j, value in enumerate(values):
        lanes[j % 16] += value
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(0, 200))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_is_summed_in_the_order_that_is_promised(dtype, seed, width):
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal(width) * 10.0 ** rng.integers(-6, 7, width)).astype(dtype)
    total = padded_sum(values)
    assert total == sum_in_lanes(values)
    exact, magnitude = math.fsum(values.tolist()), math.fsum(np.abs(values).tolist())
    assert abs(total - exact) <= (width / 16 + 4) * np.finfo(dtype).eps * magnitude


def test_means_and_norms_of_numpy_arrays():
    x = np.array([[3.0, 4.0], [0.0, -2.0]], np.float32)
    assert row_mean(x).tolist() == [[3.5], [-1.0]]
    assert row_norm(x).tolist() == [[5.0], [2.0]]
    assert row_mean(x).dtype == row_norm(x).dtype == np.float32
    assert row_mean(np.zeros((2, 0))).tolist() == row_norm(np.zeros((2, 0))).tolist() == [[0], [0]]


# --- files and copies ----------------------------------------------------------------------------


def test_a_patch_keeps_row_wise_state_and_refuses_what_is_wider(tmp_path):
    weights = np.ones((4, 3))
    first, second, wider = (
        Table(weights, [1, 2], name) for name in ("rowwise_adagrad", "rowwise_adagrad", "adagrad")
    )
    for name, table in (("narrow", first), ("wide", wider)):
        table.update([2, 2], np.full((2, 3), 0.5))
        table.save_patch(tmp_path / name, state=True)
    second.load_patch(tmp_path / "narrow")
    for table in (first, second):
        table.update([1, 2], np.ones((2, 3)))
    assert second.weights.tobytes() == first.weights.tobytes()
    assert second.state["total"].tolist() == [[1.0], [2.0]]
    with pytest.raises(PatchError, match=r"'adagrad'; .* \['total'\] of another dtype or width"):
        second.load_patch(tmp_path / "wide")
    assert second.state["total"].tolist() == [[1.0], [2.0]]


def test_a_row_wise_rule_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(rules.get("rowwise_adagrad"))) is rules.get("rowwise_adagrad")


# --- definitions that are refused ----------------------------------------------------------------


def branching(row, grad, m, lr):
    return (row if grad > 0 else row - lr * grad), m


def whole_row(row, grad, m, lr):
    return row - lr * grad, m + grad


def one_number_as_row(row, grad, m, lr):
    return row_mean(row) - lr, m


def no_number(row, grad, m, lr):
    return row - lr * grad, None


def mean_of_a_mean(row, grad, m, lr):
    return row - lr * grad, row_mean(m)


def indexing(row, grad, m, lr):
    return row - lr * grad, m + grad[0]


def too_many(row, grad, m, lr):
    return row - sqrt(grad, lr), m


def with_text(row, grad, m, lr):
    return row - lr * (grad + "a"), m


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (branching, r"'branching' asks whether a value is true; write where\("),
        (whole_row, "returns a whole row as 'm', which is one number per row; take row_mean"),
        (one_number_as_row, "returns one number per row as 'row'; expected a whole row$"),
        (no_number, "returns None as 'm'; expected numbers"),
        (mean_of_a_mean, "gives row_mean one number per row; it takes whole rows"),
        (indexing, "cannot be called: TypeError.*not subscriptable"),
        (too_many, "gives sqrt 2 values; it takes 1"),
        (with_text, r"gives \+ 'a'; it takes numbers"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_where_it_is_written(function, words):
    with pytest.raises(RuleError, match=words):
        rule(state={"m": per_row()}, lr=1.0)(function)


def test_one_number_per_row_for_a_whole_row_names_the_cure():
    def mean(row, grad, m, lr):
        return row - lr * grad, row_mean(grad)

    with pytest.raises(RuleError, match=r"as 'm'; expected a whole row, or state=.'m': per_row"):
        rule(state={"m": 0.0}, lr=1.0)(mean)
    assert rule(state={"m": per_row()}, lr=1.0)(mean).per_row == {"m"}
