"""Packed files: what gzip, bzip2, xz, zstd and zip hold, and writing all but the last."""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np

from rowtune.errors import FormatError
from rowtune.tables.pickles import pickle_message
from rowtune.vectors.source import Source
from rowtune.vectors.words import Bytes

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
PACKINGS = {
    b"\x1f\x8b": "gz",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
    **{b"BZh%d1AY&SY" % level: "bz2" for level in range(1, 10)},
}
_PROGRAMS = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "zstd"}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PIECE = 1 << 20  # bytes
# Vectors pack to a half or a third, and zeros to a thousandth. What unpacks to more is damage.
_MOST_TIMES, _SMALL = 1_000, 1 << 30
_SEVEN_ZIP = b"7z\xbc\xaf"
MAGICS = (*PACKINGS, *ZIP, _SEVEN_ZIP)


def packing_of(head: bytes) -> str:
    """What a file is packed with by its first bytes, "gz", "bz2", "xz" or "zst"; "" for none."""
    return next((packing for magic, packing in PACKINGS.items() if head.startswith(magic)), "")


def read_bytes(source: Source) -> Bytes:
    """What the file holds, unpacked if it is packed; else a read-only memory map.

    Raises
    ------
    FormatError
        If what is packed is damaged or cut short, or an archive has not one clear member.
    """
    head = source.head(16)
    if packing_of(head):
        return _unpack(source)
    if head.startswith(ZIP):
        return _unzip(source)
    if head.startswith(_SEVEN_ZIP):
        raise FormatError(
            f"{source.name}: packed with 7z; expected .gz, .bz2, .xz, .zst, .zip or no packing: "
            "unpack it"
        )
    if not head:
        return np.zeros(0, np.uint8)  # an empty file cannot be mapped
    return np.memmap(source.path, np.uint8, "r")


@contextlib.contextmanager
def unpacking(source: Source) -> Iterator[BinaryIO]:
    """The file opened for reading, through its unpacker if it is packed.

    Errors of the unpacker inside the block become `FormatError`.
    """
    packing = packing_of(source.head(16))
    if not packing:
        with source.path.open("rb") as file:
            yield file
        return
    try:
        with _reader(source, packing) as file:
            yield file
    except _damage() as error:
        if isinstance(error, FormatError) or (isinstance(error, OSError) and error.errno):
            raise
        raise FormatError(
            f"{source.name}: the {_PROGRAMS[packing]} data is damaged or cut short ({error}); "
            "fetch the file again"
        ) from None


def first_bytes(source: Source, count: int) -> bytes:
    """The first bytes of what the file holds, unpacked if it is packed."""
    head = source.head(count)
    if head.startswith(ZIP):
        with opened_zip(source) as archive:
            data: bytes = archive.open(_choose_member(source, _files(archive))).read(count)
            return data
    if packing_of(head):
        with unpacking(source) as file:
            return file.read(count)
    return head


def _unpack(source: Source) -> Bytes:
    with unpacking(source) as file:
        return _read_all(source, file)


def _read_all(source: Source, file: BinaryIO) -> Bytes:
    """All that is packed, a piece at a time: a few damaged bytes can stand for gigabytes."""
    size, data = source.path.stat().st_size, bytearray()
    most = _MOST_TIMES * size + _SMALL
    while piece := file.read(_PIECE):
        data += piece
        if len(data) > most:
            raise FormatError(
                f"{source.name}: its {size:,} bytes unpack to more than {most:,}, as those of no "
                "table of vectors do; if it is one, unpack it and read what comes out"
            )
    unpacked = np.frombuffer(data, np.uint8)
    unpacked.flags.writeable = False
    return unpacked


def _reader(source: Source, packing: str) -> Any:
    # A cached load needs none of these modules.
    if packing == "gz":
        import gzip  # noqa: PLC0415

        return gzip.open(source.path)
    if packing == "bz2":
        import bz2  # noqa: PLC0415

        return bz2.open(source.path)
    if packing == "xz":
        import lzma  # noqa: PLC0415

        return lzma.open(source.path)
    import pyarrow as pa  # noqa: PLC0415

    return pa.CompressedInputStream(pa.OSFile(str(source.path)), "zstd")


