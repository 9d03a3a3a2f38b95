"""The smallest example on this engine. See `rowtune.six_items`."""

from __future__ import annotations

import numpy as np
import torch

from rowtune.six_items import EVERY, Problem, Progress, Run
from rowtune.torch.embedding import Embedding
from rowtune.torch.optim import SGD


def run(problem: Problem, progress: Progress | None = None) -> Run:
    """Lookup, |label - a . b|, backward, step."""
    embedding = Embedding.from_pretrained(problem.start)
    optimizer = SGD(embedding.parameters(), lr=problem.lr)
    pairs, labels = torch.from_numpy(problem.pairs), problem.labels.tolist()
    trajectory, losses = [problem.start.copy()], np.empty(len(pairs))
    for i, label in enumerate(labels):
        a, b = embedding(pairs[i])
        loss = (label - a @ b).abs()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[i] = loss.item()
        if (i + 1) % EVERY == 0:
            trajectory.append(embedding.weight.detach().numpy().copy())
            if progress:
                progress("training six items", i + 1, len(pairs))
    return Run("torch", np.stack(trajectory), losses)
