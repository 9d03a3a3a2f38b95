"""The bytes of a fastText model: its settings, dictionary and input matrix."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from rowtune.errors import FormatError
from rowtune.vectors.fasttext_model import FastTextModel
from rowtune.vectors.words import Bytes, Words

MAGIC = b"\xba\x16\x4f\x2f"  # 793712314
_VERSIONS = 11, 12
_SUPERVISED = 3
_SETTINGS = struct.Struct("<12id")  # dim, window, epochs, ..., bucket, minn, maxn, rate, sampling
_LONGEST_NGRAM = 32  # fastText's default is 6; what is beyond belief is damage
_PIECE = 1 << 20
_WORD, _LABEL = 0, 1


@dataclass(frozen=True)
class _Settings:
    dim: int
    model: int
    bucket: int
    minn: int
    maxn: int
    after: int  # the byte after them
    version: int  # 0 for files from before there was a number


def is_fasttext(head: bytes) -> bool:
    """Whether a file begins as a fastText model does, of any version."""
    return head.startswith(MAGIC) or _is_old(head)


def _is_old(head: bytes) -> bool:
    """The settings of the first versions come without a magic number: are they plausible?"""
    if len(head) < _SETTINGS.size + 20:
        return False
    dim, window, epochs, _, _, ngrams, loss, model, bucket, minn, maxn, _, t = (
        _SETTINGS.unpack_from(head)
    )
    size, words, labels = struct.unpack_from("<3i", head, _SETTINGS.size)
    return (
        (0 < dim < 100_000 and 0 < window < 1000 and 0 <= epochs < 100_000 and 0 < ngrams < 100)
        and (loss in (1, 2, 3) and model in (1, 2, 3) and bucket >= 0)
        and (0 <= minn <= 100 and 0 <= maxn <= 100 and 0 <= t <= 1)
        and (size == words + labels and words >= 0 and labels >= 0)
    )


def parse_fasttext(name: str, data: Bytes) -> FastTextModel:
    """The words and rows of a fastText model, its input matrix as a view of ``data``.

    Raises
    ------
    FormatError
        If the model is quantized, cut short, or its parts do not fit each other.
    """
    try:
        return _parse(name, data)
    except struct.error:
        raise _cut(name, f"{len(data):,} bytes") from None


def _parse(name: str, data: Bytes) -> FastTextModel:
    settings = _settings(name, data)
    at, new = settings.after, settings.version > 0
    size, count, labels, _ = _unpack("<3iq", data, at)
    at += 20
    pruned = -1
    if new:
        (pruned,) = _unpack("<q", data, at)
        at += 8
    if min(size, count, labels) < 0 or size != count + labels or count == 0:
        raise _damaged(name, f"{size:,} entries for {count:,} words and {labels:,} labels")
    if size * 10 > len(data) - at:
        raise _cut(name, f"{size:,} words in {len(data) - at:,} bytes")
    words, at = _dictionary(name, data, at, size, count)
    if pruned > 0:
        raise _quantized(name)  # only quantizing prunes
    if new:
        quantized = bool(_unpack("<B", data, at)[0])
        if quantized:
            raise _quantized(name)
        at += 1
    inputs = _matrix(name, data, at, settings, count)
    # Models of version 11 that classify were trained without n-grams, whatever they say.
    off = settings.version == 11 and settings.model == _SUPERVISED
    maxn = 0 if off else settings.maxn
    return FastTextModel(words, inputs, settings.minn, maxn, settings.bucket, spells_end=not new)


def _settings(name: str, data: Bytes) -> _Settings:
    version, at = 0, 0
    if data[:4].tobytes() == MAGIC:
        (version,) = _unpack("<i", data, 4)
        at = 8
        if version not in _VERSIONS:
            raise FormatError(
                f"{name}: a fastText model of version {version}; expected {_VERSIONS[0]} or "
                f"{_VERSIONS[1]}: use the .vec file that fastText wrote beside it"
            )
    dim, _, _, _, _, _, _, model, bucket, minn, maxn, _, _ = _unpack(_SETTINGS.format, data, at)
    if dim < 1 or bucket < 0 or not 0 <= minn <= _LONGEST_NGRAM or not 0 <= maxn <= _LONGEST_NGRAM:
        raise _damaged(
            name, f"{dim} values per row, {bucket} buckets, n-grams of {minn} to {maxn} characters"
        )
    return _Settings(dim, model, bucket, minn, maxn, at + _SETTINGS.size, version)


def _dictionary(name: str, data: Bytes, at: int, size: int, count: int) -> tuple[Words, int]:
    """Entries of a word, a zero byte, its count (int64) and its kind (int8); words come first."""
    words: list[bytes] = []
    piece, begin, width = b"", at, _PIECE  # a run of the file, and where it begins
    place = 0
    for i in range(size):
        end = piece.find(b"\0", place)
        while end < 0 or end + 10 > len(piece):
            if begin + len(piece) >= len(data):
                raise _cut(name, f"ends within word {i + 1:,} of {size:,}")
            width = width * 2 if place == 0 and piece else _PIECE
            begin, place = begin + place, 0
            piece = data[begin : begin + width].tobytes()
            end = piece.find(b"\0")
        kind = piece[end + 9]
        if kind != (_WORD if i < count else _LABEL):
            raise _damaged(name, f"entry {i + 1:,} of {size:,} is of kind {kind}")
        if i < count:
            words.append(piece[place:end])
        place = end + 10
    return Words.packed(words), begin + place


def _matrix(
    name: str, data: Bytes, at: int, settings: _Settings, count: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows, dim = _unpack("<2q", data, at)
    at += 16
    spelled = settings.bucket if settings.maxn and settings.maxn >= settings.minn else 0
    if dim != settings.dim or rows < count + spelled:
        raise _damaged(
            name,
            f"an input matrix of {rows:,} x {dim:,} for {count:,} words, {spelled:,} buckets and "
            f"rows of {settings.dim:,} values",
        )
    size = rows * dim * 4
    if size > len(data) - at:
        raise _cut(name, f"{rows:,} rows of {dim:,} values in {len(data) - at:,} bytes")
    part = data[at : at + size]
    if part.ctypes.data % 4:
        # A map that does not start at a multiple of four: the rows are copied when composed.
        return np.ndarray((rows, dim), np.dtype("<f4"), part.data)
    return part.view("<f4").reshape(rows, dim)


def _unpack(layout: str, data: Bytes, at: int) -> tuple[int, ...]:
    return struct.unpack(layout, data[at : at + struct.calcsize(layout)].tobytes())


def _quantized(name: str) -> FormatError:
    return FormatError(
        f"{name}: a compressed fastText model (.ftz), whose rows are only approximated; expected "
        "the .bin it was made from, or text: fasttext print-word-vectors MODEL < WORDS > OUT.vec"
    )


def _damaged(name: str, what: str) -> FormatError:
    return FormatError(f"{name}: the fastText model is damaged ({what}); fetch it again")


def _cut(name: str, what: str) -> FormatError:
    return FormatError(f"{name}: the fastText model is cut short ({what}); fetch it again")
