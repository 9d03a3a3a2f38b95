"""Six items, three pairs: the smallest example in which embeddings learn, on any engine.

The example of Mat Kelcey's "Brutally short intro to Theano word embeddings" (2015). Items 0 and 1,
2 and 3, 4 and 5 are to have the same embedding, all others different ones. A step draws two items;
the cost is |label - a . b|, with label 1 for two of a pair and 0 otherwise.

In two dimensions three pairs cannot be of unit length and orthogonal to each other, so one pair
ends at the origin and the loss stays near 0.12. In three dimensions all find room, and the loss
falls to the jitter of the step size, about 0.012.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import ShapeError

Progress = Callable[[str, int, int], None]

EVERY = 100  # steps between two snapshots
_LAST = 1000  # steps over which the final loss is averaged


@dataclass(frozen=True)
class Problem:
    """Where the items start, and which pairs are drawn: the same for every engine."""

    start: NDArray[np.float64]  # (6, dim)
    pairs: NDArray[np.int64]  # (steps, 2)
    labels: NDArray[np.float64]  # (steps,)
    lr: float = 0.01

    @classmethod
    def draw(cls, dim: int = 2, steps: int = 10_000, seed: int = 0) -> Problem:
        """The problem of this seed, in float64."""
        if dim < 1 or steps < 0:
            raise ShapeError(f"dim is {dim} and steps {steps}; expected at least 1 and 0")
        rng = np.random.default_rng(seed)
        pairs = rng.integers(0, 6, size=(steps, 2))
        same = pairs[:, 0] // 2 == pairs[:, 1] // 2
        return cls(rng.standard_normal((6, dim)), pairs, same.astype(np.float64))


@dataclass(frozen=True)
class Run:
    """What an engine made of a problem."""

    engine: str
    trajectory: NDArray[np.float64]  # (steps // 100 + 1, 6, dim): before the first step, then on
    losses: NDArray[np.float64]  # (steps,), each before its step

    @property
    def final_loss(self) -> float:
        """Mean loss of the last 1,000 steps."""
        return float(self.losses[-_LAST:].mean()) if len(self.losses) else float("nan")

    def losses_by_snapshot(self) -> NDArray[np.float64]:
        """Mean loss of the steps up to each snapshot since the one before; NaN at the first."""
        whole = len(self.losses) // EVERY * EVERY
        return np.concatenate([[np.nan], self.losses[:whole].reshape(-1, EVERY).mean(axis=1)])

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values, for JSON."""
        return {
            "engine": self.engine,
            "dim": self.trajectory.shape[2],
            "steps": len(self.losses),
            "final_loss": self.final_loss,
            "norms": np.linalg.norm(self.trajectory[-1], axis=1).tolist(),
            "trajectory": self.trajectory.tolist(),
        }


def run_numpy(problem: Problem, progress: Progress | None = None) -> Run:
    """The example on `rowtune.Table`."""
    from rowtune.table import Table  # noqa: PLC0415 - each engine loads only when it runs

    table = Table(problem.start, rule="sgd", lr=problem.lr)
    steps = len(problem.pairs)
    trajectory, losses = [problem.start.copy()], np.empty(steps)
    for i, (pair, label) in enumerate(zip(problem.pairs, problem.labels, strict=True)):
        a, b = table.lookup(pair)
        miss = a @ b - label
        losses[i] = abs(miss)
        table.update(pair, np.sign(miss) * np.stack([b, a]))
        if (i + 1) % EVERY == 0:
            trajectory.append(np.array(table.weights))
            if progress:
                progress("training six items", i + 1, steps)
    return Run("numpy", np.stack(trajectory), losses)
