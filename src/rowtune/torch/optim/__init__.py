"""torch's optimizers, by torch's names and arguments, with a lazy step for rows.

One of them takes the parameters of a whole model. What happens to the rows is written in the rule
that each class names; what happens to all else is torch's own optimizer of that name.
"""

from __future__ import annotations

from rowtune.torch.optim.names import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    RMSprop,
    RowwiseAdagrad,
    RowwiseAdam,
)
from rowtune.torch.optim.row_optimizer import RowOptimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "RMSprop",
    "RowOptimizer",
    "RowwiseAdagrad",
    "RowwiseAdam",
]
