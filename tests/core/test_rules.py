"""Every rule, on every dtype, against the naive judge and against torch."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from judge import FORMULAS, Judge
from numpy import maximum, sign, where

from rowtune import Table, numpy_engine, rules
from rowtune.errors import RuleError
from rowtune.kernels import update as kernels
from rowtune.rules.described import described
from rowtune.step import Trained

HYPER = {"lr_decay": 0.1, "initial_accumulator_value": 0.3, "momentum": 0.7, "eps": 1e-3}
TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5, np.float16: 2e-2}
DECAYS = [(0.0, False), (0.1, False), (0.1, True)]


def hyper_of(name, **more):
    rule = rules.get(name)
    given = {k: v for k, v in HYPER.items() if k in rule.defaults}
    return rule.hyper(lr=0.03, **given, **more)


def batches(rng, num_rows, width, dtype, count=25):
    for i in range(count):
        ids = rng.integers(0, num_rows, (3, 4)) if i % 5 else np.zeros((0,), int)
        yield ids, rng.standard_normal((*ids.shape, width)).astype(dtype)


def test_the_judge_knows_every_rule():
    assert set(FORMULAS) == set(rules.names())


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", rules.names())
def test_a_rule_agrees_with_the_judge(name, dtype, decay):
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((9, 5)).astype(dtype)
    hyper = hyper_of(name, weight_decay=decay[0], decoupled=decay[1])
    table = Table(weights, train=[7, 0, 3, 8], rule=name, **hyper)
    judge = Judge(weights, [7, 0, 3, 8], name, hyper)
    for ids, grads in batches(rng, 9, 5, dtype):
        table.update(ids, grads)
        judge.update(ids, grads)
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(table.weights, judge.matrix(), rtol=tolerance, atol=tolerance)
    assert table.steps.tolist() == [judge.steps[i] for i in (0, 3, 7, 8)]
    for state, first in rules.get(name).first_values(hyper).items():
        expected = judge.state_array(state, (0, 3, 7, 8), first)
        tight = min(tolerance, 1e-4)  # state is never narrower than float32
        if dtype is not np.float16:
            np.testing.assert_allclose(table.state[state], expected, rtol=tight, atol=tight)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", rules.names())
def test_the_kernel_and_the_plain_step_agree_to_the_last_bits(name, dtype, decay):
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((9, 17)).astype(dtype)
    hyper = hyper_of(name, weight_decay=decay[0], decoupled=decay[1])
    compiled, plain = (Table(weights, [7, 0, 3, 8], name, **hyper) for _ in range(2))
    assert kernels.can_compile(compiled.block)
    for ids, grads in batches(rng, 9, 17, dtype):
        compiled.update(ids, grads)
        trained = Trained(plain.block, tuple(plain.state.values()), plain._block.steps)
        slots = plain.rows.slots(ids).reshape(-1)
        numpy_engine.update_plain(plain._tuned, trained, slots, grads.reshape(-1, 17), True)
    atol = 1e-6 if "centered" in name else 1e-7  # a variance is a difference of like numbers
    np.testing.assert_allclose(compiled.block, plain.block, rtol=8 * np.finfo(dtype).eps, atol=atol)
    for state, array in compiled.state.items():
        tight = {"rtol": 64 * np.finfo(dtype).eps, "atol": 1e-6 if dtype is np.float32 else 1e-14}
        np.testing.assert_allclose(array, plain.state[state], **tight)
    assert compiled.steps.tolist() == plain.steps.tolist()


def adagrad_of_torch(p, h):
    return torch.optim.Adagrad(
        p,
        lr=h["lr"],
        lr_decay=h["lr_decay"],
        initial_accumulator_value=h["initial_accumulator_value"],
        eps=h["eps"],
    )


def rmsprop_of_torch(p, h, centered=False):
    return torch.optim.RMSprop(
        p,
        lr=h["lr"],
        alpha=h["alpha"],
        eps=h["eps"],
        momentum=h.get("momentum", 0),
        centered=centered,
    )


def adam_of_torch(p, h, kind=torch.optim.Adam, **more):
    return kind(p, lr=h["lr"], betas=(h["beta1"], h["beta2"]), eps=h["eps"], **more)


OPTAX = """
import sys, jax, numpy, optax
jax.config.update("jax_enable_x64", True)
given = numpy.load(sys.argv[1])
hyper = [float(given[name]) for name in ("lr", "beta1", "beta2")]
lion = optax.lion(*hyper, weight_decay=0.0)
row = jax.numpy.asarray(given["start"])
state = lion.init(row)
for grad in given["grads"]:
    change, state = lion.update(jax.numpy.asarray(grad), state, row)
    row = optax.apply_updates(row, change)
