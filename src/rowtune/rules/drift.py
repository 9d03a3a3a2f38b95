"""How far a row drifts on while it is absent: the series behind adam's and amsgrad's catch-up.

n steps into an absence that follows step s, adam moves a row by

    -lr * unbias_m * beta1^n * m / (sqrt(v) * unbias_root * b^n + eps)

with b the root of beta2 (1 for amsgrad, whose root stays) and all else taken at step s + n. With
y = eps / sqrt(v) and r = unbias_root * b^n that is m / sqrt(v) times the sum over k of

    -lr * unbias_m * (-y)^k * beta1^n / r^(k + 1),

and for each k the sum over n is one number a row, whatever m and v are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

TERMS = 6  # of the series: the way that is gone loses y^6 of itself

DRIFT = (
    "kept drift0 _ _  _ drift1 _ _  _ drift2 _ _  _ drift3 _ _  _ drift4 _ _  _ drift5 _ _  "
    "faded_m _ _ faded_v"
)


def drift_course(
    lr: float, shrink: float, unbias_m: float, unbias_root: float, beta1: float, beta2: float,
    by_root: float,
) -> Sequence[Sequence[float]]:  # fmt: skip
    """Matrices (a, b, c, d) of row and fading step, one for each term; and of m and v themselves.

    ``by_root`` is b above.
    """
    matrices = []
    for k in range(TERMS):
        fading = beta1 / by_root ** (k + 1) if beta1 else 0.0
        step = -lr * unbias_m * (-1.0) ** k / unbias_root ** (k + 1)
        matrices.append((shrink, step * fading, 0.0, fading))
    return (*matrices, (beta1, 0.0, 0.0, beta2))


def longest_drift(precision: float, fading: float, by_root: float) -> int:
    """Steps after which a drift is gone but for ``precision``; where it fades no faster than the
    root, it never is.
    """
    ratio = fading / by_root if by_root else 1.0
    if ratio <= 0.0:
        return 1
    if ratio >= 1.0:
        return 1 << 62
    return math.ceil(math.log(precision * (1.0 - ratio) / 10.0) / math.log(ratio))


def series_limit(precision: float, fading: float, by_root: float) -> tuple[float, int]:
    """Up to where y may be for the series to lose no more than ``precision``, and `longest_drift`.

    0 where the last terms would grow with the absence: there every element is stepped.
    """
    longest = longest_drift(precision, fading, by_root)
    if fading >= by_root ** (TERMS + 1):
        return 0.0, longest
    return float(precision ** (1 / TERMS) * by_root**longest), longest
