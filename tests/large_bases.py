"""Small tables in memory maps and in fewer bits, for the tests of the engines' bases."""

from __future__ import annotations

import numpy as np

from rowtune.quantized import Quantized, quantize

N, D = 40, 6
TRAIN = [3, 17, 18, 39]
WEIGHTS = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
# -0.0, and NaN with a payload: one that signals, and one that is quiet.
_ODD = {"float16": [0x8000, 0xFD23], "bfloat16": [0x8000, 0xFFA2]}
_ODD_AND_QUIET = {"float16": [0x8000, 0xFE23], "bfloat16": [0x8000, 0xFFE2]}


def mapped(array, path):
    """A read-only map of a new file."""
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def base_of(kind, folder, quiet=False):
    """A base of a kind such as "map int8" or "bfloat16", and the table that it stands for."""
    folder.mkdir(exist_ok=True)
    where, _, name = kind.rpartition(" ")
    if name == "float32" or kind == "map float16":
        given = mapped(WEIGHTS.astype(name), folder / "w.npy")
        return given, np.array(given)
    table = quantize(WEIGHTS, name)
    odd = (_ODD_AND_QUIET if quiet else _ODD).get(name)
    if odd:
        bits = table.codes.view(np.uint16).copy()
        bits[20, :2] = odd
        table = Quantized(bits.view(table.codes.dtype))
    if where:
        scales = None if table.scales is None else mapped(table.scales, folder / "s.npy")
        table = Quantized(mapped(table.codes, folder / "w.npy"), scales)
    return table, table.rows(slice(None))
