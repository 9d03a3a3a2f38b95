"""A base in fewer bits: what is kept of each value, and that training never changes it."""

from __future__ import annotations

import copy
import hashlib
import pickle

import numpy as np
import pytest
from judge import Judge

import rowtune
from rowtune import Quantized, Table, quantize, rules
from rowtune.base import fingerprint
from rowtune.errors import NonFiniteError, PatchError, ShapeError

N, D, TRAINED = 40, 7, [3, 8, 9, 39]
KINDS = ["int8", "float16", "bfloat16"]


@pytest.fixture
def weights():
    values = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
    values[5], values[6, 0] = 0.0, -0.0
    return values


def digest(quantized):
    parts = [quantized.codes.tobytes(), b"" if quantized.scales is None else quantized.scales]
    return hashlib.sha256(b"".join(bytes(p) for p in parts)).hexdigest()


def with_payloads(kind):
    """-0.0, infinities and NaN with payloads, in every place of frozen rows."""
    bits = np.random.default_rng(1).integers(0, 1 << 16, (N, D)).astype(np.uint16)
    nan = 0x7C00 if kind == "float16" else 0x7F80
    bits[0], bits[1], bits[2] = 0x8000, nan | 0x15, nan | 0x8001
    bits[TRAINED] = 0x3C00
    return Quantized(bits.view(np.float16) if kind == "float16" else bits)


def test_int8_is_off_by_half_a_step_at_most(weights):
    table = quantize(weights)
    off = np.abs(table.rows(slice(None)) - weights).max(axis=1)
    step = np.abs(weights).max(axis=1) / 127
    assert (off <= step * 0.5 * (1 + 1e-5)).all() and off.max() > 0
    assert np.abs(table.codes.astype(int)).max() == 127 and not table.rows([5]).any()


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_halves_are_rounded_as_others_round_them(weights, kind):
    torch = pytest.importorskip("torch")
    weights[7] = np.array([np.nan, np.inf, -np.inf, 1e-7, 1 + 2**-9, 1 + 3 * 2**-9, -1e-30])
    theirs = torch.from_numpy(weights).to(getattr(torch, kind)).to(torch.float32).numpy()
    np.testing.assert_array_equal(quantize(weights, kind).rows(slice(None)), theirs)


@pytest.mark.parametrize(
    ("kind", "value"), [("int8", np.nan), ("int8", np.inf), ("float16", 1e5), ("bfloat16", 3.4e38)]
)
def test_what_would_be_lost_is_refused_and_named(weights, kind, value):
    weights[11, 2] = value
    with pytest.raises(NonFiniteError, match="row 11 holds"):
        quantize(weights, kind)


def test_float64_beyond_float32_is_refused_too(weights):
    for kind in KINDS:
        wide = weights.astype(np.float64)
        wide[3, 3] = 1e300
        with pytest.raises(NonFiniteError, match="row 3 holds"):
            quantize(wide, kind)


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-30, 1e30, 3e38])
def test_the_smallest_and_largest_rows_have_no_infinities(scale):
    given = np.array([[1, -0.5, 0.25]], np.float64) * scale
    with np.errstate(under="ignore"):
        got = quantize(given.astype(np.float32)).rows([0])
    assert np.isfinite(got).all()
    assert np.abs(got - given).max() <= max(scale / 127, 1e-36)


def test_the_largest_float_stays_finite():
    given = np.array([[np.finfo("f4").max, -1e38], [-np.finfo("f4").max, 0]], np.float32)
    quantized = quantize(given)
    got = quantized.rows(slice(None))
    assert np.isfinite(got).all()
    off = np.abs(got.astype(np.float64) - given) / quantized.scales[:, None]
    assert off.max() <= 0.5


@pytest.mark.parametrize(
    ("codes", "scales"),
    [
        (np.zeros((2, 2), np.int8), None),
        (np.zeros((2, 2), np.int8), np.ones(3, np.float32)),
        (np.zeros((2, 2), np.float16), np.ones(2, np.float32)),
        (np.zeros((2, 2), np.float32), None),
        (np.zeros(2, np.int8), np.ones(2, np.float32)),
        ([[1, 2]], None),
    ],
)
def test_parts_that_do_not_fit_are_refused(codes, scales):
    with pytest.raises(ShapeError):
        Quantized(codes, scales)


def test_unknown_kinds_and_other_things_than_matrices_are_refused(weights):
    for given, kind in [(weights, "int4"), (weights[0], "int8"), (weights.astype(int), "int8")]:
        with pytest.raises(ShapeError):
            quantize(given, kind)
    with pytest.raises(ShapeError, match=r"40 x 7 int8.* already"):
        quantize(quantize(weights))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", rules.names())
