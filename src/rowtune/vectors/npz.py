""".npz archives: one array of rows and one of words."""

from __future__ import annotations

from rowtune.errors import FormatError
from rowtune.tables.npy_file import read_npy
from rowtune.tables.tensorfile import Array
from rowtune.vectors.source import Source
from rowtune.vectors.unpacking import opened_zip, read_member
from rowtune.vectors.vectors import Vectors, is_float
from rowtune.vectors.words import Words


def is_npz(members: list[str]) -> bool:
    """Whether an archive with these members is one of arrays."""
    return bool(members) and all(member.endswith(".npy") for member in members)


def read_npz(source: Source) -> Vectors:
    """The only 2-D array of floats, and the only 1-D array of as many strings.

    Raises
    ------
    FormatError
        If there is not one of each, or an array is damaged or holds Python objects.
    """
    with opened_zip(source) as archive:
        arrays = {
            member.removesuffix(".npy"): read_npy(
                f"{source.name}:{member}", read_member(source, archive, member)
            )
            for member in archive.namelist()
        }
    rows = [k for k, v in arrays.items() if v.ndim == 2 and is_float(v.dtype.newbyteorder("="))]
    lists = [k for k, v in arrays.items() if v.ndim == 1 and v.dtype.kind in "US"]
    if len(rows) != 1 or len(lists) != 1 or arrays[rows[0]].shape[1] == 0:
        listing = ", ".join(f"{k} {v.shape} {v.dtype}" for k, v in arrays.items())
        raise FormatError(
            f"{source.name}: expected one 2-D array of floats and one 1-D array of strings, as "
            f"np.savez(FILE, matrix=matrix, words=np.array(words)) writes them; got {listing}"
        )
    matrix, words = arrays[rows[0]], arrays[lists[0]]
    if len(words) != len(matrix):
        raise FormatError(
            f"{source.name}: {len(words):,} words in {lists[0]!r} for the {len(matrix):,} rows of "
            f"{rows[0]!r}; expected one word per row: save the archive again"
        )
    matrix = matrix.astype(matrix.dtype.newbyteorder("="), copy=False)
    matrix.flags.writeable = False
    return Vectors(_words(source.name, words), matrix)


def _words(name: str, words: Array) -> Words:
    try:
        return Words.of(words.tolist())
    except ValueError as error:  # a code point that is none, or a lone surrogate
        raise FormatError(f"{name}: the words are damaged ({error}); save them again") from None
