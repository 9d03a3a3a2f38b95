"""Rules that scale a step by the size that gradients have had: adagrad, rmsprop, adadelta."""

from __future__ import annotations

from numpy import abs, sqrt

from rowtune.rules.absent import absent
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


def shrinking(t, shrink):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """A gradient of zero moves nothing but what decoupled weight decay shrinks."""
    return ((shrink, 0.0, 0.0, 0.0),)


@absent(adagrad, shrinking, "kept _ _ _")
def adagrad_absent(row, total, kept):  # type: ignore[no-untyped-def]
    """An absent row shrinks; its total stays."""
    return kept * row, total


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

    Adagrad with one number per row, not one per element. Mudigere et al., "Software-Hardware
    Co-design for Fast and Scalable Training of Deep Learning Recommendation Models", ISCA 2022. eps
    stands outside the root. Equals FBGEMM's `EXACT_ROWWISE_ADAGRAD` (whose own eps is 1e-8 where
    none is given), TorchRec's RowWiseAdagrad where every row is touched in every step, and on rows
    of one column `torch.optim.Adagrad`. Where columns were chosen, the mean is that of these.
    """
    total = total + row_mean(grad * grad)
    return row - lr * slowed * (grad / (sqrt(total) + eps)), total


absent(rowwise_adagrad, shrinking, "kept _ _ _")(adagrad_absent)


@rule(state={"square": 0.0}, lr=1e-2, alpha=0.99, eps=1e-8)
def rmsprop(row, grad, square, lr, alpha, one_minus_alpha, eps):  # type: ignore[no-untyped-def]
    """square = alpha * square + (1 - alpha) * grad^2; row - lr * grad / (sqrt(square) + eps).

    Tieleman & Hinton, Coursera lecture 6e, 2012. eps stands outside the root. Equals
    `torch.optim.RMSprop` (not centered, no momentum) where every row is touched in every step.
    """
    square = alpha * square + one_minus_alpha * (grad * grad)
    return row - lr * (grad / (sqrt(square) + eps)), square


def rmsprop_course(t, shrink, alpha):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Statistics decay by alpha."""
    return ((shrink, 0.0, 0.0, alpha),)


@absent(rmsprop, rmsprop_course, "kept _ _ faded")
def rmsprop_absent(row, square, kept, faded):  # type: ignore[no-untyped-def]
    """An absent row shrinks, and its statistic fades: its next step is the longer for it."""
    return kept * row, faded * square


@rule(state={"square": 0.0, "velocity": 0.0}, lr=1e-2, alpha=0.99, eps=1e-8, momentum=0.9)
def rmsprop_momentum(  # type: ignore[no-untyped-def]
    row, grad, square, velocity, lr, alpha, one_minus_alpha, eps, momentum
):
    """rmsprop whose steps are summed: velocity = momentum * velocity + grad / (sqrt(square) + eps).

    Then row - lr * velocity. Tieleman & Hinton, 2012; eps stands outside the root. Equals
    `torch.optim.RMSprop(momentum=...)` where every row is touched in every step.
    """
    square = alpha * square + one_minus_alpha * (grad * grad)
    velocity = momentum * velocity + grad / (sqrt(square) + eps)
    return row - lr * velocity, square, velocity


def rmsprop_momentum_course(t, lr, shrink, alpha, momentum):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Row and velocity, and the decay of the statistics."""
    return (shrink, -lr * momentum, 0.0, momentum), (alpha, 0.0, 0.0, 0.0)


@absent(rmsprop_momentum, rmsprop_momentum_course, "kept drift _ slowed faded _ _ _")
def rmsprop_momentum_absent(row, square, velocity, kept, drift, slowed, faded):  # type: ignore[no-untyped-def]
    """An absent row goes on with what velocity is left."""
    return kept * row + drift * velocity, faded * square, slowed * velocity


@rule(state={"square": 0.0, "mean": 0.0}, lr=1e-2, alpha=0.99, eps=1e-8)
def centered_rmsprop(  # type: ignore[no-untyped-def]
    row, grad, square, mean, lr, alpha, one_minus_alpha, eps
):
    """rmsprop by the variance: row - lr * grad / (sqrt(square - mean^2) + eps).

    ``mean`` decays as ``square`` does. Graves, "Generating Sequences With Recurrent Neural
    Networks", 2013, equations 38 to 41; eps stands outside the root. Equals
    `torch.optim.RMSprop(centered=True)` where every row is touched in every step; where rounding
    makes the variance negative, its size counts here, and the row becomes NaN there.
    """
    square = alpha * square + one_minus_alpha * (grad * grad)
    mean = alpha * mean + one_minus_alpha * grad
    return row - lr * (grad / (sqrt(abs(square - mean * mean)) + eps)), square, mean


@absent(centered_rmsprop, rmsprop_course, "kept _ _ faded")
def centered_rmsprop_absent(row, square, mean, kept, faded):  # type: ignore[no-untyped-def]
    """As rmsprop's."""
    return kept * row, faded * square, faded * mean


@rule(
    state={"square": 0.0, "mean": 0.0, "velocity": 0.0},
    lr=1e-2,
    alpha=0.99,
    eps=1e-8,
    momentum=0.9,
)
def centered_rmsprop_momentum(  # type: ignore[no-untyped-def]
    row, grad, square, mean, velocity, lr, alpha, one_minus_alpha, eps, momentum
):
    """centered_rmsprop whose steps are summed, as in rmsprop_momentum.

    Graves, 2013, equations 38 to 41; eps stands outside the root. Equals
    `torch.optim.RMSprop(centered=True, momentum=...)` where every row is touched in every step.
    """
    square = alpha * square + one_minus_alpha * (grad * grad)
    mean = alpha * mean + one_minus_alpha * grad
    velocity = momentum * velocity + grad / (sqrt(abs(square - mean * mean)) + eps)
    return row - lr * velocity, square, mean, velocity


@absent(centered_rmsprop_momentum, rmsprop_momentum_course, "kept drift _ slowed faded _ _ _")
def centered_rmsprop_momentum_absent(  # type: ignore[no-untyped-def]
    row, square, mean, velocity, kept, drift, slowed, faded
):
    """As rmsprop_momentum's."""
    return kept * row + drift * velocity, faded * square, faded * mean, slowed * velocity


@rule(state={"square": 0.0, "moved": 0.0}, lr=1.0, rho=0.9, eps=1e-6)
def adadelta(row, grad, square, moved, lr, rho, one_minus_rho, eps):  # type: ignore[no-untyped-def]
    """row - lr * step, with step = grad * sqrt(moved + eps) / sqrt(square + eps).

    ``square`` and ``moved`` are decaying means of grad^2 and step^2. Zeiler, "ADADELTA: An Adaptive
    Learning Rate Method", 2012, algorithm 1; eps stands inside both roots. Equals
    `torch.optim.Adadelta` where every row is touched in every step.
    """
    square = rho * square + one_minus_rho * (grad * grad)
    step = sqrt(moved + eps) / sqrt(square + eps) * grad
    return row - lr * step, square, rho * moved + one_minus_rho * (step * step)


def adadelta_course(t, shrink, rho):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Both statistics decay by rho."""
    return ((shrink, 0.0, 0.0, rho),)


@absent(adadelta, adadelta_course, "kept _ _ faded")
def adadelta_absent(row, square, moved, kept, faded):  # type: ignore[no-untyped-def]
    """An absent row shrinks, and its statistics fade."""
    return kept * row, faded * square, faded * moved
