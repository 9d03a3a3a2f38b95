"""Vocabularies in files: safetensors, with a SHA-256 of it all among the facts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rowtune.atomic import replacing
from rowtune.checksum import checksum
from rowtune.errors import FormatError

_FORMAT = "rowtune.vocabulary.1"
_UTF8 = {"encoding": "utf-8", "errors": "surrogatepass"}  # text need not be whole characters


class Saved(NamedTuple):
    """What a vocabulary is.

    Attributes
    ----------
    keys, waiting : lists of str, or int64 arrays of the integers' bits
        Those that have a row, in order, and those that have none yet.
    counts, seen : int64 arrays, how often each has been added
    only : "int64", "uint64" or ""
        The one type that all the integers fit.
    """

    keys: Any
    counts: NDArray[np.int64]
    waiting: Any
    seen: NDArray[np.int64]
    only: str
    admit_at: int


def write_vocabulary(saved: Saved, path: str | os.PathLike[str]) -> None:
    """Write one; the file appears whole or not at all.

    Raises
    ------
    OSError
        No such folder, no permission, no space left: an older file of this name is kept.
    """
    from safetensors.numpy import save  # noqa: PLC0415 - `import rowtune` stays light

    tensors: dict[str, NDArray[Any]] = {"counts": saved.counts, "seen": saved.seen}
    for name, keys in (("keys", saved.keys), ("waiting", saved.waiting)):
        if isinstance(keys, list):
            tensors[name], tensors[name + ".ends"] = _as_bytes(keys)
        else:
            tensors[name] = np.ascontiguousarray(keys)
    kind = "text" if isinstance(saved.keys, list) else saved.only or "integers"
    facts = {"format": _FORMAT, "kind": kind, "admit_at": str(saved.admit_at)}
    facts["checksum"] = checksum(facts, tensors)
    with replacing(path) as file:
        file.write(save(tensors, metadata=facts))


def read_vocabulary(path: str | os.PathLike[str]) -> Saved:
    """Read one, and check that it is whole.

    Raises
    ------
    FormatError
        Not a vocabulary, or a damaged one.
    FileNotFoundError
        No such file.
    """
    tensors, facts = _read(Path(path))
    try:
        undamaged = facts.pop("checksum") == checksum(facts, tensors)
        kind, admit_at = facts["kind"], int(facts["admit_at"])
        keys, waiting = (_keys_of(tensors, name, kind) for name in ("keys", "waiting"))
        saved = Saved(
            keys, tensors["counts"], waiting, tensors["seen"],
            kind if kind in ("int64", "uint64") else "", admit_at,
        )  # fmt: skip
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise FormatError(f"{path} is damaged: {error!r} is missing or wrong") from None
    if not undamaged or not _is_whole(saved):
        raise FormatError(f"{path} is damaged: its checksum is not that of its contents")
    return saved


def _as_bytes(keys: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The texts one after the other, and where each one ends."""
    encoded = [key.encode(**_UTF8) for key in keys]
    ends = np.cumsum([len(key) for key in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), ends


def _keys_of(tensors: dict[str, NDArray[Any]], name: str, kind: str) -> Any:
    keys = tensors[name]
    if kind != "text":
        if keys.dtype != np.int64 or keys.ndim != 1:
            raise ValueError(name)
        return keys
    text, ends = keys.tobytes(), tensors[name + ".ends"].tolist()
    return [text[i:j].decode(**_UTF8) for i, j in zip([0, *ends], ends, strict=False)]


def _is_whole(saved: Saved) -> bool:
    pairs = ((saved.keys, saved.counts), (saved.waiting, saved.seen))
    return saved.admit_at > 0 and all(
        counts.dtype == np.int64 and counts.shape == (len(keys),) and bool((counts > 0).all())
        for keys, counts in pairs
    )


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    if not path.is_file():
        raise FileNotFoundError(f"no vocabulary at {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            facts = dict(file.metadata() or {})
            if facts.get("format") != _FORMAT:
                raise FormatError(f"{path} is a safetensors file, but not a vocabulary")
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except SafetensorError as error:
        raise FormatError(f"{path} is not a vocabulary, or a damaged one: {error}") from None
