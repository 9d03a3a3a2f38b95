"""The numbers of a rule at one step: constants, variables, tensors and schedules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import tensorflow as tf

from rowtune.errors import RuleError
from rowtune.rules import Rule
from rowtune.rules.tuned import Tuned
from rowtune.tensorflow.clock import ClockReader
from rowtune.tensorflow.tracing import is_tensor

_SWITCHES = ("decoupled", "nesterov")


def numbers_of(rule: Rule, dtype: Any, hyper: Mapping[str, Any]) -> tuple[Numbers, dict[str, Any]]:
    """What is known of a rule's hyper-parameters, made once, and those that change.

    Parameters
    ----------
    dtype : tf.DType of the state
    hyper : mapping
        Python numbers, and for those that change variables, tensors, or schedules: callables of
        the variable's steps so far, 0 in the first, as `tf.keras.optimizers.schedules` are.

    Raises
    ------
    RuleError
        A hyper-parameter that the rule does not take, or a number outside its range.
    """
    given = _betas_apart(rule, hyper)
    changing = {name: x for name, x in given.items() if is_tensor(x) or callable(x)}
    for name in _SWITCHES:
        if name in changing:
            raise RuleError(f"{rule.name}: {name} must be True or False, known beforehand")
    # Names are checked with the defaults in the place of numbers that nobody knows yet.
    fixed = {name: x for name, x in given.items() if name not in changing}
    checked = rule.hyper(**fixed, **{name: rule.defaults.get(name) for name in changing})
    return _numbers(rule, dtype, tuple(checked.items()), frozenset(changing)), changing


class Numbers:
    """Hyper-parameters of ``rule``, of which those called ``changing`` come with each step.

    Attributes
    ----------
    decay : "none", "coupled" or "decoupled"
    """

    def __init__(
        self, rule: Rule, dtype: Any, hyper: Mapping[str, Any], changing: frozenset[str]
    ) -> None:
        self.rule = rule
        self.tuned = Tuned(rule, dtype.as_numpy_dtype, **hyper)
        self.decay: str = self.tuned.decay
        if "weight_decay" in changing:
            self.decay = "decoupled" if self.tuned.hyper["decoupled"] else "coupled"
        self._dtype = dtype
        self._clock = ClockReader(self.tuned, changing)

    def at(self, t: Any, iterations: Any, changing: Mapping[str, Any]) -> list[Any]:
        """The decay's number and the rule's, in order: in the state's dtype, scalars or (u, 1).

        Parameters
        ----------
        t : int32 (u,), the steps of each touched row, from 1
        iterations : int64 scalar, the steps of the variable so far
        changing : mapping, as `numbers_of` gave it
        """
        now = {name: _now(x, iterations) for name, x in changing.items()}
        hyper = {**self.tuned.hyper, **now}
        decay, *others = (tf.constant(x, self._dtype) for x in self.tuned.constants)
        for place, name in enumerate(self.rule.numbers(self.tuned.hyper)):
            if name in now:
                others[place] = tf.cast(now[name], self._dtype)
            elif name.removeprefix("one_minus_") in now:
                others[place] = tf.cast(1.0 - now[name.removeprefix("one_minus_")], self._dtype)
        if "lr" in now or "weight_decay" in now:
            decay = tf.cast(_decay_number(self.decay, hyper), self._dtype)
        return [decay, *self.rule.in_order(self._clock(t, hyper), others)]


@lru_cache(maxsize=32)
def _numbers(
    rule: Rule, dtype: Any, hyper: tuple[tuple[str, Any], ...], changing: frozenset[str]
) -> Numbers:
    return Numbers(rule, dtype, dict(hyper), changing)


def _decay_number(kind: str, hyper: Mapping[str, Any]) -> Any:
    """As `rowtune.rules.decay.decay_number`, which takes Python's numbers."""
    if kind == "decoupled":
        return 1.0 - hyper["lr"] * hyper["weight_decay"]
    return hyper["weight_decay"]


def _now(number: Any, iterations: Any) -> Any:
    """In float64, so that 1 - beta2 keeps the digits that it has."""
    return tf.cast(number if is_tensor(number) else number(iterations), tf.float64)


def _betas_apart(rule: Rule, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """``betas=(b1, b2)`` as two, where either may be a tensor."""
    given = dict(hyper)
    betas = given.get("betas")
    pair = isinstance(betas, tuple | list) and len(betas) == 2
    if pair and "beta1" in rule.defaults and not {"beta1", "beta2"} & set(given):
        given["beta1"], given["beta2"] = given.pop("betas")
    return given
