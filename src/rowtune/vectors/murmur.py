"""MurmurHash64A, by which spaCy names its strings (Austin Appleby, MurmurHash2, public domain)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rowtune.vectors.words import Words

_FACTOR, _SHIFT, _MASK = 0xC6A4A7935BD1E995, 47, (1 << 64) - 1
_WORDS_AT_A_TIME = 1 << 16
_LONG = 2048  # bytes; the few longer strings are hashed one by one


def murmur_one(text: bytes, seed: int) -> int:
    """The hash of one string, below 2**64."""
    h = seed ^ (len(text) * _FACTOR & _MASK)
    whole = len(text) & ~7
    for i in range(0, whole, 8):
        k = int.from_bytes(text[i : i + 8], "little") * _FACTOR & _MASK
        k = (k ^ k >> _SHIFT) * _FACTOR & _MASK
        h = (h ^ k) * _FACTOR & _MASK
    if whole < len(text):
        h = (h ^ int.from_bytes(text[whole:], "little")) * _FACTOR & _MASK
    h = (h ^ h >> _SHIFT) * _FACTOR & _MASK
    return h ^ h >> _SHIFT


def murmur_many(words: Words, seed: int) -> NDArray[np.uint64]:
    """`murmur_one` of every word, shape (N,)."""
    out = np.empty(len(words), np.uint64)
    for start in range(0, len(words), _WORDS_AT_A_TIME):
        offsets = words.offsets[start : start + _WORDS_AT_A_TIME + 1]
        blob = np.append(words.blob[offsets[0] : offsets[-1]], np.zeros(8, np.uint8))
        out[start : start + len(offsets) - 1] = _hash_run(blob, offsets - offsets[0], seed)
    for i in np.flatnonzero(words.lengths > _LONG).tolist():
        out[i] = murmur_one(words.raw(i), seed)
    return out


def _hash_run(blob: NDArray[np.uint8], offsets: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Block after block of eight bytes over all words that have it; ``blob`` has 8 more."""
    factor, shift = np.uint64(_FACTOR), np.uint64(_SHIFT)
    lengths = np.diff(offsets)
    lengths = np.where(lengths > _LONG, 0, lengths)
    h = np.uint64(seed) ^ lengths.astype(np.uint64) * factor
    order = np.argsort(-lengths, kind="stable")
    whole = lengths[order] // 8
    for block in range(int(whole.max(initial=0))):
        these = order[: np.searchsorted(-whole, -block)]  # those with more than ``block`` blocks
        k = _eight_bytes(blob, offsets[these] + 8 * block) * factor
        k = (k ^ k >> shift) * factor
        h[these] = (h[these] ^ k) * factor
    these = np.flatnonzero(lengths % 8)
    rest = (lengths[these] % 8).astype(np.uint64)
    tail = _eight_bytes(blob, offsets[these] + lengths[these] // 8 * 8)
    tail &= (np.uint64(1) << rest * np.uint64(8)) - np.uint64(1)
    h[these] = (h[these] ^ tail) * factor
    h = (h ^ h >> shift) * factor
    return h ^ h >> shift


def _eight_bytes(blob: NDArray[np.uint8], at: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The eight bytes from each place on as a little-endian number."""
    eight: NDArray[np.uint64] = blob[at[:, None] + np.arange(8)].view("<u8")[:, 0]
    return eight.astype(np.uint64)
