"""Which format a file has, by what it holds: names count only where contents cannot tell."""

from __future__ import annotations

from rowtune.errors import FormatError
from rowtune.tables.npy_file import MAGIC
from rowtune.vectors.fasttext_file import is_fasttext
from rowtune.vectors.npz import is_npz
from rowtune.vectors.projector_rows import is_projector
from rowtune.vectors.source import Source
from rowtune.vectors.unpacking import first_bytes, members_of

NPY, SAFETENSORS, NPZ, FASTTEXT = ".npy", ".safetensors", ".npz", "fastText model"
PROJECTOR, TABLE = "projector .tsv", "text or word2vec binary"
_HEAD_BYTES = 1 << 12


def format_in(source: Source) -> str:
    """One of the constants above; `TABLE` for whatever is none of the others.

    Raises
    ------
    FormatError
        For a file named ``.npy`` or ``.safetensors`` that is none, or a damaged archive.
    """
    if _is_safetensors(source):
        return SAFETENSORS
    if source.member is None and is_npz(members_of(source)):
        return NPZ
    head = first_bytes(source, _HEAD_BYTES)
    suffix = source.path.suffix
    if head.startswith(MAGIC):
        return NPY
    if suffix in (NPY, SAFETENSORS):
        raise FormatError(
            f"{source.name}: begins with {head[:12]!r}, as no {suffix} file does; it is "
            "damaged or misnamed: fetch or save it again"
        )
    if is_fasttext(head):
        return FASTTEXT
    if is_projector(head, with_words=suffix == ".tsv" and source.words is not None):
        return PROJECTOR
    return TABLE


def _is_safetensors(source: Source) -> bool:
    """A length of 8 bytes, then JSON: nothing else that is read here begins like that."""
    return source.head(9)[8:] == b"{" and source.path.suffix == SAFETENSORS
