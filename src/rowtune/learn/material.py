"""What is known of words before they have rows, in the form that regressions take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.features import without_spelling
from rowtune.learn.nearest import unit

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """One row for each word in every array."""

    base: Floats  # (words, features): contexts, spelling and counts, see `blend_inputs`
    spelled: Floats  # (words, D): the row that spelling predicts
    candidates: Mapping[str, Floats] = field(default_factory=dict)  # name -> (words, any width)

    def __getitem__(self, part: slice) -> Material:
        return Material(
            self.base[part],
            self.spelled[part],
            {name: rows[part] for name, rows in self.candidates.items()},
        )

    def without_spelling(self) -> Material:
        """The same words by their contexts and counts alone."""
        dim = self.spelled.shape[1]
        base = without_spelling(self.base, dim)
        return replace(self, base=base, spelled=np.zeros_like(self.spelled))

    def beside(self, joined: tuple[str, ...]) -> Floats:
        """(words, features): the base, and candidates that joined it with their directions.

        The length of a candidate's row says how sure it is, its direction what it means.
        """
        wide = [
            part for name in joined for part in (self.candidates[name], unit(self.candidates[name]))
        ]
        return np.hstack([self.base, *wide])
