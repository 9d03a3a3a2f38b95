"""The README's lines for PyTensor."""

from __future__ import annotations

import numpy as np
from readme import engine_code


def test_the_code_of_the_readme_runs():
    names = {}
    exec(engine_code("pytensor"), names)
    assert names["second"] < names["first"] == 100
    rows = names["lookup_table"].weights
    assert (np.delete(rows, 3, axis=0) == 1).all()
    assert names["lookup_table"].steps.get_value().tolist() == [2, 0, 0]
