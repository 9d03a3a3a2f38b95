"""Tables that are arrays already: .npy with a word list beside it, and .safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rowtune.errors import FormatError
from rowtune.vectors.opening import Source, pickle_message
from rowtune.vectors.packages import read_parquet_words
from rowtune.vectors.tensorfile import Array, map_tensors
from rowtune.vectors.vectors import Matrix, is_float
from rowtune.vectors.words import Words

MATRIX, WORDS, OFFSETS = "matrix", "words", "words_offsets"


def map_npy(source: Source) -> Matrix:
    """The matrix of a .npy file as a read-only memory map; `FormatError` if it holds none."""
    try:
        matrix: Array = np.load(source.path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python object" in str(error) or "pickle" in str(error):
            raise FormatError(pickle_message(source.name)) from None
        raise FormatError(
            f"{source.name}: the .npy file is damaged or cut short ({error}); fetch it again"
        ) from None
    return _as_matrix(source.name, "the array", matrix)


def read_words_beside(source: Source, rows: int) -> Words:
    """The word list that belongs to a file of rows only.

    ``X.words.txt`` has one word per line, split on b"\\n" only. ``X.vocab`` is the same, or the
    ``word count`` lines of GloVe and word2vec, in which case the count is dropped.
    """
    if source.words is None:
        words_name = source.path.with_suffix(".words.txt").name
        raise FormatError(
            f"{source.name}: rows without words; expected {words_name} beside it, one word per "
            "line in the order of the rows"
        )
    if source.words.suffix == ".parquet":
        words = read_parquet_words(source.words)
    else:
        words = Words.packed(_lines(source.words))
    if len(words) != rows:
        raise FormatError(
            f"{source.words}: {len(words):,} words for the {rows:,} rows of {source.name}; "
            "expected one word per row: these two files do not belong together"
        )
    return words


def _lines(path: Path) -> list[bytes]:
    data = path.read_bytes()
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    if lines and all(line.endswith(b"\r") for line in lines):
        lines = [line[:-1] for line in lines]  # a list from Windows
    if path.suffix == ".vocab":
        parted = [line.rpartition(b" ") for line in lines]
        if all(blank and count.isdigit() for _, blank, count in parted):
            return [word for word, _, _ in parted]
    return lines


def map_safetensors(source: Source) -> tuple[Words | None, Matrix]:
    """Matrix and words of a .safetensors file, mapped.

    The matrix is the tensor ``matrix``, else the only 2-D tensor of floats. The words are their
    bytes back to back in the uint8 tensor ``words``, and where each starts, plus the end, in the
    int64 tensor ``words_offsets`` (N + 1); None if the file has no such tensors.
    """
    tensors, _ = map_tensors(source.path, source.name)
    tables = [k for k, v in tensors.items() if v.ndim == 2 and is_float(v.dtype)]
    if MATRIX not in tables and len(tables) != 1:
        raise FormatError(
            f"{source.name}: {len(tables)} tensors could be the table ({', '.join(tables)}) of "
            f"{', '.join(tensors) or 'none'}; expected one 2-D tensor of floats, or one named "
            f"{MATRIX!r}"
        )
    matrix = tensors[MATRIX if MATRIX in tables else tables[0]]
    matrix = _as_matrix(source.name, "the tensor", matrix)
    if WORDS not in tensors and OFFSETS not in tensors:
        return None, matrix
    return _words_of(source.name, tensors, len(matrix)), matrix


def _words_of(name: str, tensors: dict[str, Array], rows: int) -> Words:
    blob, offsets = tensors.get(WORDS), tensors.get(OFFSETS)
    fits = (
        blob is not None
        and offsets is not None
        and blob.ndim == offsets.ndim == 1
        and blob.dtype == np.uint8
        and offsets.dtype == np.int64
        and len(offsets) == rows + 1
        and offsets[0] == 0
        and offsets[-1] == len(blob)
        and not (np.diff(offsets) < 0).any()
    )
    if not fits or blob is None or offsets is None:
        raise FormatError(
            f"{name}: the tensors {WORDS!r} and {OFFSETS!r} are not the words of {rows:,} rows; "
            f"expected uint8 bytes, and {rows + 1:,} rising int64 offsets into them"
        )
    return Words(blob, offsets)


def _as_matrix(name: str, what: str, array: Array) -> Matrix:
    if array.ndim != 2 or not is_float(array.dtype.newbyteorder("=")) or array.shape[1] == 0:
        raise FormatError(
            f"{name}: {what} has shape {array.shape} and dtype {array.dtype}; expected a matrix of "
            "float16, float32 or float64, one row per word"
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))  # kernels compute in native order only
        array.flags.writeable = False
    return array
