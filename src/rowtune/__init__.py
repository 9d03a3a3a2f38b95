"""Rowtune trains the rows of an embedding table that you choose, and leaves every other row alone.

Names load when they are first used, so that ``import rowtune`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Rows": "rowtune.rows",
    "Table": "rowtune.table",
    "Bounds": "rowtune.bounds",
    "StateFolder": "rowtune.state_folder",
    "Vocabulary": "rowtune.vocabulary",
    "apply_patch": "rowtune.apply",
    "Vectors": "rowtune.vectors",
    "Quantized": "rowtune.quantized",
    "open_table": "rowtune.tables",
    "save_table": "rowtune.tables",
    "quantize": "rowtune.tables",
    "load": "rowtune.vectors",
    "save": "rowtune.vectors",
    "verify": "rowtune.vectors",
    "extend": "rowtune.learn",
    "get_num_threads": "rowtune.kernels.threads",
    "set_num_threads": "rowtune.kernels.threads",
}
_MODULES = ("errors", "rules")
__all__ = [  # noqa: RUF022 - in the order in which a reader meets them
    "Rows",
    "Table",
    "Bounds",
    "StateFolder",
    "Vocabulary",
    "apply_patch",
    "open_table",
    "save_table",
    "quantize",
    "Quantized",
    "Vectors",
    "load",
    "save",
    "verify",
    "extend",
    "get_num_threads",
    "set_num_threads",
    "errors",
    "rules",
]

if TYPE_CHECKING:
    from rowtune import errors as errors
    from rowtune import rules as rules
    from rowtune.apply import apply_patch as apply_patch
    from rowtune.bounds import Bounds as Bounds
    from rowtune.kernels.threads import get_num_threads as get_num_threads
    from rowtune.kernels.threads import set_num_threads as set_num_threads
    from rowtune.learn.extend import extend as extend
    from rowtune.quantized import Quantized as Quantized
    from rowtune.rows import Rows as Rows
    from rowtune.state_folder import StateFolder as StateFolder
    from rowtune.table import Table as Table
    from rowtune.tables import open_table as open_table
    from rowtune.tables import quantize as quantize
    from rowtune.tables import save_table as save_table
    from rowtune.vectors import Vectors as Vectors
    from rowtune.vectors import load as load
    from rowtune.vectors import save as save
    from rowtune.vectors import verify as verify
    from rowtune.vocabulary import Vocabulary as Vocabulary


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"rowtune.{name}")
    raise AttributeError(f"module 'rowtune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
