"""A choice of rows or columns as a layer's configuration holds it: plain, short, and whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_config(chosen: NDArray[np.int64] | None) -> Any:
    """Ascending indices as JSON has them: "all", {"start": a, "stop": b}, or a list."""
    if chosen is None:
        return "all"
    if len(chosen) and chosen[-1] - chosen[0] + 1 == len(chosen):
        return {"start": int(chosen[0]), "stop": int(chosen[-1]) + 1}
    return chosen.tolist()


def from_config(config: Any) -> Any:
    """What `rowtune.Rows` takes for it."""
    if isinstance(config, dict):
        return slice(config["start"], config["stop"])
    return config
