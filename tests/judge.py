"""The naive judge: every rule once more, as plain loops over Python floats.

Nothing here is vectorized, shared with the library, or clever. A step is: sum duplicates, then for
each touched row and element the textbook's formula. Engines are compared with this.
"""

from __future__ import annotations

import math

import numpy as np


def _sgd(w, g, s, t, h):
    return w - h["lr"] * g


def _momentum(w, g, s, t, h):
    s["velocity"] = h["momentum"] * s.get("velocity", 0.0) + g
    ahead = g + h["momentum"] * s["velocity"] if h["nesterov"] else s["velocity"]
    return w - h["lr"] * ahead


def _adagrad(w, g, s, t, h):
    s["total"] = s.get("total", h["initial_accumulator_value"]) + g**2
    lr = h["lr"] / (1 + (t - 1) * h["lr_decay"])
    return w - lr * g / (math.sqrt(s["total"]) + h["eps"])


def _rmsprop(w, g, s, t, h):
    s["square"] = h["alpha"] * s.get("square", 0.0) + (1 - h["alpha"]) * g**2
    return w - h["lr"] * g / (math.sqrt(s["square"]) + h["eps"])


def _adam(w, g, s, t, h):
    s["m"] = h["beta1"] * s.get("m", 0.0) + (1 - h["beta1"]) * g
    s["v"] = h["beta2"] * s.get("v", 0.0) + (1 - h["beta2"]) * g**2
    m = s["m"] / (1 - h["beta1"] ** t)
    v = s["v"] / (1 - h["beta2"] ** t)
    return w - h["lr"] * m / (math.sqrt(v) + h["eps"])


FORMULAS = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _momentum,
    "adagrad": _adagrad,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adam,
}


class Judge:
    """A table of Python floats, with the same `update` as `rowtune.Table`."""

    def __init__(self, weights, trainable, rule, hyper, columns=None):
        self.rows = [[float(x) for x in row] for row in weights]
        self.trainable = {int(i) for i in trainable}
        self.columns = range(len(self.rows[0])) if columns is None else [int(c) for c in columns]
        self.formula = FORMULAS[rule]
        self.hyper = hyper
        self.state = {}
        self.steps = dict.fromkeys(self.trainable, 0)

    def update(self, ids, grads):
        sums = {}
        flat = np.asarray(grads, dtype=np.float64).reshape(-1, len(self.rows[0]))
        for i, grad in zip(np.ravel(ids).tolist(), flat, strict=True):
            if i in self.trainable:
                row = sums.setdefault(i, [0.0] * len(grad))
                for j, x in enumerate(grad):
                    row[j] += float(x)
        for i, grad in sums.items():
            self.steps[i] += 1
            for j in self.columns:
                self._move(i, j, grad[j])

    def _move(self, i, j, g):
        h, w = self.hyper, self.rows[i][j]
        if h["weight_decay"] and h["decoupled"]:
            w = w - h["lr"] * h["weight_decay"] * w
        elif h["weight_decay"]:
            g = g + h["weight_decay"] * w
        state = self.state.setdefault((i, j), {})
        self.rows[i][j] = self.formula(w, g, state, self.steps[i], h)

    def matrix(self):
        return np.array(self.rows)

    def state_array(self, name, ids, first):
        return np.array(
            [[self.state.get((i, j), {}).get(name, first) for j in self.columns] for i in ids]
        )
