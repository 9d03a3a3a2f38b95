"""The smallest example on this engine. See `rowtune.six_items`."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt

import rowtune.pytensor as rp
from rowtune.six_items import EVERY, Problem, Progress, Run


def run(problem: Problem, progress: Progress | None = None) -> Run:
    """One compiled function: lookup, |label - a . b|, gradient, step."""
    table = rp.lookup_table(problem.start, name="items")
    pair, label = pt.lvector("pair"), pt.dscalar("label")
    rows = table[pair]
    cost = pt.abs(label - pt.sum(rows[0] * rows[1]))
    updates = rp.updates(cost, rows, "sgd", lr=problem.lr)
    step = pytensor.function([pair, label], cost, updates=updates)
    trajectory, losses = [problem.start.copy()], np.empty(len(problem.pairs))
    for i, (two, wanted) in enumerate(zip(problem.pairs, problem.labels, strict=True)):
        losses[i] = step(two, wanted)
        if (i + 1) % EVERY == 0:
            trajectory.append(table.weights)
            if progress:
                progress("training six items", i + 1, len(losses))
    return Run("pytensor", np.stack(trajectory), losses)
