"""Ridge regression with a kernel: words that look alike in two ways at once get like rows.

A linear map cannot say "alike in company *and* alike in spelling". The kernel of two words is

    k = 3 (b . b' + s . s') + exp(-|x - x'|^2) (exp(-|x - x'|^2) + 2 exp(-2 |p - p'|^2)),

b and s the standardized features and directions of the text's own space, each divided by the root
of its width; x the direction in that space, p that of the row which spelling predicts. The solution
is sought among combinations of landmarks, some of the words (Nyström's approximation: Williams and
Seeger, NIPS 2000), so that cost and memory grow with the words and not with their square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.nearest import unit

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

LANDMARKS = 3000
_LINEAR, _TOGETHER, _CLOSER = 3.0, 2.0, 2.0
_BLOCK = 2048  # words whose kernels are held at once
_JITTER = 1e-4  # keeps the equations solvable where two landmarks are the same


@dataclass(frozen=True)
class Views:
    """How a word looks: its features, its place in the text's own space, its spelling."""

    features: Floats  # (words, F)
    space: Floats  # (words, S)
    spelled: Floats  # (words, D)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, part: slice | Ids) -> Views:
        return Views(self.features[part], self.space[part], self.spelled[part])


@dataclass(frozen=True)
class KernelFit:
    """A solved regression: what `predict` needs, and no training word but the landmarks."""

    scaled: _Scaled
    landmarks: Views  # scaled
    coefficients: Floats
    mean: Floats

    def predict(self, views: Views) -> Floats:
        """(words, D)."""
        rows = np.empty((len(views), len(self.mean)), np.float32)
        for begin in range(0, len(views), _BLOCK):
            block = self.scaled(views[begin : begin + _BLOCK])
            rows[begin : begin + _BLOCK] = kernel(block, self.landmarks) @ self.coefficients
        return rows + self.mean


class KernelRidge:
    """The equations of one regression, made once and solved for any penalty.

    Parameters
    ----------
    views : (n words)
    target : (n, D) unit rows
    landmarks : (m,) int64, words among them, each once
    """

    def __init__(self, views: Views, target: Floats, landmarks: Ids) -> None:
        self.scaled = _Scaled.over(views)
        self.mean = target.mean(0)
        self.landmarks = self.scaled(views[landmarks])
        size = len(landmarks)
        self.own = kernel(self.landmarks, self.landmarks).astype(np.float64)
        self.gram = np.zeros((size, size))
        self.moment = np.zeros((size, target.shape[1]))
        for begin in range(0, len(views), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            near = kernel(self.scaled(views[part]), self.landmarks)
            self.gram += near.T @ near
            self.moment += near.T @ (target[part] - self.mean)

    def solve(self, penalty: float) -> KernelFit:
        """The combination c of landmarks that minimizes |y - K c|^2 + penalty c' K_own c."""
        equations = self.gram + penalty * self.own
        equations[np.diag_indices_from(equations)] += _JITTER
        coefficients = np.linalg.solve(equations, self.moment).astype(np.float32)
        return KernelFit(self.scaled, self.landmarks, coefficients, self.mean)


def kernel(left: Views, right: Views) -> Floats:
    """(left, right) kernels of scaled views."""
    close = np.exp(-_distances(left.space, right.space))
    alike = np.exp(-_CLOSER * _distances(left.spelled, right.spelled))
    linear = left.features @ right.features.T
    found: Floats = linear + close * (close + np.float32(_TOGETHER) * alike)
    return found


@dataclass(frozen=True)
class _Scaled:
    """Features and space by the mean and spread of the training words, directions as they are."""

    centre: Floats
    scale: Floats

    @classmethod
    def over(cls, views: Views) -> _Scaled:
        wide = _wide(views)
        spread = wide.std(0)
        widths = [views.features.shape[1], views.space.shape[1]]
        share = np.concatenate([np.full(width, np.sqrt(_LINEAR / width)) for width in widths])
        scale = np.where(spread > 1e-6, share / np.maximum(spread, 1e-6), 0)
        return cls(wide.mean(0), scale.astype(np.float32))

    def __call__(self, views: Views) -> Views:
        features = (_wide(views) - self.centre) * self.scale
        return Views(features, unit(views.space), unit(views.spelled))


def _wide(views: Views) -> Floats:
    return np.hstack([views.features, unit(views.space)])


def _distances(left: Floats, right: Floats) -> Floats:
    """Squared distances; rounding must not make them negative."""
    squares = np.einsum("ij,ij->i", left, left)[:, None] + np.einsum("ij,ij->i", right, right)
    found: Floats = np.maximum(squares - np.float32(2) * (left @ right.T), np.float32(0))
    return found
