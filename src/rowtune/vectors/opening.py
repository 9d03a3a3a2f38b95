"""From what a user names to bytes: files, members of archives, installed tables."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.vectors.packages import TABLES, locate

_GZIP, _ZIP, _NPY = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06"), b"\x93NUMPY"
_PACKERS = {
    b"BZh91AY&SY": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
}
_PICKLE_NAMES = (".pkl", ".pickle", ".model", ".kv", ".joblib", ".pt", ".pth")
_PICKLE_START = re.compile(
    rb"\x80[\x01-\x05]|\((?:d|l|t)p?\d*\n|c[A-Za-z_][\w.]*\n\w+\n|\(i[\w.]+\n"
)
_FASTTEXT_MODEL = b"\xba\x16\x4f\x2f"


class MissingFileError(FormatError, FileNotFoundError):
    """No such file, and no installed table of that name."""


@dataclass(frozen=True)
class Source:
    """One table to load: its file, the file of its words if that is another, a zip's member."""

    name: str  # as the user wrote it, for messages
    path: Path
    words: Path | None = None
    member: str | None = None

    def head(self, count: int) -> bytes:
        """The first bytes of the file itself, packed or not."""
        with self.path.open("rb") as file:
            return file.read(count)


def resolve(path_or_name: str | os.PathLike[str]) -> Source:
    """The file that a path, a ``path.zip:member`` or the name of an installed table means.

    Raises
    ------
    MissingFileError
        If there is no such file; also a `FileNotFoundError`.
    FormatError
        If the name is that of a table that is not installed, or of a folder.
    """
    name = os.fspath(path_or_name)
    path = Path(name).expanduser()
    if path.is_dir():
        raise FormatError(f"{name}: a folder; expected a file of vectors")
    if path.exists():
        return Source(name, path, words=_words_beside(path))
    if name in TABLES:
        matrix, words = locate(name)
        return Source(name, matrix, words=words)
    archive, colon, member = name.rpartition(".zip:")
    if colon and Path(archive + ".zip").expanduser().is_file():
        return Source(name, Path(archive + ".zip").expanduser(), member=member)
    raise MissingFileError(
        f"{name}: no such file; expected a file of vectors, 'archive.zip:member', or the name of "
        f"an installed table ({', '.join(TABLES)})"
    )


def _words_beside(path: Path) -> Path | None:
    """The word list that belongs to ``X.npy`` or ``X.safetensors``, if there is one."""
    if path.suffix not in (".npy", ".safetensors"):
        return None
    beside = (path.with_suffix(suffix) for suffix in (".words.txt", ".vocab"))
    return next((words for words in beside if words.is_file()), None)


def read_bytes(source: Source) -> NDArray[np.uint8]:
    """What the file holds, unpacked if it is gzip or zip; else a read-only memory map."""
    head = source.head(16)
    if head.startswith(_GZIP):
        return np.frombuffer(_gunzip(source), np.uint8)
    if head.startswith(_ZIP):
        return np.frombuffer(_unzip(source), np.uint8)
    for magic, packer in _PACKERS.items():
        if head.startswith(magic):
            raise FormatError(
                f"{source.name}: packed with {packer}; expected .gz, .zip or no packing: unpack it"
            )
    if not head:
        return np.zeros(0, np.uint8)  # an empty file cannot be mapped
    return np.memmap(source.path, np.uint8, "r")


def _gunzip(source: Source) -> bytes:
    import gzip  # noqa: PLC0415  (a cached load needs none of these)

    try:
        with gzip.open(source.path) as file:
            return file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(
            f"{source.name}: the gzip data is damaged or cut short ({error}); fetch the file again"
        ) from None


def _unzip(source: Source) -> bytes:
    import zipfile  # noqa: PLC0415

    try:
        with zipfile.ZipFile(source.path) as archive:
            members = [m for m in archive.namelist() if not m.endswith("/") and "__MACOSX" not in m]
            return archive.read(_choose_member(source, members))
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise FormatError(
            f"{source.name}: the zip archive is damaged or cut short ({error}); fetch it again"
        ) from None
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown method
        raise FormatError(f"{source.name}: {error}; unpack the archive yourself") from None


def _choose_member(source: Source, members: list[str]) -> str:
    if any(member.endswith("data.pkl") for member in members):
        raise FormatError(pickle_message(source.name))
    listing = ", ".join(members[:20]) or "none"
    if source.member is not None:
        if source.member in members:
            return source.member
        raise FormatError(f"{source.name}: no such member; the archive has: {listing}")
    if len(members) != 1:
        example = f"{source.path.name}:{members[0] if members else 'member'}"
        raise FormatError(
            f"{source.name}: {len(members)} members; expected one. Name the one you want, e.g. "
            f"{example!r}. It has: {listing}"
        )
    return members[0]


def refuse_unsafe(name: str, head: bytes) -> None:
    """`FormatError` for files that begin as pickles or as fastText models do; none is opened."""
    if _PICKLE_START.match(head):
        raise FormatError(pickle_message(name))
    if head.startswith(_FASTTEXT_MODEL):
        raise FormatError(
            f"{name}: a fastText model; expected its vectors: use the .vec file that fastText "
            "wrote beside it, or print them with `fasttext print-word-vectors`"
        )


def refuse_misread(name: str, head: bytes) -> None:
    """`FormatError` for text that would be taken for another kind of file by its first bytes."""
    if head.startswith((_GZIP, *_ZIP, _NPY, *_PACKERS, _FASTTEXT_MODEL)) or _PICKLE_START.match(
        head
    ):
        raise FormatError(
            f"{name}: the first word, {head.split(b' ')[0][:40]!r}, begins as a packed file or a "
            "pickle does; save as .safetensors, which holds any word"
        )


def looks_pickled(name: str) -> bool:
    """Whether programs that pickle give files such names."""
    return name.lower().removesuffix(".gz").endswith(_PICKLE_NAMES)


def pickle_message(name: str) -> str:
    """Why a pickle is not opened, and what to do."""
    return (
        f"{name}: a pickle, which runs code when it is opened, so Rowtune never opens one. Convert "
        "it where you trust it, e.g. with gensim: "
        "kv = KeyedVectors.load(FILE); kv.save_word2vec_format('vectors.vec')"
    )