def _damage(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """What unpackers raise for damaged data."""
    import lzma  # noqa: PLC0415

    # MemoryError: a damaged xz header may ask for a dictionary of gigabytes.
    return EOFError, zlib.error, lzma.LZMAError, OSError, ValueError, MemoryError, *more


@contextlib.contextmanager
def packing_into(file: BinaryIO, packing: str) -> Iterator[BinaryIO]:
    """A file to write to, whose bytes go packed into ``file``; "" packs nothing.

    No time and no name inside: the same table gives the same bytes.
    """
    if not packing:
        yield file
        return
    with _writer(file, packing) as packed:
        yield cast(BinaryIO, packed)


def _writer(file: BinaryIO, packing: str) -> Any:
    if packing == "gz":
        import gzip  # noqa: PLC0415

        return gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
    if packing == "bz2":
        import bz2  # noqa: PLC0415

        return bz2.BZ2File(file, "wb")
    if packing == "xz":
        import lzma  # noqa: PLC0415

        return lzma.LZMAFile(file, "wb")
    import pyarrow as pa  # noqa: PLC0415

    # Arrow closes what it writes to, and the file is still to be flushed: it gets its own handle.
    return pa.CompressedOutputStream(_Kept(file), "zstd")


class _Kept:
    """A file that Arrow may write to but not close."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write
        self.flush = file.flush

    def close(self) -> None:
        self.flush()


def members_of(source: Source) -> list[str]:
    """The files in a zip archive; none for anything else."""
    if not source.head(4).startswith(ZIP):
        return []
    with opened_zip(source) as archive:
        return _files(archive)


@contextlib.contextmanager
def opened_zip(source: Source) -> Iterator[Any]:
    """A zip archive; what is wrong with it becomes `FormatError`."""
    import zipfile  # noqa: PLC0415

    try:
        with zipfile.ZipFile(source.path) as archive:
            if any(info.compress_type == zipfile.ZIP_LZMA for info in archive.infolist()):
                # Nothing guards its header: one damaged byte asks for a dictionary of gigabytes.
                raise NotImplementedError("a zip archive packed by LZMA; expected deflate")
            _check_members(archive, source.path.stat().st_size)
            yield archive
    except FormatError:
        raise
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown method
        raise FormatError(f"{source.name}: {error}; unpack the archive yourself") from None
    except _damage(zipfile.BadZipFile, struct.error, OverflowError) as error:
        if isinstance(error, OSError) and error.errno and error.filename:
            raise
        raise FormatError(
            f"{source.name}: the zip archive is damaged or cut short ({error}); fetch it again"
        ) from None


def _check_members(archive: Any, size: int) -> None:
    """Raise `ValueError` for a member that is said to be larger than the file (Python would ask for
    all of that memory before it reads the first byte), or whose name is none: messages show it.
    """
    for info in archive.infolist():
        if _CONTROL.search(info.filename):
            raise ValueError(f"a member is called {info.filename[:40]!r}")
        if info.compress_size > size:
            said = f"{info.filename[:80]} is said to have {info.compress_size:,} bytes"
            raise ValueError(f"{said} in a file of {size:,}")


def read_member(source: Source, archive: Any, member: str) -> Bytes:
    """What a member of an `opened_zip` holds.

    Raises
    ------
    FormatError
        If it is damaged, or unpacks to more than a table of vectors does.
    """
    with archive.open(member) as file:
        return _read_all(source, file)


def _unzip(source: Source) -> Bytes:
    with opened_zip(source) as archive:
        return read_member(source, archive, _choose_member(source, _files(archive)))


def _files(archive: Any) -> list[str]:
    names: list[str] = archive.namelist()
    return [m for m in names if not m.endswith("/") and "__MACOSX" not in m]


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
