"""Rules that scale a step by what the gradients have been: adagrad, rmsprop, adam and the like."""

from __future__ import annotations

from numpy import sqrt

from rowtune.rules.form import per_row, rule
from rowtune.rules.operations import row_mean


def adagrad_clock(t, lr_decay):  # type: ignore[no-untyped-def]
    """How far the learning rate of step t has decayed: 1 / (1 + (t - 1) * lr_decay)."""
    return (1.0 / (1.0 + (t - 1.0) * lr_decay),)


@rule(
    state={"total": "initial_accumulator_value"},
    clock=(adagrad_clock, "slowed"),
    lr=1e-2,
    lr_decay=0.0,
    initial_accumulator_value=0.0,
    eps=1e-10,
)
def adagrad(row, grad, total, lr, slowed, eps):  # type: ignore[no-untyped-def]
    """total = total + grad^2; row - lr * slowed * grad / (sqrt(total) + eps).

    Duchi, Hazan & Singer, "Adaptive Subgradient Methods", JMLR 12, 2011. eps stands outside the
    root. Equals `torch.optim.Adagrad` where every row is touched in every step.
    """
    total = total + grad * grad
    return row - lr * slowed * (grad / (sqrt(total) + eps)), total


@rule(
    state={"total": per_row("initial_accumulator_value")},
    clock=(adagrad_clock, "slowed"),
    lr=1e-2,
    lr_decay=0.0,
    initial_accumulator_value=0.0,
    eps=1e-10,
)
def rowwise_adagrad(row, grad, total, lr, slowed, eps):  # type: ignore[no-untyped-def]
    """total = total + mean(grad^2) over the row; row - lr * slowed * grad / (sqrt(total) + eps).

    Adagrad with one number per row, not one per element: Mudigere et al., "Software-Hardware
    Co-design for Fast and Scalable Training of Deep Learning Recommendation Models", ISCA 2022. eps
    stands outside the root. Equals FBGEMM's EXACT_ROWWISE_ADAGRAD (whose own eps is 1e-8 where none
    is given), TorchRec's RowWiseAdagrad where every row is touched in every step, and on rows of
    one column `torch.optim.Adagrad`. Where columns were chosen, the mean is that of these.
    """
    total = total + row_mean(grad * grad)
    return row - lr * slowed * (grad / (sqrt(total) + eps)), total


@rule(state={"square": 0.0}, lr=1e-2, alpha=0.99, eps=1e-8)
def rmsprop(row, grad, square, lr, alpha, one_minus_alpha, eps):  # type: ignore[no-untyped-def]
    """square = alpha * square + (1 - alpha) * grad^2; row - lr * grad / (sqrt(square) + eps).

    Tieleman & Hinton, Coursera lecture 6e, 2012. eps stands outside the root. Equals
    `torch.optim.RMSprop` (not centered, no momentum) where every row is touched in every step.
    """
    square = alpha * square + one_minus_alpha * (grad * grad)
    return row - lr * (grad / (sqrt(square) + eps)), square


def adam_clock(t, beta1, beta2):  # type: ignore[no-untyped-def]
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
    Equals `torch.optim.Adam` where every row is touched in every step.
    """
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * (grad * grad)
    return row - (lr * unbias_m) * (m / (sqrt(v) * unbias_root + eps)), m, v


adamw = adam.variant("adamw", weight_decay=1e-2, decoupled=True)
