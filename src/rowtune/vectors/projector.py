"""Tables out for TensorBoard's projector: tabs between values, words in a file of their own."""

from __future__ import annotations

from pathlib import Path

from rowtune.errors import FormatError
from rowtune.vectors.beside import metadata_for
from rowtune.vectors.pair import replacing_pair
from rowtune.vectors.sniff import refuse_wide
from rowtune.vectors.text_out import text_lines
from rowtune.vectors.vectors import Progress, Vectors
from rowtune.vectors.writing import listing


def save_projector(vectors: Vectors, name: str, progress: Progress | None = None) -> None:
    """Write ``X.tsv`` and its metadata, together as `replacing_pair` puts them.

    Raises
    ------
    FormatError
        For a table without rows, whose dimension such a file cannot say, or with far too long ones.
    """
    if not len(vectors):
        raise FormatError(f"{name}: no rows, and this format has no header; save as .vec")
    refuse_wide(name, vectors.dim)
    with replacing_pair(metadata_for(Path(name)), name) as (words, file):
        words.write(listing(vectors.words))
        for lines, done in text_lines(name, None, vectors.matrix, between=b"\t"):
            file.write(lines)
            if progress:
                progress("writing", done, len(vectors))
