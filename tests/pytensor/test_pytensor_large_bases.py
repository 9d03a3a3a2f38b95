"""Bases in a memory map, and in fewer bits: the same numbers, the same bytes after training, and
memory for what is looked up.
"""

from __future__ import annotations

import hashlib

import large_bases
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from large_bases import TRAIN, D, N

import growth
import rowtune.pytensor as rp
from rowtune import Table, places
from rowtune.errors import IdError
from rowtune.quantized import Quantized

# PyTensor warns that JAX mode raises nothing.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping:UserWarning")

# Each kind of base in one mode, and each way of widening in all of them.
CASES = [
    ("map float32", "FAST_COMPILE"), ("map float16", "NUMBA"), ("map int8", "CVM"),
    ("map bfloat16", "JAX"), ("int8", "JAX"), ("int8", "NUMBA"), ("float16", "CVM"),
    ("float16", "JAX"), ("bfloat16", "NUMBA"), ("bfloat16", "CVM"),
]  # fmt: skip


def base_of(kind, folder):
    """The base, and the table that it stands for, in float32."""
    given, rows = large_bases.base_of(kind, folder)
    return given, rows.astype(np.float32)


def digest(table, given, folder):
    """Of the shared variable, of what it was made of, and of every file."""
    bits = [table.base.get_value(borrow=True).tobytes()]
    if isinstance(given, Quantized):
        bits += [x.tobytes() for x in (given.codes, given.scales) if x is not None]
    bits += [path.read_bytes() for path in sorted(folder.iterdir())]
    return hashlib.sha256(b"".join(bits)).hexdigest()


@pytest.mark.parametrize(("kind", "mode"), CASES)
def test_training_is_that_of_the_table_it_stands_for(kind, mode, tmp_path, stepper, monkeypatch):
    if mode == "CVM" and not pytensor.config.cxx:
        pytest.skip("PyTensor found no C++ compiler (pytensor.config.cxx is empty)")
    columns = [5, 1] if mode == "NUMBA" else None
    given, wide = base_of(kind, tmp_path)
    with monkeypatch.context() as patched:
        if kind.startswith("map"):
            patched.setattr(places, "_SMALL_SLOT_MAP", 0)
            patched.setattr(places, "_ROWS_PER_TRAINABLE_ROW_TO_SEARCH", 8)
        table = rp.lookup_table(given, TRAIN, columns)
    assert (table.rows.slot_map is None) == kind.startswith("map")
    kept = given.codes if isinstance(given, Quantized) else given
    assert np.shares_memory(table.base.get_value(borrow=True), kept)
    rule = "rowwise_adagrad" if mode == "CVM" else "adam"
    reference = Table(wide, TRAIN, rule, columns=columns, lr=0.1, weight_decay=0.1)
    before = digest(table, given, tmp_path)
    assert table.weights.tobytes() == wide.tobytes()
    step = stepper(table, rule, mode=mode, lr=0.1, weight_decay=0.1)
    rng = np.random.default_rng(1)
    for ids in ([3, 3, 5, 20], [39, 0, 17, 20]):
        grads = rng.standard_normal((4, D)).astype(np.float32)
        np.testing.assert_allclose(step(ids, grads), reference.lookup(ids), rtol=1e-5)
        reference.update(ids, grads)
    np.testing.assert_allclose(table.weights, reference.weights, rtol=1e-5)
    assert digest(table, given, tmp_path) == before
    changed = ~np.array(
        [a.tobytes() == b.tobytes() for a, b in zip(table.weights, wide, strict=True)]
    )
    assert np.flatnonzero(changed).tolist() == [3, 17, 39]
    with pytest.raises(IdError, match="id 40 is not a row"):
        table[[N]]
    if mode != "JAX":
        with pytest.raises(IdError, match="ids go from 0 to 39"):
            step([3, -1], grads[:2])


@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA", "JAX"])
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_each_of_the_65536_codes_is_widened_as_numpy_does(kind, mode):
    codes = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    given = Quantized(codes if kind == "bfloat16" else codes.view(np.float16))
    table, ids = rp.lookup_table(given, train=[]), pt.lvector("ids")
    look = pytensor.function([ids], table[ids], mode=mode)
    expected = given.rows(slice(None))
    assert np.asarray(look(np.arange(256))).tobytes() == expected.tobytes()


PROGRAM = """
import pytensor, pytensor.tensor as pt
import rowtune.pytensor as rp
from rowtune.quantized import quantize
drawn, small = rng.integers(0, N, 4096), np.ones((9 * 4096, D), np.float32)


def run(given, train):
    table, ids = rp.lookup_table(given, train), pt.lvector("ids")
    rows = table[ids]
    updates = rp.updates(pt.sum(rows - 1), rows, "adam", lr=0.1)
    step = pytensor.function([ids], rows, updates=updates)
    return table, step, step(drawn % table.shape[0])


few = np.arange(1000) * 1000
# Compiles what is the same below; the map of slots gives way to a search there.
from rowtune import places as places_file
kept, places_file._SMALL_SLOT_MAP = places_file._SMALL_SLOT_MAP, 0
places_file._ROWS_PER_TRAINABLE_ROW_TO_SEARCH = 2
for given in (small, quantize(small), quantize(small, "bfloat16")):
    run(given, np.arange(1000))
places_file._SMALL_SLOT_MAP = kept
for kind in ("float32", "int8", "bfloat16"):
    given = base(kind, PATH)
    before = resident()
    all_of_it = run(given, few)
    grown = resident() - before
    assert grown < 100, (kind, grown)
    print(kind, round(grown))
"""


def test_20_gb_take_memory_for_what_is_looked_up(tmp_path):
    assert len(growth.of(PROGRAM, tmp_path).splitlines()) == 3
