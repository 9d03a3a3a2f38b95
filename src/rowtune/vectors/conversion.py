"""`convert`: a table from any format into any, whole or in part, without holding it in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rowtune.errors import FormatError
from rowtune.tables.mapped_pages import forget
from rowtune.tables.tensorfile import flat_bytes
from rowtune.vectors import kinds
from rowtune.vectors.beside import metadata_for
from rowtune.vectors.binary import binary_runs
from rowtune.vectors.formats import TABLE, format_in
from rowtune.vectors.kinds import Kind, kind_of
from rowtune.vectors.opening import resolve
from rowtune.vectors.reading import load, read_rows
from rowtune.vectors.source import Source
from rowtune.vectors.unpacking import packing_of, unpacking
from rowtune.vectors.vectors import Matrix, Progress, Vectors
from rowtune.vectors.words import Words, encode
from rowtune.vectors.writing import save

DTYPES = ("float16", "float32", "float64")
_ROWS_AT_A_TIME = 8192
_BYTES_AT_A_TIME = 1 << 22


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote."""

    rows: int
    dim: int
    dtype: str
    missing: tuple[str, ...]  # words that were asked for and are not in the table


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    limit: int | None = None,
    words: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Write a table into the format that the name of ``out`` asks for.

    Rows keep their order and, without ``dtype``, their bits. Text and word2vec binary are read run
    by run, and the rows go through a nameless file beside ``out``, so memory holds the words and
    one run; packed ones are unpacked beside ``out`` first. Other files are mapped, or held whole.

    Parameters
    ----------
    source : path or str
        What `load` takes.
    out : path
        Where to; the name says the format, as for `save`.
    dtype : "float16", "float32" or "float64", optional
        What to round the values to.
    limit : int, optional
        Take the first rows only; the rest of a text file is not even read.
    words : collection of str, optional
        Take the rows of these words only, of those within ``limit``.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    FormatError
        As `load` and `save`; for ``out`` that is read by this very call, for a value that ``dtype``
        cannot hold, and where no row is left.
    """
    name, kind = os.fspath(out), kind_of(out)
    if dtype is not None and dtype not in DTYPES:
        raise FormatError(f"{dtype!r} is no dtype of a table; expected one of {', '.join(DTYPES)}")
    origin = resolve(source)
    _refuse_to_overwrite(origin, name, kind)
    folder = Path(os.path.realpath(out)).parent
    blocks = _limited(_blocks(origin, folder, progress), limit)
    asked = None if words is None else {encode(word) for word in words}
    found: set[bytes] = set()
    if asked is not None:
        blocks = _chosen(blocks, asked, found)
    with _named(name):
        table = _shelved(_cast(blocks, dtype, name), folder)
    if table is None:
        raise FormatError(f"{origin.name}: there is no row to write; ask for words that it has")
    if kind.format == kinds.BINARY and table.matrix.dtype == np.float64:
        raise FormatError(
            f"{name}: the rows are float64, and word2vec binary holds float32; round them "
            "(--dtype float32), or write .npy or .safetensors"
        )
    matrix = table.matrix

    def written(stage: str, done: int, total: int) -> None:
        forget(matrix)
        if progress:
            progress(stage, done, total)

    save(table, out, progress=written)
    lacking = sorted((asked or set()) - found)
    missing = tuple(word.decode("utf-8", "surrogateescape") for word in lacking)
    return Converted(len(table), table.dim, str(table.matrix.dtype), missing)


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """A file without a name is written beside ``name``: what it lacks room for is that file."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = name
        raise


Blocks = Iterator[tuple[Words, Matrix]]


def _blocks(source: Source, folder: Path, progress: Progress | None) -> Blocks:
    """The table piece by piece."""
    if format_in(source) == TABLE:
        with _unpacked(source, folder, progress) as plain:
            data, layout = read_rows(plain)
            if layout.binary:
                yield from binary_runs(source.name, data, layout, progress)
            else:
                from rowtune.vectors.text_runs import text_runs  # noqa: PLC0415  (imports pyarrow)

                yield from text_runs(source.name, data, layout, progress)
        return
    table = load(source.name, cache=False, progress=progress)
    for start in range(0, max(1, len(table)), _ROWS_AT_A_TIME):
        stop = min(start + _ROWS_AT_A_TIME, len(table))
        part = Words(table.words.blob, table.words.offsets[start : stop + 1])
        yield part, table.matrix[start:stop]


@contextlib.contextmanager
def _unpacked(source: Source, folder: Path, progress: Progress | None) -> Iterator[Source]:
    """The same table in a file that can be mapped: the source itself, or a passing one."""
    if not packing_of(source.head(16)):
        yield source
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".rowtune.") as plain:
        with unpacking(source) as packed:
            while piece := packed.read(_BYTES_AT_A_TIME):
                plain.write(piece)
                if progress:
                    progress("unpacking", plain.tell(), 0)
        plain.flush()
        yield dataclasses.replace(source, path=Path(plain.name))


def _limited(blocks: Blocks, limit: int | None) -> Blocks:
    left = limit
    for words, rows in blocks:
        if left is None or len(words) < left:
            yield words, rows
            left = None if left is None else left - len(words)
            continue
        yield Words(words.blob, words.offsets[: left + 1]), rows[:left]
        return


def _chosen(blocks: Blocks, asked: set[bytes], found: set[bytes]) -> Blocks:
    """The rows of words that are asked for; every row of a word that has several."""
    for words, rows in blocks:
        kept = [(i, word) for i, word in enumerate(words.iter_raw()) if word in asked]
        found.update(word for _, word in kept)
        yield Words.packed([word for _, word in kept]), rows[[i for i, _ in kept]]


def _cast(blocks: Blocks, dtype: str | None, name: str) -> Blocks:
    for words, rows in blocks:
        if dtype is None or rows.dtype == dtype:
            yield words, rows
            continue
        with np.errstate(over="ignore"):  # looked for below
            cast = rows.astype(dtype)
        lost = (np.isinf(cast) & ~np.isinf(rows)).any(axis=1)
        if lost.any():
            word = words[int(np.flatnonzero(lost)[0])]
            raise FormatError(
                f"{name}: the row of {word!r} has a value too large for {dtype}; keep a wider dtype"
            )
        yield words, cast


def _shelved(blocks: Blocks, folder: Path) -> Vectors | None:
    """The rows in a nameless file, which vanishes with its last user, also after a crash."""
    parts: list[Words] = []
    dtype: np.dtype[Any] | None = None
    count = dim = 0
    with tempfile.TemporaryFile(dir=folder, prefix=".rowtune.") as file:
        for words, rows in blocks:
            if not len(words):
                continue
            dtype, dim = rows.dtype, rows.shape[1]
            # A copy: the words of a run would keep the text of the whole run in memory.
            parts.append(Words(words.packed_blob().copy(), words.offsets - words.offsets[0]))
            file.write(flat_bytes(rows).data)
            count += len(words)
        file.flush()
        if dtype is None:
            return None
        matrix: Any = np.memmap(file, dtype, "r", shape=(count, dim))
    return Vectors(Words.joined(parts), matrix)


def _refuse_to_overwrite(source: Source, out: str, kind: Kind) -> None:
    target = Path(os.path.realpath(out))
    written = {target}
    if kind.format == kinds.NPY:
        written.add(target.with_suffix(".words.txt"))
    if kind.format == kinds.PROJECTOR:
        written.add(metadata_for(target))
    read = {Path(os.path.realpath(path)) for path in source.files}
    if written & read:
        raise FormatError(f"{out} is read by this command; write to another file")
