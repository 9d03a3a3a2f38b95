"""`Vocabulary`: which row belongs to a key, where keys are any 64-bit integers or any text."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError, IdError, ShapeError
from rowtune.key_maps import IntegerKeys, TextKeys
from rowtune.keys import Keys, as_keys
from rowtune.vocabulary_file import Saved, read_vocabulary, write_vocabulary


class Vocabulary:
    """A map from keys (users, items, words, hashes) to rows 0, 1, 2, ...

    The row of a key never changes, and rows are given in the order in which keys earn them: the
    same keys in the same order always get the same rows, in any process.

    Parameters
    ----------
    keys : array or list, optional
        The keys of rows 0, 1, 2, ..., each once: those of a table that exists.
    admit_at : int
        How often `add` must have seen a key before it has a row. Each time counts, also within one
        batch. Keys that are rarer share no row and take no part of the table; they do take memory
        here, until `forget`.

    Notes
    -----
    Integer keys are any that fit int64, or any that fit uint64; which of the two is settled by the
    first key that fits one of them only. Text is any `str`, told apart exactly as ``==`` does (no
    case is folded, no Unicode form changed), in lists or NumPy arrays; NumPy's ``U`` arrays drop
    NUL characters at the end of a text, lists do not. A vocabulary holds integers or text, never
    both, and no ``bytes``: decode them, or make them integers.

    It may be read by several threads while one adds.

    Examples
    --------
    A table that grows with its keys::

        vocabulary = rowtune.Vocabulary(admit_at=3)
        table = rowtune.Table.zeros(0, 16, rule="adagrad")
        for users, gradients in batches:
            rows, new = vocabulary.add(users)
            table.grow(0.01 * rng.standard_normal((len(vocabulary) - len(table), 16)))
            seen = rows >= 0  # a key that is still too rare has row -1
            table.update(rows[seen], gradients[seen])
    """

    def __init__(self, keys: Any = None, *, admit_at: int = 1) -> None:
        whole = isinstance(admit_at, int | np.integer) and not isinstance(admit_at, bool)
        if not whole or admit_at < 1:
            raise ShapeError(f"admit_at is {admit_at!r}; expected how often, 1 or more")
        self.admit_at = int(admit_at)
        self._map: IntegerKeys | TextKeys | None = None  # until the first key says which
        self._only = ""  # "int64" or "uint64" once a key has fit one of them only
        self._lock = threading.Lock()
        if keys is not None:
            given = as_keys(keys)
            self._count(given, 1)
            if len(self) < given.size:
                raise IdError(
                    f"keys has {given.size} keys, and {len(self)} different ones; each row belongs "
                    "to a key of its own (numpy.unique(keys))"
                )

    # --- asking ------------------------------------------------------------------------------

    def rows(self, keys: Any, *, unknown: int = -1) -> NDArray[np.int64]:
        """Rows of ``keys``, in their shape; ``unknown`` where a key has none. Nothing is added.

        Parameters
        ----------
        keys : array, list, or one key
        unknown : int
            Say, a row that all rare keys share.

        Raises
        ------
        IdError
            Keys of a kind that is not this vocabulary's: text for integers, floats, bytes.
        """
        given = as_keys(keys)
        self._check_kind(given)
        rows = self._rows(given)
        if unknown != -1:
            rows[rows < 0] = unknown
        return rows

    def __contains__(self, key: Any) -> bool:
        given = as_keys(key)
        return given.shape == () and bool(self._rows(given) >= 0)

    def __len__(self) -> int:
        """How many keys have a row."""
        return 0 if self._map is None else len(self._map)

    def keys(self) -> NDArray[np.int64] | NDArray[np.uint64] | list[str]:
        """The key of each row: a list of str, or an array of int64 (or of uint64, where a key is
        too large for int64); a copy.
        """
        if isinstance(self._map, TextKeys):
            return list(self._map.keys())
        bits = np.empty(0, np.int64) if self._map is None else self._map.keys().copy()
        return bits.view(np.uint64) if self._only == "uint64" else bits

    def key_of(self, row: int) -> int | str:
        """The key of one row.

        Raises
        ------
        IdError
            There is no such row.
        """
        if not 0 <= row < len(self) or self._map is None:
            raise IdError(f"row {row} has no key: there are {len(self)} rows, from 0")
        key = self._map.keys()[row]
        if isinstance(key, str):
            return key
        return int(key) % (1 << 64) if self._only == "uint64" else int(key)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often the key of each row has been added, those times before it had one included."""
        return np.zeros(0, np.int64) if self._map is None else self._map.counts().copy()

    def __repr__(self) -> str:
        kind = {TextKeys: " of text", IntegerKeys: " of integers"}.get(type(self._map), "")
        rare = "" if self.admit_at == 1 else f", admit_at={self.admit_at}"
        return f"Vocabulary({len(self)} keys{kind}{rare})"

    # --- adding ------------------------------------------------------------------------------

    def add(self, keys: Any) -> tuple[NDArray[np.int64], int]:
        """Count keys, and give a row to each that has been seen ``admit_at`` times by now.

        Parameters
        ----------
        keys : array, list, or one key

        Returns
        -------
        rows : int64 array in the shape of ``keys``
            As they are after all of them were counted; -1 where a key is still too rare.
        new : int
            How many keys have got a row: the last rows, for which a table grows.

        Raises
        ------
        IdError
            Keys of another kind than this vocabulary's, or a negative one beside one that only
            uint64 holds. Nothing is changed then.
        """
        given = as_keys(keys)
        before = len(self)
        self._count(given, self.admit_at)
        return self._rows(given), len(self) - before

    def forget(self) -> None:
        """Forget the counts of keys that have no row, and free the memory that they take."""
        if self._map is not None:
            with self._lock:
                self._map.forget_waiting()

    # --- files -------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write keys, counts, and the counts of keys that have no row yet, as safetensors.

        Raises
        ------
        OSError
            The file cannot be written; an older one of this name is kept.
        """
        with self._lock:
            own = IntegerKeys() if self._map is None else self._map  # without a row it is false
            waiting, seen = own.waiting()
            saved = Saved(own.keys(), own.counts(), waiting, seen, self._only, self.admit_at)
        write_vocabulary(saved, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """The vocabulary of a file.

        Raises
        ------
        FormatError
            Not such a file, or a damaged one.
        FileNotFoundError
            No such file.
        """
        saved = read_vocabulary(path)
        made = cls(admit_at=saved.admit_at)
        made._only = saved.only
        if len(saved.keys) or len(saved.waiting):
            made._map = TextKeys() if isinstance(saved.keys, list) else IntegerKeys()
            if not made._map.load(saved.keys, saved.counts, saved.waiting, saved.seen):
                raise FormatError(f"{os.fspath(path)} is damaged: a key comes twice in it")
        return made

    # --- inside ------------------------------------------------------------------------------

    def _rows(self, given: Keys) -> NDArray[np.int64]:
        if self._map is None or given.values is None or not self._same_kind(given):
            return np.full(given.shape, -1, np.int64)
        rows = self._map.rows(given.values)  # type: ignore[arg-type]
        if given.only and self._only and given.only != self._only:
            rows[given.values < 0] = -1  # type: ignore[operator]  # the same bits, another number
        return rows.reshape(given.shape)

    def _count(self, given: Keys, admit_at: int) -> None:
        if given.values is None:
            return
        with self._lock:
            self._check_kind(given)
            if given.only and self._only and given.only != self._only:
                raise IdError(
                    "one vocabulary cannot hold negative keys and keys beyond int64: this one has "
                    f"keys that fit {self._only} only, and some of these fit {given.only} only"
                )
            self._only = self._only or given.only
            if self._map is None:
                self._map = TextKeys() if given.kind == "text" else IntegerKeys()
            self._map.count(given.values, admit_at)  # type: ignore[arg-type]

    def _same_kind(self, given: Keys) -> bool:
        return isinstance(self._map, TextKeys) == isinstance(given.values, list)

    def _check_kind(self, given: Keys) -> None:
        if self._map is not None and given.values is not None and not self._same_kind(given):
            held = "text" if given.kind == "integers" else "integers"
            raise IdError(
                f"these keys are {given.kind}, and this vocabulary holds {held}; a key has one "
                "type: convert them, or make a second vocabulary"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
