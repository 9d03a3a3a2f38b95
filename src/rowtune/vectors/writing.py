"""`save`: a table into the format that the file's name asks for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rowtune.atomic import replacing
from rowtune.errors import FormatError
from rowtune.tables.tensorfile import write_tensors
from rowtune.vectors import kinds
from rowtune.vectors.arrays import MATRIX, OFFSETS, WORDS
from rowtune.vectors.kinds import Kind, kind_of
from rowtune.vectors.pair import replacing_pair
from rowtune.vectors.refusing import refuse_misread
from rowtune.vectors.sniff import HEAD_BYTES, refuse_wide, sniff
from rowtune.vectors.unpacking import packing_into
from rowtune.vectors.vectors import Progress, Vectors
from rowtune.vectors.words import Words

_ROWS_AT_A_TIME = 8192


def save(
    vectors: Vectors, path: str | os.PathLike[str], *, progress: Progress | None = None
) -> None:
    """Write a table; the old file, if any, stays until the new one is complete.

    The name decides the format: ``.txt`` GloVe text, ``.vec`` and ``.w2v.txt`` word2vec text with
    its header, ``.bin`` word2vec binary, each also with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``;
    ``X.npy`` puts the words into ``X.words.txt``, one per line; ``.safetensors`` holds the tensors
    ``matrix``, ``words`` (uint8, the words' bytes back to back) and ``words_offsets`` (int64,
    N + 1); ``X.tsv`` is for TensorBoard's projector, with the words in ``X.metadata.tsv``
    (``metadata.tsv`` for ``vectors.tsv``, ``X_metadata.tsv`` for ``X_tensor.tsv``). Text gets the
    shortest digits that give the same value back, -0.0 included.

    Parameters
    ----------
    vectors : Vectors
        The table.
    path : path
        Where to.
    progress : callable, optional
        Called as ``progress("writing", rows done, rows in all)``.

    Raises
    ------
    FormatError
        For a name that says no format, or a table that the format cannot hold.
    """
    kind, name = kind_of(path), os.fspath(path)
    check_words(name, vectors.words, kind)
    if kind.is_text:
        _save_text(vectors, name, kind, progress)
    elif kind.format == kinds.BINARY:
        _save_binary(vectors, name, kind, progress)
    elif kind.format == kinds.NPY:
        _save_npy(vectors, name)
    elif kind.format == kinds.PROJECTOR:
        from rowtune.vectors.projector import save_projector  # noqa: PLC0415  (imports pyarrow)

        save_projector(vectors, name, progress)
    else:
        tensors = {
            MATRIX: np.asarray(vectors.matrix),
            WORDS: vectors.words.packed_blob(),
            OFFSETS: vectors.words.offsets - vectors.words.offsets[0],
        }
        with replacing(name) as file:
            write_tensors(file, tensors, {"format": "rowtune vectors"})


@contextlib.contextmanager
def opened(name: str, kind: Kind) -> Iterator[BinaryIO]:
    """A file that takes its name when it is complete, packed if ``kind`` says so."""
    with replacing(name) as file, packing_into(file, kind.packing) as packed:
        yield packed


def header(kind: Kind, rows: int, dim: int) -> bytes:
    """The first line of a word2vec file; nothing for GloVe."""
    return b"" if kind.format == kinds.GLOVE else b"%d %d\n" % (rows, dim)


def check_words(name: str, words: Words, kind: Kind) -> None:
    """`FormatError` for words that would come back as others from a file of this kind."""
    blob = words.packed_blob()
    ends = words.offsets - words.offsets[0]
    bad = {"newline": blob == 10} if kind.format != kinds.SAFETENSORS else {}
    if kind.format == kinds.BINARY:
        bad["space"] = blob == 32
    if kind.format == kinds.PROJECTOR:
        bad["tab"] = blob == 9
    for what, where in bad.items():
        if where.any():
            i = int(np.searchsorted(ends, int(np.flatnonzero(where)[0]), side="right")) - 1
            raise FormatError(
                f"{name}: word {i:,}, {words[i]!r}, has a {what} in it, which ends a word in "
                f"{kind.format} files; leave it out, or save as .safetensors, which holds any word"
            )
    if kind.format in (kinds.NPY, kinds.PROJECTOR) and len(words):
        lasts = blob[np.maximum(ends[1:] - 1, 0)] == 13 if len(blob) else np.zeros(1, bool)
        if (lasts & (words.lengths > 0)).all():
            raise FormatError(
                f"{name}: every word ends in a carriage return, as if the list came from Windows; "
                "strip them, or save as .safetensors, which holds any word"
            )


def _save_text(vectors: Vectors, name: str, kind: Kind, progress: Progress | None) -> None:
    from rowtune.vectors.text_out import text_lines  # noqa: PLC0415  (imports pyarrow)

    rows, dim = len(vectors), vectors.dim
    refuse_wide(name, dim)
    first = header(kind, rows, dim)
    if not first and not rows:
        raise FormatError(
            f"{name}: no rows, and GloVe text has no header to say how long they are; save as .vec"
        )
    with opened(name, kind) as file:
        file.write(first)
        checked = False
        for lines, done in text_lines(name, vectors.words, vectors.matrix):
            if not checked:
                head = first + bytes(lines[:HEAD_BYTES])
                _check_reads_back(name, head[:HEAD_BYTES], vectors, bool(first), done == rows)
                checked = True
            file.write(lines)
            if progress:
                progress("writing", done, rows)


def _check_reads_back(
    name: str, head: bytes, vectors: Vectors, has_header: bool, complete: bool
) -> None:
    """Tokens with spaces or digits can make the first lines look like another table's."""
    refuse_misread(name, head)
    layout = sniff(name, head, complete and len(head) < HEAD_BYTES)
    if layout is None or layout.dim != vectors.dim or (layout.rows is not None) != has_header:
        raise FormatError(
            f"{name}: with these words the first lines would not read back as a table of "
            f"{vectors.dim} values per row; save as .safetensors, which holds any word"
        )


