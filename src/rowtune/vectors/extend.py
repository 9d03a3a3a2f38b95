"""New rows after the old ones: the old are copied as the bytes they were."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from rowtune.errors import FormatError, ShapeError
from rowtune.vectors import kinds
from rowtune.vectors.binary import end_of_binary
from rowtune.vectors.kinds import Kind, kind_of
from rowtune.vectors.opening import Source, resolve
from rowtune.vectors.reading import is_mappable, read_rows
from rowtune.vectors.sniff import Layout
from rowtune.vectors.vectors import Progress, Vectors
from rowtune.vectors.words import Bytes, Words
from rowtune.vectors.writing import binary_records, header, opened, save

_BYTES_AT_A_TIME = 1 << 24
_IMPOSSIBLE = {kinds.NPY: b"\n", kinds.SAFETENSORS: b""}  # other formats: any blank


def extend_file(
    source: str | os.PathLike[str],
    vectors: Vectors,
    new_words: Iterable[str],
    new_rows: ArrayLike,
    out_path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> None:
    """Write a table with rows added, the rows of ``source`` first and unchanged.

    Between text and text, and between word2vec binary and binary, the old rows are copied byte for
    byte: only a word2vec header's count changes, and a newline missing at the end is added. Any
    other pair is converted by `save`, which keeps the bits of every value.

    Parameters
    ----------
    source : path or str
        The file or installed table that ``vectors`` was loaded from.
    vectors : Vectors
        That table.
    new_words : iterable of str
        Words that the table lacks, each once.
    new_rows : array, shape (len(new_words), D)
        Their rows; cast to the dtype of the table.
    out_path : path
        Where to; the name says the format, as for `save`. May be ``source`` itself.
    progress : callable, optional
        Called as ``progress("writing", done, total)``.

    Raises
    ------
    FormatError
        For new words that the format cannot hold or the table already has, a table that is not
        float32 where the format is text or word2vec binary, or a source that has changed.
    ShapeError
        If ``new_rows`` does not fit.
    """
    name, kind = os.fspath(out_path), kind_of(out_path)
    added = _added(vectors, Words.of(new_words), np.asarray(new_rows))
    _check_new_words(name, kind, vectors, added.words)
    check_format_for(vectors, out_path)
    origin = resolve(source)
    if not is_mappable(origin) and (kind.is_text or kind.format == kinds.BINARY):
        data, layout = read_rows(origin)
        if layout.binary == (kind.format == kinds.BINARY):
            _copy_and_add(origin, data, layout, vectors, added, name, kind, progress)
            return
    words = Words.joined([vectors.words, added.words])
    save(Vectors(words, np.concatenate([vectors.matrix, added.matrix])), name, progress=progress)


def check_format_for(vectors: Vectors, out_path: str | os.PathLike[str]) -> None:
    """Refuse, before any work, a format that cannot hold a table of this dtype.

    Raises
    ------
    FormatError
        For a table that is not float32 where the format is text or word2vec binary.
    """
    kind = kind_of(out_path)
    if kind.format not in _IMPOSSIBLE and vectors.matrix.dtype != np.float32:
        raise FormatError(
            f"{os.fspath(out_path)}: the table is {vectors.matrix.dtype}, and {kind.format} files "
            "are read as float32; write .npy or .safetensors to keep its bits"
        )


def _added(vectors: Vectors, words: Words, rows: np.ndarray) -> Vectors:
    if rows.size == 0 and len(words) == 0:
        rows = np.empty((0, vectors.dim), vectors.matrix.dtype)
    if rows.ndim != 2 or rows.shape != (len(words), vectors.dim):
        raise ShapeError(
            f"got new rows of shape {rows.shape} for {len(words):,} new words and a table of "
            f"{vectors.dim} values per row; expected ({len(words)}, {vectors.dim})"
        )
    return Vectors(words, rows.astype(vectors.matrix.dtype, copy=False))


def _check_new_words(name: str, kind: Kind, vectors: Vectors, words: Words) -> None:
    known = np.flatnonzero(vectors.word_index.find_many(words) >= 0)
    if len(known):
        raise FormatError(
            f"{words[int(known[0])]!r} and {len(known) - 1:,} more of the new words are in the "
            "table already; leave them out: a table's first row of a word is the one that counts"
        )
    seen: set[bytes] = set()
    impossible = _IMPOSSIBLE.get(kind.format, b" \n\r\t")
    for word in words.iter_raw():
        if word in seen:
            raise FormatError(f"the new word {word.decode(errors='replace')!r} comes twice")
        seen.add(word)
        if any(byte in impossible for byte in word) or not word:
            raise FormatError(
                f"{name}: the new word {word!r} is empty or has a blank in it, which "
                f"{kind.format} files cannot hold; leave it out, or write .safetensors"
            )


def _copy_and_add(
    origin: Source,
    data: Bytes,
    layout: Layout,
    vectors: Vectors,
    added: Vectors,
    name: str,
    kind: Kind,
    progress: Progress | None,
) -> None:
    end, rows, between = _extent(data, layout)
    if rows != len(vectors) or layout.dim != vectors.dim:
        raise FormatError(
            f"{origin.name}: {rows:,} rows of {layout.dim} values, but the table that was loaded "
            f"from it has {len(vectors):,} of {vectors.dim}; the file has changed: load it again"
        )
    with opened(name, kind) as file:
        file.write(header(kind, rows + len(added), layout.dim))
        for start in range(layout.body, end, _BYTES_AT_A_TIME):
            stop = min(start + _BYTES_AT_A_TIME, end)
            file.write(data[start:stop].data)
            if progress:
                progress("writing", stop, end)
        file.write(between if rows else b"")
        if layout.binary:
            file.write(binary_records(added, 0, len(added), between))
            return
        from rowtune.vectors.text_out import text_lines  # noqa: PLC0415  (imports pyarrow)

        for lines, _ in text_lines(name, added.words, added.matrix, layout.line_end):
            file.write(lines)


def _extent(data: Bytes, layout: Layout) -> tuple[int, int, bytes]:
    """Where the last old row ends, how many there are, and what stands between two rows."""
    if layout.binary:
        end, between = end_of_binary(data, layout)
        return end, layout.rows or 0, between
    from rowtune.vectors.text import count_rows, end_of_rows  # noqa: PLC0415

    end = end_of_rows(data, layout.body)
    return end, count_rows(data[layout.body : end]), b"\r\n" if layout.crlf else b"\n"
