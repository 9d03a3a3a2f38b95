"""The words of a table: one run of bytes and where each word starts, decoded when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError

Bytes = NDArray[np.uint8]


class Words(Sequence[str]):
    """The words of a table in the order of its rows.

    A word is kept as the bytes it had in its file. As a `str` it is UTF-8 with ``surrogateescape``:
    bytes that are no UTF-8 become lone surrogates and turn back into the same bytes.

    Parameters
    ----------
    blob : uint8 array
        The bytes of all words, back to back; may be a read-only memory map.
    offsets : int64 array, shape (N + 1,)
        Word i is ``blob[offsets[i]:offsets[i + 1]]``.
    """

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self.blob = blob
        self.offsets = offsets

    @classmethod
    def of(cls, words: Iterable[str | bytes]) -> Words:
        """Pack words; `FormatError` for one that no UTF-8 with surrogateescape can hold."""
        if isinstance(words, Words):
            return words
        return cls.packed([encode(word) for word in words])

    @classmethod
    def packed(cls, words: Sequence[bytes]) -> Words:
        """Pack words that are bytes already."""
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, words), np.int64, len(words)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(words), np.uint8), offsets)

    @classmethod
    def joined(cls, parts: Sequence[Words]) -> Words:
        """The words of several tables, one after the other."""
        if len(parts) == 1:
            return parts[0]
        blob = np.concatenate([np.zeros(0, np.uint8), *(part.packed_blob() for part in parts)])
        lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in parts)])
        return cls(blob, np.cumsum(lengths))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many bytes each word has, shape (N,)."""
        return np.diff(self.offsets)

    def packed_blob(self) -> NDArray[np.uint8]:
        """The bytes of these words alone (``blob`` may hold more on both sides)."""
        return self.blob[self.offsets[0] : self.offsets[-1]]

    def raw(self, i: int) -> bytes:
        """The bytes of word i."""
        return self.blob[self.offsets[i] : self.offsets[i + 1]].tobytes()

    def iter_raw(self) -> Iterator[bytes]:
        """The bytes of every word in turn."""
        data, first = self.packed_blob().tobytes(), int(self.offsets[0])
        ends = (self.offsets - first).tolist()
        return (data[a:b] for a, b in pairwise(ends))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[str]:
        return (raw.decode("utf-8", "surrogateescape") for raw in self.iter_raw())

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        if isinstance(i, slice):
            start, stop, step = i.indices(len(self))
            if step == 1:
                return Words(self.blob, self.offsets[start : max(start, stop) + 1])
            return [self[j] for j in range(start, stop, step)]
        j = i + len(self) if i < 0 else i
        if not 0 <= j < len(self):
            raise IndexError(f"word {i} of {len(self):,} words: expected 0 to {len(self) - 1:,}")
        return self.raw(j).decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Words):
            return np.array_equal(self.lengths, other.lengths) and np.array_equal(
                self.packed_blob(), other.packed_blob()
            )
        if isinstance(other, list | tuple):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none either

    def __repr__(self) -> str:
        shown: list[Any] = [repr(word) for word in self[:4]]
        return f"Words([{', '.join(shown)}{', ...' if len(self) > 4 else ''}], {len(self):,} words)"


def encode(word: str | bytes) -> bytes:
    """The bytes of a word; `FormatError` for a lone surrogate that stands for no byte."""
    if isinstance(word, bytes):
        return word
    try:
        return word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise FormatError(
            f"the word {word!r} has the lone surrogate {word[error.start]!r}, which no UTF-8 file "
            "can hold: expected text, or bytes decoded with errors='surrogateescape'"
        ) from None
