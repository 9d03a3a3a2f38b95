"""`load`: from a path or a name to `Vectors`, through the cache."""

from __future__ import annotations

import os

import numpy as np

from rowtune.errors import FormatError
from rowtune.tables.pickles import looks_pickled, pickle_message, refuse_pickle
from rowtune.vectors import cache as caching
from rowtune.vectors import formats
from rowtune.vectors.arrays import as_matrix, map_npy, map_safetensors, with_words_beside
from rowtune.vectors.binary import parse_binary
from rowtune.vectors.fasttext_file import parse_fasttext
from rowtune.vectors.fasttext_model import FastTextModel
from rowtune.vectors.formats import format_in
from rowtune.vectors.npz import read_npz
from rowtune.vectors.opening import resolve
from rowtune.vectors.projector_rows import parse_rows
from rowtune.vectors.sniff import HEAD_BYTES, Layout, sniff
from rowtune.vectors.source import Source
from rowtune.vectors.unpacking import read_bytes
from rowtune.vectors.vectors import Matrix, Progress, Vectors
from rowtune.vectors.words import Bytes


def load(
    path_or_name: str | os.PathLike[str],
    *,
    words: str | os.PathLike[str] | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> Vectors:
    """Load a table of word vectors.

    Told apart by what they hold, not by their names:

    - GloVe text, word2vec text (fastText's ``.vec`` too) and word2vec binary;
    - fastText models (``.bin``): each word's row is composed with those of its n-grams;
    - ``.npy`` with the words beside it in ``X.words.txt`` (one per line) or ``X.vocab``, such as
      the ``X.kv.vectors.npy`` that gensim keeps beside a pickle (which is never opened itself);
    - ``.npz`` with one matrix and one array of strings;
    - ``.safetensors`` with a matrix and its words, or with a ``tokenizer.json`` beside it;
    - folders of spaCy (``vectors``, ``key2row``, ``strings.json``), of model2vec and
      sentence-transformers (``model.safetensors``, ``tokenizer.json``);
    - tables of TensorBoard's projector (``vectors.tsv``, ``metadata.tsv``).

    Files may be packed as ``.gz``, ``.bz2``, ``.xz``, ``.zst`` or ``.zip``. Text becomes float32;
    the other formats keep their dtype. What is not mapped takes as much memory as the unpacked file
    and the table, and never more than a header claims and the file bears out; only of spaCy's
    tables, where words share rows, may the table be up to 100 times as large as the file.

    The first load of a file leaves what it parsed in the cache folder; the next one maps that.
    Rows are read-only.

    Parameters
    ----------
    path_or_name : path or str
        A file, a folder, ``archive.zip:member``, or the name of an installed table,
        ``"glove-6b-50d"``.
    words : path, optional
        For a file of rows only: its words, one per line, or a ``tokenizer.json``, in place of what
        lies beside the file.
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
    source = resolve(path_or_name, words)
    mapped = _map_matrix(source)
    key = caching.key_of(source) if cache else None
    entry = caching.fetch(key) if key else None
    if entry is None:
        vectors = read(source, progress, mapped)
        # Columns of a Fortran-ordered file lie together, so a row costs a page per value: the
        # cache keeps such a table row by row; and so one whose rows are chosen from the file's.
        with_matrix = vectors.matrix is not mapped or not vectors.matrix.flags.c_contiguous
        entry = caching.store(key, vectors, with_matrix) if key else None
        if entry is None:
            return vectors
    matrix = mapped if entry.matrix is None else entry.matrix
    if matrix is None or len(matrix) != len(entry.words):  # somebody else's entry: do without
        return read(source, progress, mapped)
    vectors = Vectors(entry.words, matrix)
    vectors.use_index(entry.index)
    return vectors


def read(source: Source, progress: Progress | None = None, mapped: Matrix | None = None) -> Vectors:
    """Load without the cache; ``mapped`` are the rows, if they have been mapped already."""
    mapped = _map_matrix(source) if mapped is None else mapped
    if mapped is not None:
        words = map_safetensors(source)[0] if source.path.suffix == formats.SAFETENSORS else None
        return with_words_beside(source, mapped) if words is None else Vectors(words, mapped)
    found = format_in(source)
    if found == formats.NPZ:
        return read_npz(source)
    if found == formats.TABLE:
        return _read_table(source, progress)
    data = read_bytes(source)
    if found == formats.FASTTEXT:
        model = parse_fasttext(source.name, data)
        return Vectors(model.words, as_matrix(source.name, "the model", model.vectors(progress)))
    rows = parse_rows(source.name, data, progress)
    return with_words_beside(source, as_matrix(source.name, "the table", rows))


def _read_table(source: Source, progress: Progress | None) -> Vectors:
    data, layout = read_rows(source)
    if source.words is not None:
        raise FormatError(
            f"{source.name}: has words of its own; expected a file of rows only to go with "
            f"{source.words}: leave the list out"
        )
    rows: Matrix
    if layout.binary:
        words, rows = parse_binary(source.name, data, layout, progress)
    else:
        from rowtune.vectors.text import parse_text  # noqa: PLC0415  (imports pyarrow)

        words, rows = parse_text(source.name, data, layout, progress)
    return Vectors(words, as_matrix(source.name, "the table", np.asarray(rows)))


def read_rows(source: Source) -> tuple[Bytes, Layout]:
    """The unpacked bytes of a text or binary table, and how its rows lie in them."""
    refuse_pickle(source.name, source.head(64), source.path)
    data = read_bytes(source)
    head = data[:HEAD_BYTES].tobytes()
    refuse_pickle(source.name, head[:64])
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
        ".vec), word2vec binary, a fastText model, .npy, .npz or .safetensors"
    )


def is_mappable(source: Source) -> bool:
    """Whether the table is neither text nor word2vec binary, so that `read_rows` is not for it."""
    return format_in(source) != formats.TABLE


def _map_matrix(source: Source) -> Matrix | None:
    """The rows of a format that needs no parsing, else None."""
    found = format_in(source)
    if found == formats.NPY:
        return map_npy(source)
    return map_safetensors(source)[1] if found == formats.SAFETENSORS else None


def open_fasttext(path: str | os.PathLike[str]) -> FastTextModel:
    """A fastText model, mapped: its `rows` composes vectors of words it has never seen.

    Raises
    ------
    FormatError
        If the file is missing, damaged, quantized, or no fastText model.
    """
    source = resolve(path)
    if format_in(source) != formats.FASTTEXT:
        raise FormatError(
            f"{source.name}: no fastText model; expected the .bin file that fastText saves"
        )
    return parse_fasttext(source.name, read_bytes(source))
