"""The naive judge: every rule once more, as plain loops over Python floats.

Nothing here is vectorized, shared with the library, or clever. A step is: sum duplicates, then for
each touched row and element the textbook's formula - or each row, where it takes means over rows.
Engines are compared with this.
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


def _rowwise_adagrad(ws, gs, s, t, h):
    s["total"] = s.get("total", h["initial_accumulator_value"]) + sum(g**2 for g in gs) / len(gs)
    lr = h["lr"] / (1 + (t - 1) * h["lr_decay"])
    return [w - lr * g / (math.sqrt(s["total"]) + h["eps"]) for w, g in zip(ws, gs, strict=True)]


def _rmsprop(w, g, s, t, h):
    s["square"] = h["alpha"] * s.get("square", 0.0) + (1 - h["alpha"]) * g**2
    return w - h["lr"] * g / (math.sqrt(s["square"]) + h["eps"])


def _adam(w, g, s, t, h):
    s["m"] = h["beta1"] * s.get("m", 0.0) + (1 - h["beta1"]) * g
    s["v"] = h["beta2"] * s.get("v", 0.0) + (1 - h["beta2"]) * g**2
    m = s["m"] / (1 - h["beta1"] ** t)
    v = s["v"] / (1 - h["beta2"] ** t)
    return w - h["lr"] * m / (math.sqrt(v) + h["eps"])


def _rowwise_adam(ws, gs, s, t, h):
    before = s.get("m", [0.0] * len(gs))
    s["m"] = [h["beta1"] * m + (1 - h["beta1"]) * g for m, g in zip(before, gs, strict=True)]
    s["v"] = h["beta2"] * s.get("v", 0.0) + (1 - h["beta2"]) * sum(g**2 for g in gs) / len(gs)
    root = math.sqrt(s["v"] / (1 - h["beta2"] ** t)) + h["eps"]
    scale = h["lr"] / (1 - h["beta1"] ** t) / root
    return [w - scale * m for w, m in zip(ws, s["m"], strict=True)]


def _rmsprop_momentum(w, g, s, t, h):
    s["square"] = h["alpha"] * s.get("square", 0.0) + (1 - h["alpha"]) * g**2
    s["velocity"] = h["momentum"] * s.get("velocity", 0.0)
    s["velocity"] += g / (math.sqrt(s["square"]) + h["eps"])
    return w - h["lr"] * s["velocity"]


def _centered_rmsprop(w, g, s, t, h):
    s["square"] = h["alpha"] * s.get("square", 0.0) + (1 - h["alpha"]) * g**2
    s["mean"] = h["alpha"] * s.get("mean", 0.0) + (1 - h["alpha"]) * g
    return w - h["lr"] * g / (math.sqrt(s["square"] - s["mean"] ** 2) + h["eps"])


def _centered_rmsprop_momentum(w, g, s, t, h):
    s["square"] = h["alpha"] * s.get("square", 0.0) + (1 - h["alpha"]) * g**2
    s["mean"] = h["alpha"] * s.get("mean", 0.0) + (1 - h["alpha"]) * g
    root = math.sqrt(s["square"] - s["mean"] ** 2) + h["eps"]
    s["velocity"] = h["momentum"] * s.get("velocity", 0.0) + g / root
    return w - h["lr"] * s["velocity"]


def _adadelta(w, g, s, t, h):
    s["square"] = h["rho"] * s.get("square", 0.0) + (1 - h["rho"]) * g**2
    moved = s.get("moved", 0.0)
    step = g * math.sqrt(moved + h["eps"]) / math.sqrt(s["square"] + h["eps"])
    s["moved"] = h["rho"] * moved + (1 - h["rho"]) * step**2
    return w - h["lr"] * step


def _amsgrad(w, g, s, t, h):
    s["m"] = h["beta1"] * s.get("m", 0.0) + (1 - h["beta1"]) * g
    s["v"] = h["beta2"] * s.get("v", 0.0) + (1 - h["beta2"]) * g**2
    s["largest_v"] = max(s.get("largest_v", 0.0), s["v"])
    m = s["m"] / (1 - h["beta1"] ** t)
    v = s["largest_v"] / (1 - h["beta2"] ** t)
    return w - h["lr"] * m / (math.sqrt(v) + h["eps"])


def _adamax(w, g, s, t, h):
    s["m"] = h["beta1"] * s.get("m", 0.0) + (1 - h["beta1"]) * g
    s["u"] = max(h["beta2"] * s.get("u", 0.0), abs(g) + h["eps"])
    return w - h["lr"] * (s["m"] / (1 - h["beta1"] ** t)) / s["u"]


def _lion(w, g, s, t, h):
    c = h["beta1"] * s.get("m", 0.0) + (1 - h["beta1"]) * g
    s["m"] = h["beta2"] * s.get("m", 0.0) + (1 - h["beta2"]) * g
    return w - h["lr"] * ((c > 0) - (c < 0))


FORMULAS = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _momentum,
    "adagrad": _adagrad,
    "rowwise_adagrad": _rowwise_adagrad,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adam,
    "rowwise_adam": _rowwise_adam,
    "lion": _lion,
    "rmsprop_momentum": _rmsprop_momentum,
    "centered_rmsprop": _centered_rmsprop,
    "centered_rmsprop_momentum": _centered_rmsprop_momentum,
    "adadelta": _adadelta,
    "amsgrad": _amsgrad,
    "adamax": _adamax,
}
# Formulas of a whole row, and of their state what is one number for it.
ROW_WISE = {_rowwise_adagrad: {"total"}, _rowwise_adam: {"v"}}


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
            self._move(i, grad)

    def _move(self, i, grad):
        pairs = [self._decayed(self.rows[i][j], grad[j]) for j in self.columns]
        if self.formula in ROW_WISE:
            ws, gs = [w for w, _ in pairs], [g for _, g in pairs]
            state = self.state.setdefault((i, "row"), {})
            moved = self.formula(ws, gs, state, self.steps[i], self.hyper)
        else:
            states = [self.state.setdefault((i, j), {}) for j in self.columns]
            moved = [
                self.formula(w, g, state, self.steps[i], self.hyper)
                for (w, g), state in zip(pairs, states, strict=True)
            ]
        for j, w in zip(self.columns, moved, strict=True):
            self.rows[i][j] = w

    def _decayed(self, w, g):
        h = self.hyper
        if h["weight_decay"] and h["decoupled"]:
            w = w - h["lr"] * h["weight_decay"] * w
        elif h["weight_decay"]:
            g = g + h["weight_decay"] * w
        return w, g

    def matrix(self):
        return np.array(self.rows)

    def state_array(self, name, ids, first):
        columns = self.columns
        if self.formula in ROW_WISE:
            if name not in ROW_WISE[self.formula]:
                nothing = [first] * len(columns)
                return np.array([self.state.get((i, "row"), {}).get(name, nothing) for i in ids])
            columns = ["row"]
        return np.array(
            [[self.state.get((i, j), {}).get(name, first) for j in columns] for i in ids]
        )
