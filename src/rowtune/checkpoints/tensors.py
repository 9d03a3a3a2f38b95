"""Tensors in safetensors files, written and read piece by piece, with the SHA-256 of every byte."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rowtune.checkpoints.team import Damaged

PIECE = 1 << 24  # bytes in memory at a time
_WORTH_A_THREAD = 1 << 20
_CODES = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4",
    "I32": "<i4", "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
NAMES = {code: name for name, code in _CODES.items()}
_LONGEST_HEADER = 100_000_000  # the format's own limit
Tell = Callable[[int], None]


@dataclass(frozen=True)
class Stream:
    """A tensor that comes in pieces of consecutive rows."""

    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[NDArray[Any]]]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * np.dtype(self.dtype).itemsize


def stream(array: NDArray[Any], places: NDArray[np.int64] | None = None) -> Stream:
    """The rows ``places`` of an array, or all of them; never all in memory a second time."""
    if not array.ndim:
        return Stream(array.dtype.str, (), lambda: iter([array.reshape(1)]))
    count = len(array) if places is None else len(places)
    step = max(1, PIECE // max(1, array[:1].nbytes))

    def pieces() -> Iterator[NDArray[Any]]:
        for at in range(0, count, step):
            here = slice(at, min(at + step, count))
            yield np.ascontiguousarray(array[here] if places is None else array[places[here]])

    return Stream(array.dtype.str, (count, *array.shape[1:]), pieces)


def write(path: Path, tensors: dict[str, Stream], told: Tell) -> dict[str, Any]:
    """Write a file to the disk; its name, bytes and SHA-256. ``told`` hears of bytes written."""
    digest, size = hashlib.sha256(), 0
    # SHA-256 is slower than many a disk: one core hashes while the other writes.
    with path.open("wb", buffering=0) as file, ThreadPoolExecutor(1) as beside:
        for data in _bytes_of(tensors):
            if len(data) < _WORTH_A_THREAD:
                digest.update(data)
                _write_all(file, data)
            else:
                hashed = beside.submit(digest.update, data)
                _write_all(file, data)
                hashed.result()
            size += len(data)
            told(len(data))
        os.fsync(file.fileno())
    return {"name": path.name, "bytes": size, "sha256": digest.hexdigest()}


def _write_all(file: Any, data: memoryview) -> None:
    while len(data):
        data = data[file.write(data) :]


def _bytes_of(tensors: dict[str, Stream]) -> Iterator[memoryview]:
    # Widest items first, so that every tensor begins at a multiple of its item size.
    order = sorted(tensors, key=lambda key: (-np.dtype(tensors[key].dtype).itemsize, key))
    header: dict[str, Any] = {}
    place = 0
    for key in order:
        tensor = tensors[key]
        header[key] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, place + tensor.nbytes],
        }
        place += tensor.nbytes
    raw = json.dumps(header).encode()
    raw += b" " * (-(8 + len(raw)) % 64)
    yield memoryview(len(raw).to_bytes(8, "little") + raw)
    for key in order:
        for piece in tensors[key].pieces():
            if piece.size:
                yield piece.reshape(-1).view(np.uint8).data


class File:
    """An open file whose bytes have been compared with their checksum; it stays readable when a
    later save removes its name.

    Raises
    ------
    Damaged
        Missing, or not as it was written.
    """

    def __init__(self, path: Path, entry: dict[str, Any], told: Tell) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
        except OSError as error:
            what = "is missing" if isinstance(error, FileNotFoundError) else error.strerror
            raise Damaged(f"{path} {what}") from error
        try:
            self._verify(int(entry["bytes"]), str(entry["sha256"]), told)
            self._read_header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def _verify(self, size: int, expected: str, told: Tell) -> None:
        there = os.fstat(self._file.fileno()).st_size
        if there != size:
            raise Damaged(f"{self.path} is damaged: it has {there:,} bytes of {size:,}")
        digest, memory = hashlib.sha256(), memoryview(bytearray(min(PIECE, max(1, size))))
        try:
            while count := self._file.readinto(memory):  # type: ignore[attr-defined]
                digest.update(memory[:count])
                told(count)
        except OSError as error:
            raise Damaged(f"{self.path} cannot be read: {error.strerror}") from error
        if digest.hexdigest() != expected:
            raise Damaged(f"{self.path} is damaged: its SHA-256 is not the one in its manifest")

    def _read_header(self) -> None:
        self._file.seek(0)
        length = int.from_bytes(self._file.read(8), "little")
        header: dict[str, Any] = json.loads(self._file.read(min(length, _LONGEST_HEADER)))
        self._start = 8 + length
        self.tensors = {
            key: (np.dtype(_CODES[about["dtype"]]), tuple(about["shape"]), about["data_offsets"])
            for key, about in header.items()
        }

    def read(self, key: str, begin: int = 0, end: int | None = None) -> NDArray[Any]:
        """Rows ``begin`` to ``end`` of a tensor, in memory of their own."""
        dtype, shape, (start, _) = self.tensors[key]
        if not shape:
            shape, begin, end = (1,), 0, 1
        end = shape[0] if end is None else end
        out = np.empty((end - begin, *shape[1:]), dtype)
        row = out[:1].nbytes if len(out) else 0
        self._file.seek(self._start + start + begin * row)
        left = out.reshape(-1).view(np.uint8).data if out.size else memoryview(b"")
        while len(left):
            count = self._file.readinto(left)  # type: ignore[attr-defined]
            if not count:
                raise Damaged(f"{self.path} has become shorter while it was read")
            left = left[count:]
        return out if self.tensors[key][1] else out.reshape(())
