"""`Vectors`: words and their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import RowtuneError, ShapeError
from rowtune.vectors.index import WordIndex
from rowtune.vectors.words import Words

Matrix = NDArray[np.floating[Any]]
Progress = Callable[[str, int, int], None]  # stage, done, total


class WordError(RowtuneError, KeyError):
    """A word that the table does not have."""

    def __str__(self) -> str:  # KeyError would show the repr of the whole message
        return str(self.args[0]) if self.args else ""


class Vectors:
    """A table of word vectors: row i of ``matrix`` belongs to ``words[i]``.

    Rows keep the order they came in. A word may occur more than once: every row stays, and looking
    the word up gives the first.

    Parameters
    ----------
    words : iterable of str
        One per row. Bytes that are no UTF-8 are lone surrogates (``surrogateescape``).
    matrix : float array, shape (N, D)
        Kept as it is: not copied, may be a read-only memory map.

    Raises
    ------
    ShapeError
        If ``matrix`` is no 2-D array of floats, or has not as many rows as there are words.

    Examples
    --------
    >>> import numpy as np
    >>> v = Vectors(["cat", "dog"], np.eye(2, dtype=np.float32))
    >>> v["dog"], "cow" in v, len(v)
    (array([0., 1.], dtype=float32), False, 2)
    """

    def __init__(self, words: Iterable[str | bytes], matrix: Matrix) -> None:
        self._words = Words.of(words)
        self._matrix = _checked(matrix, len(self._words))
        self._index: WordIndex | None = None

    @property
    def words(self) -> Words:
        """The N words in the order of the rows, a sequence that decodes what is asked for."""
        return self._words

    @property
    def matrix(self) -> Matrix:
        """The rows, shape (N, D). Those of a loaded table are read-only."""
        return self._matrix

    @property
    def dim(self) -> int:
        """D, the number of values in a row."""
        return int(self._matrix.shape[1])

    @property
    def word_index(self) -> WordIndex:
        """The index behind every lookup, built when first needed."""
        if self._index is None:
            self._index = WordIndex(self._words)
        return self._index

    def use_index(self, index: WordIndex) -> None:
        """Take an index of the same words that was built earlier, as the cache has it."""
        self._index = index

    def index(self, word: str) -> int:
        """The first row of ``word``; `WordError` (a `KeyError`) if there is none."""
        i = self.word_index.find(word)
        if i < 0:
            raise WordError(
                f"{word!r} is not among the {len(self):,} words of this table; "
                "test with `word in vectors`, or use `ids(words, missing='ignore')`"
            )
        return i

    def ids(
        self, words: Iterable[str], missing: Literal["error", "ignore"] = "error"
    ) -> NDArray[np.int64]:
        """The first row of each word, shape (len(words),).

        Parameters
        ----------
        words : iterable of str
            Words to look up.
        missing : "error" or "ignore"
            Raise `WordError` for words the table lacks, or give them the id -1.
        """
        asked: Sequence[str] = [words] if isinstance(words, str) else list(words)
        found = self.word_index.find_many(asked)
        if missing == "error" and (found < 0).any():
            lacking = [asked[i] for i in np.flatnonzero(found < 0).tolist()]
            raise WordError(
                f"{len(lacking):,} of {len(asked):,} words are not in this table, e.g. "
                f"{', '.join(map(repr, lacking[:5]))}; pass missing='ignore' to get -1 for them"
            )
        return found

    def __getitem__(self, word: str) -> NDArray[np.floating[Any]]:
        row: NDArray[np.floating[Any]] = np.asarray(self._matrix[self.index(word)])
        return row

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str | bytes) and self.word_index.find(word) >= 0

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __repr__(self) -> str:
        return f"Vectors({len(self):,} words x {self.dim}, {self._matrix.dtype})"


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether rows of this dtype can be a table: IEEE half, single, double, or bfloat16."""
    return dtype in (np.float16, np.float32, np.float64) or dtype.name == "bfloat16"


def _checked(matrix: Matrix, count: int) -> Matrix:
    matrix = np.asanyarray(matrix)
    if matrix.ndim != 2 or not is_float(matrix.dtype):
        raise ShapeError(
            f"got an array of shape {matrix.shape} and dtype {matrix.dtype}; expected a matrix of "
            "float16, float32, float64 or bfloat16, one row per word"
        )
    if matrix.shape[0] != count:
        raise ShapeError(
            f"got {count:,} words for {matrix.shape[0]:,} rows; expected one word per row"
        )
    if matrix.shape[1] == 0:
        raise ShapeError(f"got rows of no values (shape {matrix.shape}); expected at least one")
    return matrix
