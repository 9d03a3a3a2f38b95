"""Rules that follow a decaying mean of the gradient, scaled: adam and its kin."""

from __future__ import annotations

import math
from typing import Any

from numpy import abs, maximum, sqrt, where

from rowtune.rules.absent import absent
from rowtune.rules.drift import DRIFT, drift_course, longest_drift, series_limit
from rowtune.rules.form import per_row, rule
from rowtune.rules.operations import row_mean


def adam_clock(t: Any, beta1: float, beta2: float) -> tuple[Any, Any]:
    """Adam's bias corrections at step t: 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t)."""
    return 1.0 / (1.0 - beta1**t), 1.0 / (1.0 - beta2**t) ** 0.5


@rule(
    state={"m": 0.0, "v": 0.0},
    clock=(adam_clock, "unbias_m unbias_root"),
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
)
def adam(  # type: ignore[no-untyped-def]
    row, grad, m, v, lr, unbias_m, unbias_root, beta1, one_minus_beta1, beta2, one_minus_beta2, eps
):
    """m and v are decaying means of grad and grad^2; row - lr * m' / (sqrt(v') + eps).

    m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t), with t the steps of this row.
    Kingma & Ba, "Adam", ICLR 2015, algorithm 1; eps stands outside the root of the corrected v'.
    Equals `torch.optim.Adam` (adamw: `torch.optim.AdamW`) where every row is touched in every step.
    """
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * (grad * grad)
    return row - (lr * unbias_m) * (m / (sqrt(v) * unbias_root + eps)), m, v


adamw = adam.variant("adamw", weight_decay=1e-2, decoupled=True)


def adam_course(t, lr, shrink, beta1, beta2):  # type: ignore[no-untyped-def]
    """See `rowtune.rules.drift`: sqrt(v) decays by the root of beta2."""
    return drift_course(lr, shrink, *adam_clock(t, beta1, beta2), beta1, beta2, math.sqrt(beta2))


def adam_limit(precision, beta1, beta2):  # type: ignore[no-untyped-def]
    """See `rowtune.rules.drift.series_limit`."""
    return series_limit(precision, beta1, math.sqrt(beta2))


def adam_doubt(m, v, eps, limit):  # type: ignore[no-untyped-def]
    """Where eps is not small beside sqrt(v), and there is a drift at all."""
    return (m != 0) & (eps >= limit * sqrt(v))


@absent(adam, adam_course, DRIFT, doubt=adam_doubt, limit=adam_limit)
def adam_absent(  # type: ignore[no-untyped-def]
    row, m, v, eps, kept, drift0, drift1, drift2, drift3, drift4, drift5, faded_m, faded_v
):
    """An absent row drifts on in the direction of m until that has faded."""
    root = sqrt(v)
    y = eps / root
    sum = drift0 + y * (drift1 + y * (drift2 + y * (drift3 + y * (drift4 + y * drift5))))
    return kept * row + where(m == 0, m, m / root * sum), faded_m * m, faded_v * v


@rule(
    state={"m": 0.0, "v": per_row(0.0)},
    clock=(adam_clock, "unbias_m unbias_root"),
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
)
def rowwise_adam(  # type: ignore[no-untyped-def]
    row, grad, m, v, lr, unbias_m, unbias_root, beta1, one_minus_beta1, beta2, one_minus_beta2, eps
):
    """m and v are decaying means of grad and of mean(grad^2) over the row;
    row - lr * m' / (sqrt(v') + eps).

    One number per row in place of D: about half of Adam's memory. m' = m / (1 - beta1^t) and v' =
    v / (1 - beta2^t), with t the steps of this row. FBGEMM, "Table Batched Embedding operators",
    optimizer PARTIAL_ROWWISE_ADAM, 2021; eps stands outside the root of the corrected v'. Equals
    FBGEMM's `PARTIAL_ROWWISE_ADAM` (whose weight decay is ``decoupled``) where every row is touched
    in every step, and on rows of one column `torch.optim.Adam`. Where columns were chosen, the mean
    is that of these.
    """
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * row_mean(grad * grad)
    return row - (lr * unbias_m) * (m / (sqrt(v) * unbias_root + eps)), m, v


absent(rowwise_adam, adam_course, DRIFT, doubt=adam_doubt, limit=adam_limit)(adam_absent)


