"""L-BFGS for smooth convex costs: Nocedal and Wright, "Numerical Optimization" (2006), 7.4, 7.5."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Cost = Callable[[Doubles], tuple[float, Doubles]]
_MEMORY = 10
_STEPS = 200
_HALVINGS = 30
_SLOPE = 1e-4  # Armijo's condition: the share of the promised descent that a step must bring


def minimise(cost: Cost, first: Doubles, tolerance: float = 1e-4) -> Doubles:
    """Where ``cost`` (value and gradient at a point) is least, from ``first`` on.

    Ends when no part of the gradient is beyond ``tolerance``, when no step goes down any more, or
    after 200 steps.
    """
    at = first.copy()
    value, gradient = cost(at)
    moves: deque[tuple[Doubles, Doubles]] = deque(maxlen=_MEMORY)
    for _ in range(_STEPS):
        if np.abs(gradient).max(initial=0) <= tolerance:
            break
        direction = -_inverse_hessian_times(gradient, moves)
        slope = _dot(direction, gradient)
        length = 1.0 if moves else min(1.0, 1 / float(np.abs(gradient).sum()))
        for _ in range(_HALVINGS):
            there = at + length * direction
            new_value, new_gradient = cost(there)
            if new_value <= value + _SLOPE * length * slope:
                break
            length /= 2
        else:
            break
        move, change = there - at, new_gradient - gradient
        if _dot(move, change) > 1e-10 * _dot(
            change, change
        ):  # else the model would lose its positive curvature
            moves.append((move, change))
        at, value, gradient = there, new_value, new_gradient
    return at


def _inverse_hessian_times(gradient: Doubles, moves: deque[tuple[Doubles, Doubles]]) -> Doubles:
    """The two loops of algorithm 7.4."""
    result = gradient.copy()
    shares: list[float] = []
    for move, change in reversed(moves):
        share = _dot(move, result) / _dot(move, change)
        result -= share * change
        shares.append(share)
    if moves:
        move, change = moves[-1]
        result *= _dot(move, change) / _dot(change, change)
    for (move, change), share in zip(moves, reversed(shares), strict=True):
        result += move * (share - _dot(change, result) / _dot(move, change))
    return result


def _dot(a: Doubles, b: Doubles) -> float:
    """Not by BLAS, which asks for threads that cost more than they bring."""
    return float(np.einsum("i,i->", a, b))
