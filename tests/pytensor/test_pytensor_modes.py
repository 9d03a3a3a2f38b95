"""In place in the default and the C mode, at the batch's cost; in JAX mode the same numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import rowtune.pytensor as rp
from rowtune import Table
from rowtune.pytensor.move_rows import MoveRows

DEFAULT = "NUMBA"  # which is what mode=None means in PyTensor 3


def address(variable):
    return variable.get_value(borrow=True, return_internal_type=True).ctypes.data


def nodes_of(function, kind):
    return [node for node in function.maker.fgraph.toposort() if isinstance(node.op, kind)]


def test_the_default_mode_is_numba():
    assert type(pytensor.compile.mode.get_default_mode().linker).__name__ == "NumbaLinker"


@pytest.mark.parametrize("mode", [DEFAULT, "CVM"])
@pytest.mark.parametrize("train", ["all", [1, 3, 4]])
def test_rows_are_moved_in_place(train, mode, stepper):
    if mode == "CVM" and not pytensor.config.cxx:
        pytest.skip("PyTensor found no C++ compiler (pytensor.config.cxx is empty)")
    weights = np.random.default_rng(20).standard_normal((6, 5)).astype(np.float32)
    table, reference = rp.lookup_table(weights, train), Table(weights, train, "adam", lr=0.1)
    step = stepper(table, "adam", lr=0.1, mode=mode)
    variables = [table.block, table.steps, *table.state.values()]
    places = [address(x) for x in variables]
    rng = np.random.default_rng(21)
    for n in (3, 7, 0, 5):
        ids, grads = rng.integers(0, 6, n), rng.standard_normal((n, 5)).astype(np.float32)
        step(ids, grads)
        reference.update(ids, grads)
    assert table.weights.tobytes() == reference.weights.tobytes()
    assert [address(x) for x in variables] == places
    (move,) = nodes_of(step, MoveRows)
    assert move.op.inplace
    assert move.op.destroy_map == {0: [0], 1: [1], 2: [6], 3: [7]}
    # Nothing else of the graph sees the block whole, but for the lookup.
    (fgraph,) = {id(step.maker.fgraph): step.maker.fgraph}.values()
    block = next(x for x in fgraph.inputs if x.name == "table.block")
    users = {type(node.op).__name__ for node, _ in fgraph.clients[block]}
    assert users == {"AdvancedSubtensor1", "MoveRows"}


def test_the_second_call_compiles_nothing(stepper):
    table = rp.lookup_table(np.ones((6, 5), np.float32), train=[1, 3])
    step = stepper(table, "adam", lr=0.1, mode=DEFAULT)
    for n in (4, 9, 1, 0):
        step(np.arange(n) % 6, np.ones((n, 5), np.float32))
        assert len(step.vm.jit_fn.signatures) == 1


def test_without_rewrites_in_place_the_old_values_are_kept(stepper):
    table = rp.lookup_table(np.ones((3, 2)))
    mode = pytensor.compile.mode.get_mode(DEFAULT).excluding("inplace")
    step = stepper(table, "momentum", lr=0.1, mode=mode)
    before = table.block.get_value(borrow=True)
    step([1], [[1.0, 1.0]])
    assert before.tolist() == [[1, 1]] * 3
    np.testing.assert_allclose(table.block.get_value(), [[1, 1], [0.9, 0.9], [1, 1]])


def test_an_output_shows_the_table_as_it_was_before_the_step(stepper):
    table = rp.lookup_table(np.ones((3, 2)))
    ids = pt.lvector()
    rows = table[ids]
    updates = rp.updates(pt.sum(rows), rows, "sgd", lr=0.5)
    step = pytensor.function([ids], [table.block, rows], updates=updates, mode="FAST_COMPILE")
    for expected in (1.0, 0.5):
        block, looked_up = step([1])
        assert block[1].tolist() == looked_up[0].tolist() == [expected] * 2


IN_JAX = """
import sys, warnings
import numpy as np, pytensor, pytensor.tensor as pt
import rowtune.pytensor as rp
from rowtune import Table, rules
from rowtune.errors import FrozenRowError, IdError

warnings.filterwarnings("ignore", "Skipping CheckAndRaise")
wide = pytensor.config.floatX == "float64"
dtype = np.dtype(pytensor.config.floatX)
if not wide:  # JAX has no 64 bits then, and says so of every cast
    warnings.filterwarnings("ignore", "Explicitly requested dtype")
train = [7, 0, 3, 8]
weights = np.random.default_rng(0).standard_normal((9, 5)).astype(dtype)
ids, grads = pt.lvector("ids"), pt.matrix("grads", dtype=dtype.name)
tables, references, cost, updates = [], [], 0, {}
for i, name in enumerate(rules.names()[:: 1 if wide else 4]):  # wide: all of them
    rule = rules.get(name)
    hyper = {"lr_decay": 0.1} if "lr_decay" in rule.defaults else {}
    hyper = rule.hyper(lr=0.03, weight_decay=0.1, decoupled=bool(i % 2), **hyper)
    chosen = train if i % 3 else "all"
    columns = [1, 2, 4] if i % 4 == 2 else None
    tables.append(rp.lookup_table(weights, chosen, columns, name=name))
    references.append(Table(weights, chosen, name, columns=columns, **hyper))
    rows = tables[-1][ids]
    lr = pytensor.shared(np.asarray(hyper.pop("lr"), dtype))
    updates |= rp.updates(pt.sum(rows * grads), rows, name, lr=lr, **hyper)
    cost += pt.sum(rows * grads)
step = pytensor.function([ids, grads], cost, updates=updates, mode="JAX")
rng = np.random.default_rng(1)
for n in (12, 12, 0, 1, 12, 12):
    batch = rng.integers(0, 9, n), rng.standard_normal((n, 5)).astype(dtype)
    step(*batch)
    for reference in references:
        reference.update(*batch)
tolerance = 1e-12 if wide else 1e-4
for table, reference in zip(tables, references):
    np.testing.assert_allclose(
        table.weights, reference.weights, rtol=tolerance, atol=tolerance, err_msg=table.name
    )
    assert table.steps.get_value().tolist() == reference.steps.tolist()
    if reference.rows.ids.size < 9:
        frozen = np.flatnonzero(~reference.rows.mask)
        assert table.weights[frozen].tobytes() == weights[frozen].tobytes()

before = [x.get_value() for x in updates]
step([-1, 9, -9, 1 << 30], np.ones((4, 5), dtype))  # JAX cannot raise; it must not write either
for x, old in zip(updates, before):
    assert x.get_value().tobytes() == old.tobytes(), x

table = rp.lookup_table(weights, train, name="words")
which, values = pt.lvector(), pt.matrix(dtype=dtype.name)
add = pytensor.function([which, values], [], updates=rp.inc_rows(table, which, values), mode="JAX")
add([-1, 1, 9, 7], np.ones((4, 5), dtype))
assert (table.weights != weights).any(axis=1).tolist() == [i == 7 for i in range(9)]
print("done", pytensor.config.floatX)
"""


@pytest.mark.parametrize("floatx", ["float64", "float32"])
def test_in_jax_mode_rules_agree(floatx, monkeypatch):
    """In a process of its own, since PyTensor's JAX mode sets JAX's global switch for 64 bits."""
    pytest.importorskip("jax", reason="PyTensor's JAX mode needs JAX")
    flags = pytensor.config.base_compiledir
    monkeypatch.setenv("PYTENSOR_FLAGS", f"base_compiledir={flags},floatX={floatx}")
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")  # compiles sooner
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_JAX],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["done", floatx]