@rule(
    state={"m": 0.0, "v": 0.0, "largest_v": 0.0},
    clock=(adam_clock, "unbias_m unbias_root"),
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
)
def amsgrad(  # type: ignore[no-untyped-def]
    row, grad, m, v, largest_v, lr, unbias_m, unbias_root,
    beta1, one_minus_beta1, beta2, one_minus_beta2, eps,
):  # fmt: skip
    """adam with the largest v so far in place of v, which therefore never makes a step longer.

    Reddi, Kale & Kumar, "On the Convergence of Adam and Beyond", ICLR 2018, algorithm 2, with
    Adam's bias corrections; eps stands outside the root. Equals `torch.optim.Adam(amsgrad=True)`
    where every row is touched in every step.
    """
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * (grad * grad)
    largest_v = maximum(largest_v, v)
    return row - (lr * unbias_m) * (m / (sqrt(largest_v) * unbias_root + eps)), m, v, largest_v


def amsgrad_course(t, lr, shrink, beta1, beta2):  # type: ignore[no-untyped-def]
    """See `rowtune.rules.drift`: the largest v stays."""
    return drift_course(lr, shrink, *adam_clock(t, beta1, beta2), beta1, beta2, 1.0)


def amsgrad_limit(precision, beta1):  # type: ignore[no-untyped-def]
    """See `rowtune.rules.drift.series_limit`."""
    return series_limit(precision, beta1, 1.0)


def amsgrad_doubt(m, v, largest_v, eps, limit):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Where eps is not small beside the root, and there is a drift at all."""
    return (m != 0) & (eps >= limit * sqrt(largest_v))


@absent(amsgrad, amsgrad_course, DRIFT, doubt=amsgrad_doubt, limit=amsgrad_limit)
def amsgrad_absent(  # type: ignore[no-untyped-def]
    row, m, v, largest_v, eps,
    kept, drift0, drift1, drift2, drift3, drift4, drift5, faded_m, faded_v,
):  # fmt: skip
    """An absent row drifts on in the direction of m until that has faded."""
    root = sqrt(largest_v)
    y = eps / root
    sum = drift0 + y * (drift1 + y * (drift2 + y * (drift3 + y * (drift4 + y * drift5))))
    drift = where(m == 0, m, m / root * sum)
    return kept * row + drift, faded_m * m, faded_v * v, largest_v


def adamax_clock(t: Any, beta1: float) -> tuple[Any]:
    """The bias correction of m at step t: 1 / (1 - beta1^t)."""
    return (1.0 / (1.0 - beta1**t),)


@rule(
    state={"m": 0.0, "u": 0.0},
    clock=(adamax_clock, "unbias_m"),
    lr=2e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
)
def adamax(  # type: ignore[no-untyped-def]
    row, grad, m, u, lr, unbias_m, beta1, one_minus_beta1, beta2, eps
):
    """m is a decaying mean of grad, u = max(beta2 * u, |grad| + eps); row - lr * m' / u.

    m' = m / (1 - beta1^t), with t the steps of this row. Kingma & Ba, "Adam", ICLR 2015,
    algorithm 2; eps stands beside |grad|. Equals `torch.optim.Adamax` where every row is touched in
    every step.
    """
    m = beta1 * m + one_minus_beta1 * grad
    u = maximum(beta2 * u, abs(grad) + eps)
    return row - (lr * unbias_m) * (m / u), m, u


def adamax_course(t, lr, shrink, beta1, beta2):  # type: ignore[no-untyped-def]
    """The drift in units of m / u, both of which fade, and the two by themselves."""
    (unbias_m,) = adamax_clock(t, beta1)
    fading = beta1 / beta2
    return (shrink, -lr * unbias_m * fading, 0.0, fading), (beta1, 0.0, 0.0, beta2)


def adamax_limit(precision, beta1, beta2):  # type: ignore[no-untyped-def]
    """How far u may fade while there is a drift, before eps holds it up."""
    longest = longest_drift(precision, beta1, beta2)
    return (beta2**longest if longest < 1 << 62 else 0.0), longest


def adamax_doubt(m, u, eps, limit):  # type: ignore[no-untyped-def]
    """Where u may fall to eps during the drift."""
    return (m != 0) & (limit * u <= eps)


@absent(
    adamax,
    adamax_course,
    "kept drift _ _ faded_m _ _ faded_u",
    doubt=adamax_doubt,
    limit=adamax_limit,
)
def adamax_absent(row, m, u, eps, kept, drift, faded_m, faded_u):  # type: ignore[no-untyped-def]
    """An absent row drifts on in the direction of m until that has faded."""
    step = where(m == 0, m, m / u * drift)
    return kept * row + step, faded_m * m, maximum(faded_u * u, eps)