numpy.save(sys.argv[1] + ".npy", numpy.asarray(row))
"""


class LionOfOptax:
    """torch has none. JAX has threads, beside which nothing may fork: it has its own process."""

    def __init__(self, params, lr=1e-4, beta1=0.9, beta2=0.99, **rest):
        (self._parameter,) = params
        self._given = {"lr": lr, "beta1": beta1, "beta2": beta2, "grads": []}

    def step(self):
        self._given["grads"].append(self._parameter.grad.numpy())

    @torch.no_grad()
    def finish(self, folder):
        start = self._parameter.numpy()
        np.savez(folder / "lion.npz", start=start, **self._given)
        command = [sys.executable, "-c", OPTAX, str(folder / "lion.npz")]
        subprocess.run(command, check=True, timeout=120)
        self._parameter.copy_(torch.from_numpy(np.load(folder / "lion.npz.npy")))


TORCH = {
    "sgd": lambda p, h: torch.optim.SGD(p, lr=h["lr"]),
    "momentum": lambda p, h: torch.optim.SGD(p, lr=h["lr"], momentum=h["momentum"]),
    "nesterov": lambda p, h: torch.optim.SGD(p, lr=h["lr"], momentum=h["momentum"], nesterov=True),
    "adagrad": adagrad_of_torch,
    "rowwise_adagrad": adagrad_of_torch,  # on rows of one column
    "rmsprop": rmsprop_of_torch,
    "rmsprop_momentum": rmsprop_of_torch,
    "centered_rmsprop": lambda p, h: rmsprop_of_torch(p, h, centered=True),
    "centered_rmsprop_momentum": lambda p, h: rmsprop_of_torch(p, h, centered=True),
    "adadelta": lambda p, h: torch.optim.Adadelta(p, lr=h["lr"], rho=h["rho"], eps=h["eps"]),
    "adam": adam_of_torch,
    "adamw": lambda p, h: adam_of_torch(p, h, torch.optim.AdamW, weight_decay=h["weight_decay"]),
    "rowwise_adam": adam_of_torch,  # on rows of one column
    "amsgrad": lambda p, h: adam_of_torch(p, h, amsgrad=True),
    "adamax": lambda p, h: adam_of_torch(p, h, torch.optim.Adamax),
    "lion": lambda p, h: LionOfOptax(p, h["lr"], h["beta1"], h["beta2"]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", rules.names())
def test_touching_every_row_in_every_step_equals_torch(name, dtype, tmp_path):
    rng = np.random.default_rng(3)
    width = 6 if rules.get(name).is_elementwise else 1
    weights = rng.standard_normal((20, width)).astype(dtype)
    table = Table(weights, rule=name, **hyper_of(name))
    parameter = torch.nn.Parameter(torch.tensor(weights))
    optimizer = TORCH[name]([parameter], hyper_of(name))
    for _ in range(60):
        grads = rng.standard_normal((20, width)).astype(dtype)
        table.update(np.arange(20), grads)
        parameter.grad = torch.tensor(grads)
        optimizer.step()
    if isinstance(optimizer, LionOfOptax):
        optimizer.finish(tmp_path)
    tolerance = 1e-12 if dtype is np.float64 else 3e-6
    np.testing.assert_allclose(
        table.weights, parameter.detach().numpy(), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("name", rules.names())
def test_defaults_are_those_of_torch(name):
    ours, theirs = rules.get(name).defaults, None
    parameter = torch.nn.Parameter(torch.zeros(1))
    cls = type(TORCH[name]([parameter], hyper_of(name)))
    theirs = {k: p.default for k, p in inspect.signature(cls).parameters.items()}
    if "betas" in theirs:
        theirs["beta1"], theirs["beta2"] = theirs["betas"]
    if name in ("adamw", "lion"):
        assert ours["decoupled"]  # torch has no such argument
    for hyper in set(ours) & set(theirs) - {"momentum", "nesterov"}:
        assert ours[hyper] == theirs[hyper], hyper


def test_a_rare_row_starts_at_its_own_step_one():
    table = Table(np.zeros((2, 3)), rule="adam", lr=0.01)
    for _ in range(5000):
        table.update([0], np.ones((1, 3)))
    table.update([1], np.full((1, 3), 5.0))
    np.testing.assert_allclose(table.weights[1], -0.01, rtol=1e-6)  # 1.00 x lr
    assert table.steps.tolist() == [5000, 1]


def test_float32_keeps_the_digits_of_one_minus_beta2():
    table = Table(np.zeros((1, 1), np.float32), rule="adam", beta2=0.9999)
    table.update([0], np.ones((1, 1)))
    assert table.state["v"][0, 0] == np.float32(1e-4)


@pytest.mark.parametrize("name", rules.names())
def test_a_compiled_rule_never_leaves_float32(name):
    table = Table(np.zeros((2, 3), np.float32), rule=name, weight_decay=0.1)
    table.update([0], np.ones((1, 3)))
    from rowtune.kernels.fused import kernel_of

    kernel = kernel_of(table._tuned.rule, table._tuned.decay)
    if rules.get(name).is_elementwise:
        step = kernel.py_func.__globals__["step"]
        results = [(str(s), str(step.overloads[s].signature.return_type)) for s in step.signatures]
    else:  # the rule's values are variables of the kernel: x and a number
        results = [
            (str(s), str(kind))
            for s in kernel.signatures
            for variable, kind in kernel.overloads[s].type_annotation.typemap.items()
            if re.match(r"x\d", variable)
        ]
    assert results
    assert not any("float64" in result for s, result in results if "float64" not in s), results


@pytest.mark.parametrize("name", rules.names())
def test_other_numbers_batches_and_tables_compile_nothing(name):
    from rowtune.kernels.fused import kernel_of

    kernel = kernel_of(rules.get(name), "coupled")
    counts = []
    for i, (rows, ids) in enumerate([(3, [0]), (3, [0]), (500, [1, 1, 7]), (9, np.arange(9) % 3)]):
        hyper = {k: v * (1 - 0.1 * i) for k, v in hyper_of(name, weight_decay=0.1).items()}
        hyper |= (
            {"decoupled": False, "nesterov": i > 1} if "nesterov" in hyper else {"decoupled": 0}
        )
        table = Table(np.ones((rows, 4)), rule=name, **hyper)
        for _ in range(2):
            table.update(ids, np.ones((len(ids), 4)))
            table.lr /= 2
        counts.append(len(kernel.signatures))
    assert counts[0] and counts == counts[:1] * 4


def test_a_rule_of_the_users_own():
    @rules.rule(state={"seen": 0.0}, lr=0.5)
    def halving(row, grad, seen, lr):
        """Half of the gradient's step, and a count."""
        return row - lr * grad, seen + lr

    table = Table(np.ones((3, 2)), rule=halving)
    table.update([1, 1], np.ones((2, 2)))
    assert table.rule == "halving"
    assert table.weights.tolist() == [[1, 1], [1 - 2e-3, 1 - 2e-3], [1, 1]]  # Table's lr is 1e-3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rule": "adamax2"}, "there is no rule 'adamax2'; expected one of sgd"),
        ({"rule": "sgd", "beta1": 0.9}, "'sgd' takes no hyper-parameter 'beta1'; it takes lr"),
        ({"lr": -1}, "lr=-1; expected at least 0"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"beta2": 1.0}, "beta2=1.0; expected at least 0 and below 1"),
        ({"betas": 0.9}, "expected two numbers"),
        ({"eps": "small"}, "expected a number"),
    ],
)
def test_a_rule_or_hyper_parameter_that_makes_no_sense(arguments, words):
    with pytest.raises(RuleError, match=words):
        Table(np.zeros((2, 2)), **arguments)


