"""`open_table`: a matrix in a file, mapped and not read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.quantized import Quantized
from rowtune.tables.mapped_pages import expect_scattered_reads
from rowtune.tables.mapping import map_file, map_place
from rowtune.tables.npy_file import read_npy
from rowtune.tables.tensor_choice import Found, matrices

Opened: TypeAlias = "NDArray[Any] | Quantized"
INDEX = ".safetensors.index.json"
KNOWN = ".npy, .safetensors or .safetensors.index.json"
_MOST_NAMES = 8


def open_table(path: str | os.PathLike[str], name: str | None = None) -> Opened:
    """The matrix in a file as a read-only memory map: as quick for 20 GB as for one.

    Parameters
    ----------
    path : path
        ``.npy``, ``.safetensors``, or the ``.safetensors.index.json`` of a model in several files.
    name : str, optional
        Which tensor, where a safetensors file holds more than one matrix.

    Returns
    -------
    array of N x D, or Quantized
        F16, F32 and F64 tensors and .npy files are arrays of their dtype. BF16 is a `Quantized`
        (NumPy has no bfloat16), and so are I8 codes with float scales of N beside them, in the
        tensor ``<name>.scales``, as `save_table` writes them.

    Raises
    ------
    FormatError
        A damaged or unfinished file, one without such a matrix, or with several and no ``name``;
        values in column order (Fortran's), of the other byte order, or at an odd place.
    OSError
        No such file.

    Notes
    -----
    Memory is taken for the pages of rows that are looked up, and the system takes it back when it
    is short of it. While a table is open, replace its file if you must (as `save_table` does), but
    never cut it short or write into it: reading a page that is gone ends the process (SIGBUS), and
    other bytes are other rows. No pickle is ever opened.
    """
    file = os.fspath(path)
    if file.endswith(".npy"):
        return _npy(file)
    if file.endswith((".safetensors", INDEX)):
        return _tensor(_chosen(file, matrices(file), name))
    raise FormatError(f"{file}: expected a name that ends in {KNOWN}; rowtune.load reads others")


def _npy(file: str) -> NDArray[Any]:
    if not Path(file).stat().st_size:
        raise FormatError(f"{file}: the file is empty; fetch or save it again")
    mapped = map_file(file)
    array = read_npy(file, mapped, in_place=True)
    if array.ndim != 2 or array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise FormatError(
            f"{file}: an array of shape {array.shape} and dtype {array.dtype}; expected a matrix "
            "of float16, float32 or float64"
        )
    if not array.dtype.isnative:
        raise FormatError(
            f"{file}: its values have the other byte order ({array.dtype.str}); write them anew: "
            f"rowtune.save_table(new, numpy.load({file!r}, mmap_mode='r'))"
        )
    if not array.flags.c_contiguous:
        raise FormatError(
            f"{file}: its values are in column order (Fortran's), so a row lies all over the file; "
            f"write it anew: rowtune.save_table(new, numpy.load({file!r}, mmap_mode='r'))"
        )
    expect_scattered_reads(array)
    return array


def _tensor(found: Found) -> Opened:
    array = map_place(found.file, found.key, found.place)
    if found.scales is not None:
        scales = map_place(found.scales.file, found.scales.key, found.scales.place)
        return Quantized(array, scales.reshape(-1))
    return Quantized(array) if found.kind else array


def _chosen(file: str, found: dict[str, Found], name: str | None) -> Found:
    names = ", ".join(map(repr, list(found)[:_MOST_NAMES]))
    if len(found) > _MOST_NAMES:
        names += f" and {len(found) - _MOST_NAMES:,} more"
    if not found:
        raise FormatError(
            f"{file}: no matrix of F16, F32, F64 or BF16, nor of I8 with scales beside it"
        )
    if name is None and len(found) > 1:
        raise FormatError(f"{file}: which tensor? There are {names}; open_table(path, name)")
    if name is not None and name not in found:
        raise FormatError(f"{file}: no matrix {name!r}; there are {names}")
    return found[next(iter(found)) if name is None else name]
