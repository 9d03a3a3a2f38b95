"""Learning rows for words that a table lacks, with every known row frozen."""

from rowtune.learn.extend import extend
from rowtune.learn.result import (
    Coverage,
    Extension,
    FreezeProof,
    HeldOutWord,
    NewWord,
    PartScore,
    Score,
)

__all__ = [
    "Coverage",
    "Extension",
    "FreezeProof",
    "HeldOutWord",
    "NewWord",
    "PartScore",
    "Score",
    "extend",
]