def test_hyper_parameters_change_between_updates_and_state_stays():
    table = Table(np.zeros((1, 1)), rule="adam", lr=1.0, betas=(0.5, 0.5), eps=0.0)
    table.update([0], [[1.0]])
    table.lr = 0.0
    table.update([0], [[1.0]])
    np.testing.assert_allclose(table.weights, [[-1.0]])
    table.set_hyper(lr=1.0, beta1=0.0)
    table.update([0], [[1.0]])
    np.testing.assert_allclose(table.weights, [[-2.0]])
    assert table.hyper["beta1"] == 0.0
    with pytest.raises(RuleError, match="lr"):
        table.lr = -1
    assert table.lr == 1.0


def test_every_rule_says_its_formula_its_source_and_what_it_equals():
    found = {name: described(rules.get(name)) for name in rules.names()}
    for name, each in found.items():
        assert re.search(r"\b(19|20)\d\d$", each.source), name
        assert len(each.formula) > 10, name
    assert found["adamw"].equals == "torch.optim.AdamW"
    assert found["adam"].equals == "torch.optim.Adam"
    assert found["nesterov"].equals == "torch.optim.SGD(nesterov=True)"
    assert found["rowwise_adagrad"].state == "1"
    assert found["rowwise_adam"].state == "D + 1"
    assert found["centered_rmsprop_momentum"].state == "3 D"
    assert {each.equals.split(".")[0] for each in found.values()} == {
        "torch", "optax", "EXACT_ROWWISE_ADAGRAD", "PARTIAL_ROWWISE_ADAM",
    }  # fmt: skip


