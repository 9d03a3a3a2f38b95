"""fastText's character n-grams: which rows a word's spelling has (Bojanowski et al., TACL 2017).

A word stands between ``<`` and ``>``; every run of ``minn`` to ``maxn`` of its characters (UTF-8,
by their lead bytes) is hashed by FNV-1a into one of ``bucket`` rows. The hash takes bytes
as signed numbers, so a byte above 127 also flips the upper 24 bits; models depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_BASIS, _PRIME, _MASK = 2166136261, 16777619, (1 << 32) - 1
_LONGEST_CHARACTER = 4  # bytes in UTF-8; words with longer runs are damaged, and hashed one by one


def ngrams_of(word: bytes, minn: int, maxn: int, bucket: int) -> list[int]:
    """The buckets of one word's n-grams, by where they start and then by length."""
    text, out = b"<" + word + b">", list[int]()
    for start in range(len(text)):
        if _continues(text[start]):
            continue
        h, stop, n = _BASIS, start, 1
        while stop < len(text) and n <= maxn:
            first = True
            while stop < len(text) and (first or _continues(text[stop])):
                h = ((h ^ _signed(text[stop])) * _PRIME) & _MASK
                stop, first = stop + 1, False
            if n >= minn and not (n == 1 and (start == 0 or stop == len(text))):
                out.append(h % bucket)
            n += 1
    return out


def ngrams_of_many(words: Sequence[bytes], minn: int, maxn: int, bucket: int) -> tuple[Ints, Ints]:
    """`ngrams_of` of all words, one after the other, and how many each has, shape (len(words),)."""
    text = np.frombuffer(b"<" + b"><".join(words) + b">", np.uint8)
    lengths = np.fromiter(map(len, words), np.int64, len(words)) + 2
    starts = np.flatnonzero((text & 0xC0) != 0x80)
    sizes = np.diff(np.append(starts, len(text)))
    if int(sizes.max(initial=0)) > _LONGEST_CHARACTER:
        listed = [ngrams_of(word, minn, maxn, bucket) for word in words]
        counts = np.fromiter(map(len, listed), np.int64, len(words))
        return np.array([i for ids in listed for i in ids], np.int64), counts
    owner = np.searchsorted(np.cumsum(lengths), starts, side="right")
    after_word = np.cumsum(np.bincount(owner, minlength=len(words)))[owner]  # a character's number
    hashes = np.full(len(starts), _BASIS, np.uint32)
    found: list[tuple[Ints, Ints]] = []  # which character, which bucket
    for n in range(1, min(maxn, int((after_word - np.arange(len(starts))).max(initial=0))) + 1):
        chars = np.flatnonzero(np.arange(len(starts)) + n <= after_word)
        last = chars + n - 1
        hashes[chars] = _add_character(hashes[chars], text, starts[last], sizes[last])
        if n == 1:  # the marks < and > alone are no n-grams
            first = np.diff(owner, prepend=-1) > 0
            chars = chars[~first[chars] & (last + 1 < after_word[chars])]
        if n >= minn:
            found.append((chars, (hashes[chars] % np.uint32(bucket)).astype(np.int64)))
    if not found:
        return np.zeros(0, np.int64), np.zeros(len(words), np.int64)
    at, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
    counts = np.bincount(owner[at], minlength=len(words))
    return ids[np.argsort(at, kind="stable")], counts


def _add_character(
    hashes: NDArray[np.uint32], text: NDArray[np.uint8], starts: Ints, sizes: Ints
) -> NDArray[np.uint32]:
    """Hash one more character, byte by byte, over all n-grams that have so many bytes."""
    for k in range(int(sizes.max(initial=0))):
        more = np.flatnonzero(sizes > k)
        signed = text[starts[more] + k].astype(np.int8).astype(np.uint32)
        hashes[more] = (hashes[more] ^ signed) * np.uint32(_PRIME)
    return hashes


def _continues(byte: int) -> bool:
    return byte & 0xC0 == 0x80


def _signed(byte: int) -> int:
    return byte if byte < 0x80 else byte | 0xFFFFFF00
