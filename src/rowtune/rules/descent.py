"""Rules that follow the gradient itself: sgd, momentum, nesterov."""

from __future__ import annotations

from numpy import where

from rowtune.rules.form import rule


@rule(lr=1e-3)
def sgd(row, grad, lr):  # type: ignore[no-untyped-def]
    """row - lr * grad.

    Robbins & Monro, "A Stochastic Approximation Method", 1951. Equals `torch.optim.SGD`.
    """
    return row - lr * grad


@rule(state={"velocity": 0.0}, lr=1e-3, momentum=0.9, nesterov=False)
def momentum(row, grad, velocity, lr, momentum, nesterov):  # type: ignore[no-untyped-def]
    """velocity = momentum * velocity + grad; row - lr * velocity.

    Polyak, 1964; with ``nesterov`` the step is grad + momentum * velocity: Sutskever et al.,
    "On the importance of initialization and momentum in deep learning", ICML 2013, as rearranged by
    `torch.optim.SGD(momentum=...)`, which this equals (dampening 0).
    """
    velocity = momentum * velocity + grad
    direction = where(nesterov > 0, grad + momentum * velocity, velocity)
    return row - lr * direction, velocity


nesterov = momentum.variant("nesterov", nesterov=True)
