"""One matrix in a file: opened in place, written whole or not at all, made smaller."""

from __future__ import annotations

from rowtune.tables.opening import open_table
from rowtune.tables.quantizing import quantize
from rowtune.tables.saving import save_table

__all__ = ["open_table", "quantize", "save_table"]
