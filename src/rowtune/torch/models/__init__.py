"""Token rows of a model that somebody else trained: a few train, all else stays."""

from __future__ import annotations

from rowtune.torch.models.handle import Handle
from rowtune.torch.models.load_rows import load_rows
from rowtune.torch.models.train_rows import train_rows

__all__ = ["Handle", "load_rows", "train_rows"]
