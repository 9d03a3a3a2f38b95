"""Tables that are arrays already, .npy and .safetensors, and the words of their rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rowtune.errors import FormatError
from rowtune.tables.npy_file import read_npy
from rowtune.tables.tensorfile import Array, map_tensors
from rowtune.vectors.packages import read_parquet_words
from rowtune.vectors.projector_rows import words_of_metadata
from rowtune.vectors.source import Source
from rowtune.vectors.spacy_words import words_of_spacy
from rowtune.vectors.tokenizer_words import words_of_tokenizer
from rowtune.vectors.unpacking import read_bytes
from rowtune.vectors.vectors import Matrix, Vectors, is_float
from rowtune.vectors.words import Words

MATRIX, WORDS, OFFSETS, MAPPING = "matrix", "words", "words_offsets", "mapping"
# What libraries call the table of a model that has other tensors too.
_USUAL = (
    *("embeddings", "embedding.weight", "embeddings.weight", "word_embeddings.weight"),
    *("embed_tokens.weight", "tok_embeddings.weight", "wte.weight", "shared.weight"),
)


def map_npy(source: Source) -> Matrix:
    """The matrix of a .npy file, a read-only memory map if it is not packed."""
    return as_matrix(source.name, "the array", read_npy(source.name, read_bytes(source)))


def map_safetensors(source: Source) -> tuple[Words | None, Matrix]:
    """Matrix and words of a .safetensors file, mapped.

    The matrix is the tensor ``matrix``, else the only 2-D tensor of floats, else the only one with
    a name that libraries give such tables. The words are their bytes back to back in the uint8
    tensor ``words``, and where each starts, plus the end, in the int64 tensor ``words_offsets``
    (N + 1); None if the file has no such tensors.
    """
    tensors, _ = map_tensors(source.path, source.name)
    tables = [k for k, v in tensors.items() if v.ndim == 2 and is_float(v.dtype)]
    if MATRIX in tables:
        tables = [MATRIX]
    elif len(tables) > 1:
        usual = [k for k in tables if any(k == u or k.endswith("." + u) for u in _USUAL)]
        tables = usual if len(usual) == 1 else tables
    if len(tables) != 1:
        named = ", ".join(f"{k} {v.dtype}" for k, v in list(tensors.items())[:8]) or "none"
        raise FormatError(
            f"{source.name}: {len(tables)} tensors could be the table ({', '.join(tables[:20])}) "
            f"of {len(tensors)}: {named}; expected one 2-D tensor of floats, or one named "
            f"{MATRIX!r}"
        )
    matrix = as_matrix(source.name, "the tensor", tensors[tables[0]])
    if WORDS not in tensors and OFFSETS not in tensors:
        return None, matrix
    return _words_of(source.name, tensors, len(matrix)), matrix


def with_words_beside(source: Source, matrix: Matrix) -> Vectors:
    """Rows and the words that belong to them, from the file that lies beside.

    ``X.words.txt`` has one word per line, split on b"\\n" only. ``X.vocab`` is the same, or the
    ``word count`` lines of GloVe and word2vec, in which case the count is dropped. A
    ``tokenizer.json`` names the rows by its tokens; spaCy's ``key2row`` by its hashes.
    """
    if source.words is None:
        beside = source.path.with_suffix(".words.txt").name
        if source.path.suffix == ".tsv":
            beside = source.path.with_suffix(".metadata.tsv").name
        raise FormatError(
            f"{source.name}: rows without words; expected {beside} beside it, one word per "
            "line in the order of the rows"
        )
    if source.key2row is not None:
        return Vectors(*words_of_spacy(source, matrix))
    if source.words.suffix == ".json":
        mapping = None
        if source.path.suffix == ".safetensors":
            mapping = map_tensors(source.path, source.name)[0].get(MAPPING)
        return Vectors(*words_of_tokenizer(source.words, source.name, matrix, mapping))
    words = _words_in(source.words)
    if len(words) != len(matrix):
        raise FormatError(
            f"{source.words}: {len(words):,} words for the {len(matrix):,} rows of {source.name}; "
            "expected one word per row: these two files do not belong together"
        )
    return Vectors(words, matrix)


def _words_in(path: Path) -> Words:
    if path.suffix == ".parquet":
        return read_parquet_words(path)
    if path.suffix == ".tsv":
        return words_of_metadata(path)
    return Words.packed(_lines(path))


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
        and not (offsets[1:] < offsets[:-1]).any()  # a difference could wrap around
    )
    if not fits or blob is None or offsets is None:
        raise FormatError(
            f"{name}: the tensors {WORDS!r} and {OFFSETS!r} are not the words of {rows:,} rows; "
            f"expected uint8 bytes, and {rows + 1:,} rising int64 offsets into them"
        )
    return Words(blob, offsets)


def as_matrix(name: str, what: str, array: Array) -> Matrix:
    """A table in native byte order, read-only; `FormatError` if the array is none."""
    if array.ndim != 2 or not is_float(array.dtype.newbyteorder("=")) or array.shape[1] == 0:
        raise FormatError(
            f"{name}: {what} has shape {array.shape} and dtype {array.dtype}; expected a matrix of "
            "float16, float32 or float64, one row per word"
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))  # kernels compute in native order only
    array.flags.writeable = False
    return array
