"""The cache: what a file of vectors parsed to, as a file that is mapped the next time.

An entry belongs to one path, size, modification time and hash of the file's ends; anything else
means a new entry in place of the old. Nothing here may make a load fail: an entry that is missing,
stale, damaged or cannot be written is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from rowtune.atomic import replacing
from rowtune.errors import FormatError
from rowtune.tables.tensorfile import Array, flat_bytes, map_tensors, write_tensors
from rowtune.vectors.index import WordIndex
from rowtune.vectors.source import Source
from rowtune.vectors.vectors import Matrix, Vectors
from rowtune.vectors.words import Words

LIMIT_BYTES = 16 << 30  # above this the entries unused for longest go
_LAYOUT = "1"  # of an entry; raise it when what an entry holds changes
_END_BYTES = 1 << 16
_SAMPLES, _SAMPLE_BYTES = 32, 1 << 12


@dataclass(frozen=True)
class Entry:
    """What the cache has of a table; no matrix where the source itself can be mapped."""

    words: Words
    index: WordIndex
    matrix: Matrix | None


@dataclass(frozen=True)
class Key:
    """Names an entry: ``place`` the path, ``state`` what the file was like."""

    place: str
    state: str

    @property
    def path(self) -> Path:
        return folder() / f"{self.place}-{self.state}.safetensors"


def folder() -> Path:
    """Where entries are: ``$ROWTUNE_CACHE_DIR``, else the user's cache folder."""
    chosen = os.environ.get("ROWTUNE_CACHE_DIR")
    return Path(chosen or platformdirs.user_cache_dir("rowtune")) / "vectors"


def clear() -> None:
    """Remove every entry."""
    for path in folder().glob("*.safetensors"):
        _remove(path)


def key_of(source: Source) -> Key:
    """The entry that belongs to a source as it is now."""
    files = source.files
    place = [_LAYOUT, source.member or "", *(str(path.resolve()) for path in files)]
    state = []
    for path in files:
        about = path.stat()
        state.append(f"{about.st_size} {about.st_mtime_ns} {_hash_of_ends(path, about.st_size)}")
    return Key(_short_hash(place), _short_hash(state))


def fetch(key: Key) -> Entry | None:
    """The entry, mapped; None if there is none or it is damaged (then it is removed)."""
    if not key.path.is_file():
        return None
    try:
        tensors, metadata = map_tensors(key.path, key.path.name)
        if metadata.get("samples") != _samples(tensors):
            raise FormatError(f"{key.path.name}: damaged")
        words = Words(tensors["words"], tensors["words_offsets"])
        index = WordIndex(words, tensors["index_hashes"], tensors["index_ids"])
        with contextlib.suppress(OSError):
            os.utime(key.path)  # used now: the last to go when the cache is full
        return Entry(words, index, tensors.get("matrix"))
    except (OSError, FormatError, KeyError):
        _remove(key.path)
        return None


def store(key: Key, vectors: Vectors, with_matrix: bool) -> Entry | None:
    """Write an entry and map it; None if the folder cannot be written."""
    tensors: dict[str, Array] = {
        "words": vectors.words.packed_blob(),
        "words_offsets": vectors.words.offsets - vectors.words.offsets[0],
        "index_hashes": vectors.word_index.hashes,
        "index_ids": vectors.word_index.ids,
    }
    if with_matrix:
        tensors["matrix"] = np.ascontiguousarray(vectors.matrix)
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with replacing(key.path) as file:
            write_tensors(file, tensors, {"samples": _samples(tensors)})
        _tidy(key)
    except OSError:
        return None
    return fetch(key)


def _tidy(key: Key) -> None:
    """Remove what an earlier state of the same path left, then the oldest beyond the limit."""
    for path in folder().glob(f"{key.place}-*.safetensors"):
        if path != key.path:
            _remove(path)
    entries = sorted(folder().glob("*.safetensors"), key=_last_used, reverse=True)
    total = 0
    for path in entries:
        with contextlib.suppress(OSError):
            total += path.stat().st_size
        if total > LIMIT_BYTES and path != key.path:
            _remove(path)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # another process removed it


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _hash_of_ends(path: Path, size: int) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_END_BYTES))
        file.seek(max(0, size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
    return digest.hexdigest()


def _short_hash(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


def _samples(tensors: dict[str, Array]) -> str:
    """Checksums of pieces of every tensor: finds a torn or blanked file in under a millisecond."""
    sums = {}
    for name, tensor in sorted(tensors.items()):
        data = flat_bytes(tensor)
        last = max(0, len(data) - _SAMPLE_BYTES)
        checksum = zlib.crc32(f"{tensor.dtype} {tensor.shape}".encode())
        for start in np.linspace(0, last, _SAMPLES).astype(int).tolist():
            checksum = zlib.crc32(data[start : start + _SAMPLE_BYTES].data, checksum)
        sums[name] = checksum
    return json.dumps(sums)
