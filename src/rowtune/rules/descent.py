"""Rules that follow the gradient itself, or its sign: sgd, momentum, nesterov, lion."""

from __future__ import annotations

from numpy import sign, where

from rowtune.rules.absent import absent
from rowtune.rules.form import rule


@rule(lr=1e-3)
def sgd(row, grad, lr):  # type: ignore[no-untyped-def]
    """row - lr * grad.

    Robbins & Monro, "A Stochastic Approximation Method", 1951. Equals `torch.optim.SGD`.
    """
    return row - lr * grad


def sgd_course(t, lr, shrink, penalty):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """What weight decay leaves of a row, whichever way it takes."""
    return ((shrink - lr * penalty, 0.0, 0.0, 0.0),)


@absent(sgd, sgd_course, "kept _ _ _", linear=True)
def sgd_absent(row, kept):  # type: ignore[no-untyped-def]
    """An absent row shrinks."""
    return kept * row


@rule(state={"velocity": 0.0}, lr=1e-3, momentum=0.9, nesterov=False)
def momentum(row, grad, velocity, lr, momentum, nesterov):  # type: ignore[no-untyped-def]
    """velocity = momentum * velocity + grad; row - lr * velocity.

    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964. With
    ``nesterov`` the step is grad + momentum * velocity: Sutskever et al., "On the importance of
    initialization and momentum in deep learning", ICML 2013, as rearranged by torch. Equals
    `torch.optim.SGD(momentum=...)` with dampening 0 (nesterov: `torch.optim.SGD(nesterov=True)`).
    """
    velocity = momentum * velocity + grad
    direction = where(nesterov > 0, grad + momentum * velocity, velocity)
    return row - lr * direction, velocity


nesterov = momentum.variant("nesterov", nesterov=True)


def momentum_course(t, lr, shrink, penalty, momentum, nesterov):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """The step is linear in row and velocity; its gradient is penalty * row."""
    ahead = momentum if nesterov else 1.0
    by_row = (1.0 + momentum) * penalty if nesterov else penalty
    return ((shrink - lr * by_row, -lr * ahead * momentum, penalty, momentum),)


@absent(momentum, momentum_course, "row_row row_vel vel_row vel_vel", linear=True)
def momentum_absent(row, velocity, row_row, row_vel, vel_row, vel_vel):  # type: ignore[no-untyped-def]
    """An absent row goes on with what velocity is left."""
    return row_row * row + row_vel * velocity, vel_row * row + vel_vel * velocity


@rule(state={"m": 0.0}, lr=1e-4, beta1=0.9, beta2=0.99, decoupled=True)
def lion(  # type: ignore[no-untyped-def]
    row, grad, m, lr, beta1, one_minus_beta1, beta2, one_minus_beta2
):
    """row - lr * sign(beta1 * m + (1 - beta1) * grad); then m decays by beta2 towards grad.

    Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2; no epsilon, and
    weight decay shrinks the row by itself. Equals `optax.lion` (whose weight_decay is 1e-3 where
    none is given) and `keras.optimizers.Lion` where every row is touched in every step.
    """
    step = sign(beta1 * m + one_minus_beta1 * grad)
    return row - lr * step, beta2 * m + one_minus_beta2 * grad


def lion_course(t, lr, shrink, beta1, beta2):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """The sign of m stays, so that every step of an absence is -lr * sign(m)."""
    return (shrink, -lr if beta1 else 0.0, 0.0, 1.0), (beta2, 0.0, 0.0, 1.0)


def lion_allows(beta2: float) -> str:
    """Above 1/2 the smallest number times beta2 is rounded to itself, and m never ends."""
    return "" if beta2 > 0.5 else f"with beta2={beta2:g} its m ends after a while, by rounding"


@absent(lion, lion_course, "kept drift _ _ kept_m _ _ _", allows=lion_allows)
def lion_absent(row, m, kept, drift, kept_m):  # type: ignore[no-untyped-def]
    """An absent row goes on in the direction that it had: m is rounded, but not to nothing."""
    faded = kept_m * m
    return kept * row + drift * sign(m), where(faded == 0, 1e-45 * sign(m), faded)