@pytest.mark.parametrize("columns", [None, [0, 4]])
def test_every_rule_agrees_with_the_judge_and_leaves_the_codes(weights, kind, rule, columns):
    quantized = quantize(weights, kind)
    before, frozen = digest(quantized), np.setdiff1d(np.arange(N), TRAINED)
    table = Table(quantized, train=TRAINED, rule=rule, lr=0.01, columns=columns)
    judge = Judge(quantized.rows(slice(None)), TRAINED, rule, table.hyper, columns)
    rng = np.random.default_rng(2)
    for _ in range(3):
        ids = rng.integers(0, N, 30)
        ids[:4] = TRAINED
        grads = rng.normal(size=(30, D)).astype(np.float32)
        table.update(ids, grads)
        judge.update(ids, grads)
    assert table.dtype == table.block.dtype == table.lookup([0]).dtype == np.float32
    np.testing.assert_allclose(table.weights, judge.matrix(), rtol=2e-4, atol=2e-5)
    assert (table.lookup(frozen) == quantized.rows(frozen)).all()
    assert (table.lookup(TRAINED) != quantized.rows(TRAINED)).any()
    assert digest(quantized) == before


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_payloads_of_nan_and_minus_zero_stay_as_they_are(kind, tmp_path):
    quantized = with_payloads(kind)
    before = digest(quantized)
    table = Table(quantized, train=TRAINED, lr=0.1)
    table.update(np.arange(N), np.ones((N, D), np.float32))
    frozen = np.setdiff1d(np.arange(N), TRAINED)
    wide = table.lookup(frozen)
    assert (wide.view(np.uint32) == quantized.rows(frozen).view(np.uint32)).all()
    assert np.signbit(wide[0]).all() and np.isnan(wide[1]).all()
    assert digest(quantized) == before
    rowtune.save_table(tmp_path / "t.safetensors", quantized)
    opened = rowtune.open_table(tmp_path / "t.safetensors")
    assert opened.kind == kind and digest(opened) == before


@pytest.mark.parametrize("kind", KINDS)
def test_trainable_rows_begin_with_what_the_base_gives(weights, kind):
    quantized = quantize(weights, kind)
    assert (Table(quantized).block == quantized.rows(slice(None))).all()
    table = Table(quantized, train=TRAINED, columns=[1])
    assert (table.block == quantized.rows(TRAINED)[:, [1]]).all()
    ids = table.grow(np.ones((2, D)))
    assert (table.lookup(ids) == 1).all() and table.weights.shape == (N + 2, D)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [None, [0, 4]])
def test_patches_fit_the_codes_that_they_were_trained_on(weights, kind, columns, tmp_path):
    quantized, path = quantize(weights, kind), tmp_path / "p.safetensors"
    table = Table(quantized, train=TRAINED, lr=0.1, columns=columns)
    table.update([3, 8], np.ones((2, D)))
    table.grow(np.full((1, D), 2.0))
    table.save_patch(path, state=True)
    other = Table(quantize(weights, kind), train=TRAINED, columns=columns)
    other.grow(np.zeros((1, D)))
    other.load_patch(path)
    assert (other.weights == table.weights).all()
    assert (rowtune.apply_patch(quantized, path) == table.weights).all()
    weights[20] *= -1
    with pytest.raises(PatchError, match="another base"):
        rowtune.apply_patch(quantize(weights, kind), path)


def test_the_scales_are_part_of_the_fingerprint(weights):
    one = quantize(weights)
    scales = one.scales.copy()
    scales[7] *= 2
    assert fingerprint(one) == fingerprint(quantize(weights))
    assert fingerprint(one) != fingerprint(Quantized(one.codes, scales))
    half = quantize(weights, "float16")
    assert fingerprint(half) == fingerprint(half.codes), "the same bits"
    assert fingerprint(quantize(weights, "bfloat16")) != fingerprint(half)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles_are_read_only_as_well(weights, kind):
    table = Table(quantize(weights, kind), train=TRAINED)
    twin, again = copy.deepcopy(table), pickle.loads(pickle.dumps(table))
    assert twin.base is table.base and twin.block is not table.block
    for one in (table, twin, again):
        assert (one.weights == table.weights).all()
        for array in (one.base.codes, one.base.scales):
            assert array is None or not array.flags.writeable


@pytest.mark.parametrize(
    ("base", "block"), [("f2", "f4"), ("f4", "f8"), ("f8", "f4"), ("f4", "f2")]
)
def test_a_block_of_another_dtype_than_its_base(weights, base, block, tmp_path):
    narrow = weights.astype(base)
    table = Table(narrow, train=TRAINED, lr=1e-4, rule="sgd", dtype=block)
    assert table.dtype == table.block.dtype == table.lookup([0, 3]).dtype == np.dtype(block)
    assert (table.lookup(np.arange(N)) == narrow.astype(block)).all()
    table.update([3], np.ones((1, D)))
    if (base, block) == ("f2", "f4"):
        moved = table.lookup([3]) - narrow[[3]].astype(np.float32)
        np.testing.assert_allclose(moved, -1e-4, rtol=1e-2)
    table.save_patch(tmp_path / "p")
    applied = rowtune.apply_patch(narrow, tmp_path / "p")
    assert applied.dtype == max(np.dtype(base), np.dtype(block))
    assert (applied.astype(block) == table.weights).all()
    assert (np.delete(applied, TRAINED, 0) == np.delete(narrow, TRAINED, 0)).all()
    with pytest.raises(ShapeError, match="dtype is int32"):
        Table(narrow, dtype="i4")
