"""Which format the name of a file asks for when a table is saved."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rowtune.errors import FormatError

GLOVE, WORD2VEC, BINARY, NPY, SAFETENSORS = "GloVe", "word2vec", "binary", "npy", "safetensors"
_BY_SUFFIX = {  # longer suffixes first
    ".w2v.txt": WORD2VEC,
    ".vec": WORD2VEC,
    ".txt": GLOVE,
    ".bin": BINARY,
    ".npy": NPY,
    ".safetensors": SAFETENSORS,
}
KNOWN = (
    ".txt (GloVe text), .vec or .w2v.txt (word2vec text), .bin (word2vec binary), .npy (with "
    ".words.txt beside it), .safetensors; .gz may follow the first four"
)


@dataclass(frozen=True)
class Kind:
    """A format, and whether the file is gzipped."""

    format: str
    gzipped: bool

    @property
    def is_text(self) -> bool:
        return self.format in (GLOVE, WORD2VEC)


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """The format that a name asks for.

    Raises
    ------
    FormatError
        For an ending that names no format; the message lists those that do.
    """
    name = os.fspath(path).lower()
    gzipped = name.endswith(".gz")
    plain = name.removesuffix(".gz")
    for suffix, found in _BY_SUFFIX.items():
        if plain.endswith(suffix) and not (gzipped and found in (NPY, SAFETENSORS)):
            return Kind(found, gzipped)
    raise FormatError(
        f"{os.fspath(path)}: this name says no format to save in; expected one that ends in {KNOWN}"
    )
