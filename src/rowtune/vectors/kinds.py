"""Which format the name of a file asks for when a table is saved."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rowtune.errors import FormatError

GLOVE, WORD2VEC, BINARY, NPY, SAFETENSORS = "GloVe", "word2vec", "binary", "npy", "safetensors"
PROJECTOR = "projector"
_BY_SUFFIX = {  # longer suffixes first
    ".w2v.txt": WORD2VEC,
    ".vec": WORD2VEC,
    ".txt": GLOVE,
    ".bin": BINARY,
    ".npy": NPY,
    ".safetensors": SAFETENSORS,
    ".tsv": PROJECTOR,
}
KNOWN = (
    ".txt (GloVe text), .vec or .w2v.txt (word2vec text), .bin (word2vec binary), .npy (with "
    ".words.txt beside it), .safetensors, .tsv (TensorBoard's projector, with its metadata beside "
    "it); .gz, .bz2, .xz or .zst may follow the first four"
)
_PACKINGS = ("gz", "bz2", "xz", "zst")
_PACKED = (GLOVE, WORD2VEC, BINARY)  # the others are mapped, or made for another program


@dataclass(frozen=True)
class Kind:
    """A format, and what the file is packed with: "gz", "bz2", "xz", "zst" or ""."""

    format: str
    packing: str

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
    packing = next((p for p in _PACKINGS if name.endswith("." + p)), "")
    plain = name.removesuffix("." + packing)
    for suffix, found in _BY_SUFFIX.items():
        if plain.endswith(suffix) and not (packing and found not in _PACKED):
            return Kind(found, packing)
    raise FormatError(
        f"{os.fspath(path)}: this name says no format to save in; expected one that ends in {KNOWN}"
    )
