"""The PyTensor engine: lookup tables whose chosen rows train, as updates of shared variables.

import rowtune.pytensor as rp

table = rp.lookup_table(vectors, train=new_ids, name="words")
rows = table[ids]  # ids: a symbolic vector of changing length
updates = rp.updates(cost, rows, "adam", lr=1e-3)  # cost: of rows
step = pytensor.function([ids], cost, updates=updates)
"""

from __future__ import annotations

try:
    import pytensor  # noqa: F401
except ImportError:
    raise ImportError('rowtune.pytensor needs PyTensor: pip install "rowtune[pytensor]"') from None

from rowtune.pytensor import move_rows_graph, move_rows_numba  # noqa: F401 - they register it
from rowtune.pytensor.table import LookupTable, lookup_table
from rowtune.pytensor.updates import updates
from rowtune.pytensor.writes import inc_rows, set_rows

__all__ = ["LookupTable", "inc_rows", "lookup_table", "set_rows", "updates"]
