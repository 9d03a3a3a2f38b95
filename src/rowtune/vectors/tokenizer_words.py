"""Words from a ``tokenizer.json``: the tokens by their ids, as model2vec and others keep them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.tables.tensorfile import Array
from rowtune.vectors.json_file import read_json
from rowtune.vectors.vectors import Matrix
from rowtune.vectors.words import Words


def words_of_tokenizer(
    path: Path, name: str, rows: Matrix, mapping: Array | None
) -> tuple[Words, Matrix]:
    """The tokens in the order of their ids, and the row of each.

    A token is named as the tokenizer has it: ``##ing`` (WordPiece), ``Ġthe`` (byte-level BPE),
    ``▁the`` (Unigram). Rows that belong to no token (padding at the end) are left out. model2vec's
    weights of tokens, which it multiplies in when it averages, are not applied.

    Parameters
    ----------
    path : Path
        The tokenizer.
    name : str
        The file of the rows, for messages.
    rows : float array, shape (N, D)
        The table.
    mapping : int array, shape (V,), or None
        Which row each id has; None if id i has row i.

    Raises
    ------
    FormatError
        If the tokenizer is damaged, or has an id that has no row.
    """
    tokens = _tokens(path)
    ids = np.array(sorted(tokens), np.int64)
    words = _packed(path, [tokens[i] for i in ids.tolist()])
    of = ids if mapping is None else _mapped(path, name, ids, mapping)
    if len(of) and not 0 <= int(of.min()) <= int(of.max()) < len(rows):
        token = words[int(of.argmax())]
        raise FormatError(
            f"{path}: token {token!r} has row {int(of.max()):,}, but {name} has {len(rows):,}; "
            "these two files do not belong together"
        )
    if np.array_equal(of, np.arange(len(of))):
        return words, rows[: len(of)]  # still a map of the file
    return words, rows[of]


def _tokens(path: Path) -> dict[int, str]:
    content = read_json(path)
    model = content.get("model") if isinstance(content, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        pairs = list(vocabulary.items())
    elif isinstance(vocabulary, list):  # Unigram: [token, score] in the order of the ids
        firsts = [p[0] if isinstance(p, list) and p else None for p in vocabulary]
        pairs = [(first, i) for i, first in enumerate(firsts)]
    else:
        raise FormatError(
            f"{path}: no tokenizer with a vocabulary (model.vocab); expected a tokenizer.json as "
            "the tokenizers library saves it, or a list of words: one per line, in X.words.txt"
        )
    tokens = {i: token for token, i in pairs if _is_pair(path, token, i)}
    if len(tokens) < len(pairs):
        raise FormatError(f"{path}: two tokens have the same id; the file is damaged")
    added = content.get("added_tokens")
    for about in added if isinstance(added, list) else []:
        token, i = _added(about)
        if _is_pair(path, token, i):
            tokens[i] = token
    return tokens


def _added(about: Any) -> tuple[Any, Any]:
    return (about.get("content"), about.get("id")) if isinstance(about, dict) else (None, None)


def _is_pair(path: Path, token: Any, i: Any) -> bool:
    if isinstance(token, str) and type(i) is int and 0 <= i < 1 << 40:
        return True
    raise FormatError(
        f"{path}: token {token!r:.60} has the id {i!r:.60}; expected text and a number from 0 on: "
        "the file is damaged"
    )


def _packed(path: Path, tokens: list[str]) -> Words:
    try:
        return Words.of(tokens)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def _mapped(path: Path, name: str, ids: NDArray[np.int64], mapping: Array) -> NDArray[np.int64]:
    if mapping.ndim != 1 or mapping.dtype.kind not in "iu":
        raise FormatError(
            f"{name}: the tensor 'mapping' has shape {mapping.shape} and dtype {mapping.dtype}; "
            "expected one row number for each token"
        )
    if len(ids) and int(ids[-1]) >= len(mapping):
        raise FormatError(
            f"{path}: ids up to {int(ids[-1]):,}, but 'mapping' of {name} has {len(mapping):,}; "
            "these two files do not belong together"
        )
    return np.asarray(mapping)[ids].astype(np.int64)
