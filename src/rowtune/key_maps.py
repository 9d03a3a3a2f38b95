"""From keys to rows: one map for integers of 64 bits, one for text, with the same few verbs."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rowtune.kernels import key_table
from rowtune.row_memory import RowMemory

_KEYS_AT_A_TIME = 1 << 14  # between two looks at the room that is left


class IntegerKeys:
    """Keys of 64 bits, given as int64; what the bits mean is for others to say."""

    def __init__(self) -> None:
        # Who sends keys cannot know which ones would meet in the table.
        self._seed = np.uint64(secrets.randbits(64))
        self._memory = RowMemory()
        self._keys = self._memory.zeros("keys", (0,), np.int64)
        self._counts = self._memory.zeros("counts", (0,), np.int64)
        self._sizes = np.zeros(2, np.int64)  # rows, and keys without one
        self._table = key_table.empty(key_table.places_for(0))

    def __len__(self) -> int:
        return int(self._sizes[0])

    def rows(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each of the keys (n,), -1 where it has none."""
        return np.maximum(key_table.find(self._table, self._seed, keys), -1)

    def count(self, keys: NDArray[np.int64], admit_at: int) -> None:
        """Count the keys (n,), and give those a row that have been seen ``admit_at`` times."""
        for start in range(0, len(keys), _KEYS_AT_A_TIME):
            piece = keys[start : start + _KEYS_AT_A_TIME]
            self._make_room(len(piece))
            key_table.count(
                self._table, self._seed, piece, admit_at, self._sizes, self._keys, self._counts
            )

    def keys(self) -> NDArray[np.int64]:
        """The key of each row."""
        return self._keys[: len(self)]

    def counts(self) -> NDArray[np.int64]:
        """How often the key of each row has been counted."""
        return self._counts[: len(self)]

    def waiting(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys that have no row yet, ascending, and how often each has been counted."""
        table = self._table[self._table[:, 1] < key_table.EMPTY]
        table = table[np.argsort(table[:, 0])]
        return table[:, 0].copy(), -1 - table[:, 1]

    def forget_waiting(self) -> None:
        """Forget them."""
        self._rebuild(len(self))

    def load(
        self, keys: NDArray[np.int64], counts: NDArray[np.int64],
        waiting: NDArray[np.int64], seen: NDArray[np.int64],
    ) -> bool:  # fmt: skip
        """Take all this into a new map; whether each key comes once."""
        self._keys, self._counts = keys.copy(), counts.copy()
        table = key_table.empty(key_table.places_for(len(keys) + len(waiting)))
        self._sizes[:] = len(keys), len(waiting)
        self._table = table
        rows = np.arange(len(keys))
        return bool(
            key_table.put(table, self._seed, keys, rows)
            and key_table.put(table, self._seed, waiting, -1 - seen)
        )

    def _make_room(self, more: int) -> None:
        rows, waiting = self._sizes.tolist()
        if rows + more > len(self._keys):
            self._counts = self._memory.grown("counts", self._counts[:rows], more)
            self._keys = self._memory.grown("keys", self._keys[:rows], more)
        if key_table.places_for(rows + waiting + more) > len(self._table):
            self._rebuild(rows + waiting + more)

    def _rebuild(self, keys: int) -> None:
        """A table for so many keys; of those without a row, as many as are wanted."""
        table = key_table.empty(key_table.places_for(keys))
        key_table.put(table, self._seed, self.keys(), np.arange(len(self)))
        if keys > len(self):
            waiting, seen = self.waiting()
            key_table.put(table, self._seed, waiting, -1 - seen)
        self._table = table
        if keys == len(self):
            self._sizes[1] = 0


class TextKeys:
    """Keys of text, any text: compared character by character."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}  # in the order of the rows
        self._counts: list[int] = []
        self._waiting: dict[str, int] = {}  # how often each has been counted
        self._keys: list[str] = []  # of the first rows

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """The row of each of the keys (n,), -1 where it has none."""
        row_of = self._rows.get
        return np.fromiter((row_of(key, -1) for key in keys), np.int64, len(keys))

    def count(self, keys: Iterable[str], admit_at: int) -> None:
        """Count the keys (n,), and give those a row that have been seen ``admit_at`` times."""
        rows, counts, waiting = self._rows, self._all_counts(), self._waiting
        for key in keys:
            row = rows.get(key, -1)
            if row >= 0:
                counts[row] += 1
                continue
            seen = waiting.get(key, 0) + 1
            if seen < admit_at:
                waiting[key] = seen
                continue
            rows[key] = len(rows)  # should Ctrl-C come next, `_all_counts` goes on
            counts.append(seen)
            waiting.pop(key, None)

    def keys(self) -> list[str]:
        """The key of each row."""
        if len(self._keys) < len(self._rows):
            self._keys.extend(islice(self._rows, len(self._keys), None))
        return self._keys

    def counts(self) -> NDArray[np.int64]:
        """How often the key of each row has been counted."""
        return np.array(self._all_counts(), np.int64)

    def waiting(self) -> tuple[list[str], NDArray[np.int64]]:
        """Keys that have no row yet, ascending, and how often each has been counted."""
        keys = sorted(key for key in self._waiting if key not in self._rows)
        return keys, np.array([self._waiting[key] for key in keys], np.int64)

    def forget_waiting(self) -> None:
        """Forget them."""
        self._all_counts()
        self._waiting = {}

    def load(
        self, keys: list[str], counts: NDArray[np.int64], waiting: list[str],
        seen: NDArray[np.int64],
    ) -> bool:  # fmt: skip
        """Take all this into a new map; whether each key comes once."""
        self._rows = {key: row for row, key in enumerate(keys)}
        self._counts = counts.tolist()
        self._waiting = dict(zip(waiting, seen.tolist(), strict=True))
        different = len(self._rows.keys() | self._waiting.keys())
        return different == len(keys) + len(waiting)

    def _all_counts(self) -> list[int]:
        """The counts, one for each row, even where Ctrl-C came between the two."""
        for key in self.keys()[len(self._counts) :]:
            self._counts.append(self._waiting.pop(key, 0) + 1)
        return self._counts
