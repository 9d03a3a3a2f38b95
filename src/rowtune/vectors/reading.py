"""`load`: from a path or a name to `Vectors`, through the cache."""

from __future__ import annotations

import os

from rowtune.errors import FormatError
from rowtune.vectors import cache as caching
from rowtune.vectors.arrays import map_npy, map_safetensors, read_words_beside
from rowtune.vectors.binary import parse_binary
from rowtune.vectors.opening import (
    Source,
    looks_pickled,
    pickle_message,
    read_bytes,
    refuse_unsafe,
    resolve,
)
from rowtune.vectors.sniff import HEAD_BYTES, Layout, sniff
from rowtune.vectors.vectors import Matrix, Progress, Vectors
from rowtune.vectors.words import Bytes

_NPY_MAGIC = b"\x93NUMPY"


def load(
    path_or_name: str | os.PathLike[str],
    *,
    cache: bool = True,
    progress: Progress | None = None,
) -> Vectors:
    """Load a table of word vectors.

    Read are GloVe text, word2vec text (fastText's ``.vec`` too) and word2vec binary, told apart by
    what they hold; ``X.npy`` with its words in ``X.words.txt`` (one per line) or ``X.vocab``; and
    ``.safetensors`` with a matrix and its words. Text and binary may be packed as ``.gz`` or
    ``.zip``. Text becomes float32; the other formats keep their dtype.

    The first load of a file leaves what it parsed in the cache folder; the next one maps that.
    Rows are read-only.

    Parameters
    ----------
    path_or_name : path or str
        A file, ``archive.zip:member``, or the name of an installed table, ``"glove-6b-50d"``.
    cache : bool
        Whether to use the cache folder: ``$ROWTUNE_CACHE_DIR``, else the user's cache folder. A
        folder that cannot be written is no error.
    progress : callable, optional
        Called as ``progress(stage, done, total)`` while a file is parsed.

    Returns
    -------
    Vectors
        The words and rows in the order of the file, duplicates included.

    Raises
    ------
    FormatError
        If the file is missing, damaged, a pickle (never opened), or no table; the message says
        where and what to do.
    """
    source = resolve(path_or_name)
    mapped = _map_matrix(source)
    key = caching.key_of(source) if cache else None
    entry = caching.fetch(key) if key else None
    if entry is None:
        vectors = read(source, progress)
        # Columns of a Fortran-ordered file lie together, so a row costs a page per value: the
        # cache keeps such a table row by row.
        with_matrix = mapped is None or not mapped.flags.c_contiguous
        entry = caching.store(key, vectors, with_matrix) if key else None
        if entry is None:
            return vectors
    matrix = mapped if entry.matrix is None else entry.matrix
    if matrix is None or len(matrix) != len(entry.words):  # somebody else's entry: do without
        return read(source, progress)
    vectors = Vectors(entry.words, matrix)
    vectors.use_index(entry.index)
    return vectors


def read(source: Source, progress: Progress | None = None) -> Vectors:
    """Load without the cache."""
    matrix = _map_matrix(source)
    if matrix is not None:
        words = map_safetensors(source)[0] if _is_safetensors(source) else None
        return Vectors(words or read_words_beside(source, len(matrix)), matrix)
    data, layout = read_rows(source)
    if layout.binary:
        words, rows = parse_binary(source.name, data, layout, progress)
    else:
        from rowtune.vectors.text import parse_text  # noqa: PLC0415  (imports pyarrow)

        words, rows = parse_text(source.name, data, layout, progress)
    rows.flags.writeable = False
    return Vectors(words, rows)


def read_rows(source: Source) -> tuple[Bytes, Layout]:
    """The unpacked bytes of a text or binary table, and how its rows lie in them."""
    refuse_unsafe(source.name, source.head(64))
    data = read_bytes(source)
    head = data[:HEAD_BYTES].tobytes()
    refuse_unsafe(source.name, head[:64])
    if not head.strip():
        raise FormatError(f"{source.name}: empty; expected a table of word vectors")
    layout = sniff(source.name, head, complete=len(head) == len(data))
    if layout is not None:
        return data, layout
    if looks_pickled(source.name):
        raise FormatError(pickle_message(source.name))
    raise FormatError(
        f"{source.name}: begins with {head[:40]!r}, which is no table of word vectors; expected "
        "lines of a word and its values with single spaces between them (GloVe, word2vec, fastText "
        ".vec), word2vec binary, .npy or .safetensors"
    )


def is_mappable(source: Source) -> bool:
    """Whether the rows lie in the file as they do in memory: .npy and .safetensors."""
    return source.head(6) == _NPY_MAGIC or _is_safetensors(source)


def _map_matrix(source: Source) -> Matrix | None:
    """The rows of a format that can be mapped as it is, else None."""
    if source.head(6) == _NPY_MAGIC:
        return map_npy(source)
    if _is_safetensors(source):
        return map_safetensors(source)[1]
    suffix = source.path.suffix
    if suffix in (".npy", ".safetensors"):
        raise FormatError(
            f"{source.name}: begins with {source.head(12)!r}, as no {suffix} file does; it is "
            "damaged or misnamed: fetch or save it again"
        )
    return None


def _is_safetensors(source: Source) -> bool:
    """A length of 8 bytes, then JSON: nothing else that is read here begins like that."""
    head = source.head(9)
    return head[8:] == b"{" and source.path.suffix == ".safetensors"
