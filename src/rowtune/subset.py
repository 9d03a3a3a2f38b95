"""A few rows on their own: compact, so that any optimizer can have them, and written back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Subset:
    """Some trainable rows of a table, copied out.

    On the whole table most gradients are zero rows, and the Hessian is singular; on the rows that a
    cost depends on it need not be. Hand ``values`` to any optimizer (SciPy's Newton-CG, say), and
    give the result to `write`.

    Attributes
    ----------
    ids : int64 array of n, in the order they were asked for
    values : array of n x D, a copy; reshape it as the optimizer likes
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        values: NDArray[Any],
        put_back: Callable[[NDArray[np.int64], ArrayLike], None],
    ) -> None:
        self.ids = ids
        self.values = values
        self._put_back = put_back

    def __len__(self) -> int:
        return len(self.ids)

    def write(self, values: ArrayLike | None = None) -> None:
        """Put the rows back: ``values`` (n x D, or flat), else this subset's own.

        Raises
        ------
        ShapeError
            Another number of values.
        NonFiniteError
            NaN or infinity among them.
        """
        new = self.values if values is None else np.asarray(values)
        if new.size == self.values.size:
            new = new.reshape(self.values.shape)
        self._put_back(self.ids, new)