def test_a_clock_may_depend_on_the_learning_rate():
    def rate(t, lr):
        return (lr / t,)

    @rules.rule(clock=(rate, "rate"), lr=1.0)
    def falling(row, grad, rate):
        return row - rate * grad

    table = Table(np.zeros((1, 1)), rule=falling, lr=1.0)
    table.update([0], [[1.0]])
    table.lr = 0.5
    table.update([0], [[1.0]])
    assert table.weights.tolist() == [[-1.25]]


def test_every_name_that_a_rule_may_use_means_what_it_means_in_numpy():
    @rules.rule(state={"seen": 0.0}, lr=1.0)
    def all_names(row, grad, seen, lr):
        return where(grad > lr, sign(grad), maximum(row, grad)), abs(grad)

    values = np.array([np.inf, -np.inf, 0.0, -0.0, 2.5, -2.5, np.nan, 1e-40])
    table = Table(np.full((1, 8), 0.5), rule=all_names)
    table.update([0], values[None], check_finite=False)
    with np.errstate(invalid="ignore"):
        expected = np.where(values > 1e-3, np.sign(values), np.maximum(0.5, values))
    np.testing.assert_array_equal(table.weights[0], expected)
    np.testing.assert_array_equal(table.state["seen"][0], np.abs(values))


def test_a_rule_of_another_form_is_refused_where_it_is_written():
    with pytest.raises(RuleError, match=r"uses \['np'"):

        @rules.rule(lr=1.0)
        def with_module(row, grad, lr):
            return row - lr * np.sqrt(grad)

    factor = 2.0
    with pytest.raises(RuleError, match="variables of the function around it"):

        @rules.rule(lr=1.0)
        def with_closure(row, grad, lr):
            return row - factor * lr * grad

    with pytest.raises(RuleError, match=r"returns 1 values; expected .* 2 in all"):

        @rules.rule(state={"m": 0.0}, lr=1.0)
        def forgetful(row, grad, m, lr):
            return row - lr * grad

    with pytest.raises(RuleError, match="asks for 'speed', which nothing gives"):

        @rules.rule(lr=1.0)
        def unknown(row, grad, speed):
            return row - speed * grad


def test_kernels_let_other_threads_run():
    from rowtune.kernels.fused import kernel_of

    assert kernel_of(rules.get("adam"), "none").targetoptions["nogil"]
