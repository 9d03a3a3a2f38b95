"""Whose rows a spaCy table has: hashes in ``key2row``, and the strings they are hashes of."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.vectors.json_file import read_json
from rowtune.vectors.key2row import read_key2row
from rowtune.vectors.murmur import murmur_many
from rowtune.vectors.source import Source
from rowtune.vectors.vectors import Matrix
from rowtune.vectors.words import Words

_SEED = 1  # of spaCy's StringStore
_SYMBOLS = 1 << 14  # keys below are numbers of spaCy's own symbols (PERSON, ADV, ...), no hashes
_MULTIPLE, _ALWAYS = (
    100,
    1 << 30,
)  # many words may share a row: how far a table may outgrow its files


def words_of_spacy(source: Source, rows: Matrix) -> tuple[Words, Matrix]:
    """One row for every word, in the order of ``key2row``; words that share a row get a copy each.

    A word that spaCy also uses as a symbol has a small number in place of a hash, and its text
    stands in spaCy's code only: such words are left out with a warning.

    Raises
    ------
    FormatError
        If a file is damaged or they do not belong together.
    """
    if source.words is None or source.key2row is None:  # pragma: no cover - made by `table_in`
        raise FormatError(f"{source.name}: spaCy's vectors need key2row and strings.json")
    keys, ids = read_key2row(str(source.key2row), source.key2row.read_bytes())
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(rows):
        raise FormatError(
            f"{source.key2row}: rows {ids.min():,} to {ids.max():,}, but {source.path.name} has "
            f"{len(rows):,}; these files do not belong together: save the pipeline again"
        )
    strings = _strings(source.words)
    found = _look_up(strings, keys)
    known = found >= 0
    if known.sum() * 2 < len(keys):
        raise FormatError(
            f"{source.words}: has the strings of {int(known.sum()):,} of the {len(keys):,} hashes "
            "in key2row; these files do not belong together: save the pipeline again"
        )
    size = int(known.sum()) * rows.shape[1] * rows.dtype.itemsize
    total = sum(path.stat().st_size for path in source.files)
    if size > max(_ALWAYS, _MULTIPLE * total):
        raise FormatError(
            f"{source.name}: {len(keys):,} words share {len(rows):,} rows; with a row for each "
            f"word the table takes {size:,} bytes, over {_MULTIPLE} times its files: prune the "
            "words first"
        )
    _warn_of(source.name, keys[~known])
    return _chosen(strings, found[known]), np.ascontiguousarray(rows[ids[known]])


def _strings(path: Path) -> Words:
    listing = read_json(path)
    if not isinstance(listing, list) or not all(isinstance(text, str) for text in listing):
        raise FormatError(
            f"{path}: no list of strings; expected what spaCy writes as strings.json: fetch it "
            "again"
        )
    try:
        return Words.of(listing)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def _look_up(strings: Words, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Which string each key is the hash of, or -1."""
    hashes = murmur_many(strings, _SEED)
    order = np.argsort(hashes, kind="stable")
    at = np.searchsorted(hashes[order], keys)
    found = at < len(hashes)
    found[found] = hashes[order[at[found]]] == keys[found]
    out = np.full(len(keys), -1, np.int64)
    out[found] = order[at[found]]
    return out


def _chosen(words: Words, ids: NDArray[np.int64]) -> Words:
    return Words.packed([words.raw(i) for i in ids.tolist()])


def _warn_of(name: str, keys: NDArray[np.uint64]) -> None:
    if not len(keys):
        return
    symbols = int((keys < _SYMBOLS).sum())
    others = f" and {len(keys) - symbols:,} hashes without a string" if symbols < len(keys) else ""
    warnings.warn(
        f"{name}: {symbols:,} words that are symbols of spaCy (such as PERSON or ADV), whose text "
        f"is in no file{others}: their rows are left out",
        stacklevel=2,
    )
