"""Every engine by name, and the smallest example on each: an engine is loaded when it runs."""

from __future__ import annotations

import importlib

from rowtune.errors import RowtuneError
from rowtune.six_items import Problem, Progress, Run

_SIX_ITEMS = {
    "numpy": ("rowtune.six_items", "run_numpy"),
    "torch": ("rowtune.torch.six_items", "run"),
    "jax": ("rowtune.jax.six_items", "run"),
    "pytensor": ("rowtune.pytensor.six_items", "run"),
    "tensorflow": ("rowtune.tensorflow.six_items", "run"),
    "keras": ("rowtune.keras.six_items", "run"),
}


def names() -> tuple[str, ...]:
    """Names of all engines."""
    return tuple(_SIX_ITEMS)


def run_six_items(problem: Problem, engine: str = "numpy", progress: Progress | None = None) -> Run:
    """Run the example on an engine.

    Raises
    ------
    RowtuneError
        No such engine, or its framework is not installed.
    """
    if engine not in _SIX_ITEMS:
        raise RowtuneError(f"there is no engine {engine!r}; expected one of {', '.join(names())}")
    module, function = _SIX_ITEMS[engine]
    try:
        run = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise RowtuneError(str(error)) from error
    made: Run = run(problem, progress)
    return made