def _save_binary(vectors: Vectors, name: str, kind: Kind, progress: Progress | None) -> None:
    if vectors.matrix.dtype == np.float64:
        raise FormatError(
            f"{name}: float64 rows, but word2vec binary holds float32; save as .npy or "
            ".safetensors, or round first: Vectors(v.words, v.matrix.astype('float32'))"
        )
    rows = len(vectors)
    with opened(name, kind) as file:
        file.write(header(kind, rows, vectors.dim))
        for start in range(0, rows, _ROWS_AT_A_TIME):
            stop = min(start + _ROWS_AT_A_TIME, rows)
            file.write(binary_records(vectors, start, stop, b""))
            if progress:
                progress("writing", stop, rows)


def binary_records(vectors: Vectors, start: int, stop: int, row_end: bytes) -> bytes:
    """Rows ``start`` to ``stop`` as word2vec binary has them."""
    values = np.ascontiguousarray(vectors.matrix[start:stop], "<f4").tobytes()
    width = 4 * vectors.dim
    part = Words(vectors.words.blob, vectors.words.offsets[start : stop + 1])
    return b"".join(
        b"%b %b%b" % (word, values[i * width : (i + 1) * width], row_end)
        for i, word in enumerate(part.iter_raw())
    )


def _save_npy(vectors: Vectors, name: str) -> None:
    with replacing_pair(Path(name).with_suffix(".words.txt"), name) as (words, file):
        words.write(listing(vectors.words))
        layout = {
            "shape": vectors.matrix.shape,
            "fortran_order": False,
            "descr": np.lib.format.dtype_to_descr(vectors.matrix.dtype),
        }
        np.lib.format.write_array_header_1_0(file, layout)
        for start in range(0, len(vectors), _ROWS_AT_A_TIME):
            # Not by NumPy's own writer: where the disk is full, its error does not say so.
            file.write(np.ascontiguousarray(vectors.matrix[start : start + _ROWS_AT_A_TIME]).data)


def listing(words: Words) -> bytes:
    """The words with a newline after each."""
    blob, lengths = words.packed_blob(), words.lengths
    return (np.insert(blob, np.cumsum(lengths), 10) if len(lengths) else blob).tobytes()
