"""Optimizers for models with tables: Keras's classes, whose blocks move row by row."""

from __future__ import annotations

from rowtune.keras.optimizers.named import (
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

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "RMSprop",
    "RowwiseAdagrad",
    "RowwiseAdam",
]
