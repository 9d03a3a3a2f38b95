"""Pickles are refused, never opened: by their first bytes, or by the names that pickles get."""

from __future__ import annotations

import re
from pathlib import Path

from rowtune.errors import FormatError

_NAMES = (".pkl", ".pickle", ".model", ".kv", ".joblib", ".pt", ".pth")
_START = re.compile(rb"\x80[\x01-\x05]|\((?:d|l|t)p?\d*\n|c[A-Za-z_][\w.]*\n\w+\n|\(i[\w.]+\n")
# What gensim puts beside a pickle: the rows as an array, under the name of the attribute.
ROW_FILES = (".vectors.npy", ".wv.vectors.npy", ".syn0.npy", ".wv.syn0.npy")


def is_pickle(head: bytes) -> bool:
    """Whether a file begins as a pickle does."""
    return _START.match(head) is not None


def looks_pickled(name: str) -> bool:
    """Whether programs that pickle give files such names."""
    return name.lower().removesuffix(".gz").endswith(_NAMES)


def refuse_pickle(name: str, head: bytes, path: Path | None = None) -> None:
    """`FormatError` for a file that begins as a pickle.

    ``path`` is where it lies: rows that gensim kept beside it can be read, and the message says so.
    """
    if is_pickle(head):
        raise FormatError(pickle_message(name, rows_beside(path) if path else None))


def rows_beside(path: Path) -> Path | None:
    """The rows that gensim keeps in a file of their own beside the pickle ``path``."""
    names = (path.with_name(path.name + ending) for ending in ROW_FILES)
    return next((file for file in names if file.is_file()), None)


def pickle_message(name: str, rows: Path | None = None) -> str:
    """Why a pickle is not opened, and what to do."""
    unopened = f"{name}: a pickle, which runs code when it is opened, so Rowtune never opens one. "
    if rows is None:
        return unopened + (
            "Convert it where you trust it, e.g. with gensim: "
            "kv = KeyedVectors.load(FILE); kv.save_word2vec_format('vectors.vec')"
        )
    listing = rows.with_suffix(".words.txt").name
    return unopened + (
        f"Its rows lie in {rows.name} and are read if you give the words, one per line, in "
        f"{listing} beside it; where you trust the pickle, with gensim: "
        "kv = KeyedVectors.load(FILE); "
        f"open({listing!r}, 'w').write('\\n'.join(kv.index_to_key))"
    )
