"""Patches in files.

A file holds the patch of one table, or those of a model's tables by name. It is safetensors: the
tensors of a patch, under ``<name>/`` where there are several, and its facts as JSON. Among these is
a SHA-256 of it all, since a row with one bit turned looks like any other row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.atomic import replacing
from rowtune.checksum import checksum
from rowtune.errors import PatchError
from rowtune.patch import Patch, check_whole

_FORMAT = "rowtune.patch.1"
_SEVERAL = "rowtune.patches.1"
_STATE = "state."


def write_patch(patch: Patch, path: str | os.PathLike[str]) -> None:
    """Write a patch as safetensors; the file appears whole or not at all.

    Raises
    ------
    OSError
        No such folder, no permission, no space left: an older file of this name is kept.
    """
    tensors = _tensors_of(patch)
    _write(tensors, {"format": _FORMAT, **_facts_of(patch, tensors)}, path)


def write_patches(patches: Mapping[str, Patch], path: str | os.PathLike[str]) -> None:
    """Write the patches of several tables, by name, into one file.

    Raises
    ------
    OSError
        As `write_patch`.
    """
    parts = {name: _tensors_of(patch) for name, patch in patches.items()}
    facts = {name: _facts_of(patch, parts[name]) for name, patch in patches.items()}
    tensors = {f"{name}/{key}": a for name, own in parts.items() for key, a in own.items()}
    _write(tensors, {"format": _SEVERAL, "tables": json.dumps(facts)}, path)


def _write(
    tensors: dict[str, NDArray[Any]], facts: dict[str, str], path: str | os.PathLike[str]
) -> None:
    from safetensors.numpy import save  # noqa: PLC0415 - `import rowtune` stays light

    with replacing(path) as file:
        file.write(save(tensors, metadata=facts))


def _tensors_of(patch: Patch) -> dict[str, NDArray[Any]]:
    tensors = {"ids": patch.ids, "rows": patch.rows}
    if patch.columns is not None:
        tensors["columns"] = patch.columns
        if patch.added is not None:
            tensors["added"] = patch.added
    if patch.steps is not None:
        tensors["steps"] = patch.steps
        tensors |= {_STATE + name: array for name, array in patch.state.items()}
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def _facts_of(patch: Patch, tensors: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    facts = {
        "fingerprint": patch.fingerprint,
        "shape": json.dumps([*patch.shape, patch.base_rows]),
        "rule": patch.rule or "",
        "bits_of": patch.bits_of,
    }
    if patch.tokens is not None:
        facts["tokens"] = json.dumps(patch.tokens)
    if patch.frozen:
        facts["frozen"] = patch.frozen
    return {**facts, "checksum": _checksum(facts, tensors)}


def _checksum(facts: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256, in hex, of the facts, and of names, shapes, dtypes and bytes of the tensors."""
    own = {name: facts[name] for name in ("fingerprint", "shape", "rule", "bits_of")}
    # Which other tables than a model's tokens do not have.
    own |= {name: facts[name] for name in ("tokens", "frozen") if name in facts}
    return checksum(own, tensors)


def read_patch(path: str | os.PathLike[str]) -> Patch:
    """Read the patch of one table and check that it is whole.

    Raises
    ------
    PatchError
        Not a patch, a damaged one, or those of several tables.
    FileNotFoundError
        No such file.
    """
    patches = read_patches(path)
    if list(patches) != [""]:
        raise PatchError(
            f"{path} holds patches of several tables ({', '.join(patches)}), and one was expected; "
            "load it into the model that it was saved from"
        )
    return patches[""]


def read_patches(path: str | os.PathLike[str]) -> dict[str, Patch]:
    """Read the patches of a file by the names of their tables; a single one is called "".

    Raises
    ------
    PatchError
        No patches, or damaged ones.
    FileNotFoundError
        No such file.
    """
    tensors, facts = _read(Path(path))
    if facts["format"] == _FORMAT:
        return {"": _patch_of(tensors, facts, path)}
    try:
        tables = dict(json.loads(facts["tables"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise PatchError(f"{path}: its list of tables is missing or wrong: {error!r}") from None
    patches = {}
    for name, table in tables.items():
        start = f"{name}/"
        own = {k.removeprefix(start): a for k, a in tensors.items() if k.startswith(start)}
        patches[name] = _patch_of(own, table, f"{path} ({name})")
    return patches


def _words(fact: str | None) -> list[str] | None:
    if fact is None:
        return None
    words = json.loads(fact)
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise TypeError("tokens that are not text")
    return words


def _patch_of(tensors: dict[str, NDArray[Any]], facts: Any, path: str | os.PathLike[str]) -> Patch:
    try:
        if not all(isinstance(fact, str) for fact in facts.values()):
            raise TypeError("a fact that is not text")
        undamaged = facts["checksum"] == _checksum(facts, tensors)
        num_rows, width, base_rows = map(int, json.loads(facts["shape"]))
        patch = Patch(
            ids=tensors.pop("ids"),
            rows=tensors.pop("rows"),
            fingerprint=facts["fingerprint"],
            shape=(num_rows, width),
            base_rows=base_rows,
            columns=tensors.pop("columns", None),
            added=tensors.pop("added", None),
            rule=facts["rule"] or None,
            steps=tensors.pop("steps", None),
            bits_of=facts["bits_of"],
            frozen=facts.get("frozen", ""),
            tokens=_words(facts.get("tokens")),
            state={
                name.removeprefix(_STATE): array
                for name, array in tensors.items()
                if name.startswith(_STATE)
            },
        )
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError,
            RecursionError) as error:  # fmt: skip
        raise PatchError(f"{path}: not a whole patch, {error!r} is missing or wrong") from None
    check_whole(patch, path)
    if not undamaged:
        raise PatchError(f"{path} is damaged: its checksum is not that of its contents")
    return patch


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    if not path.is_file():
        raise FileNotFoundError(f"no patch at {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            facts = file.metadata() or {}
            if facts.get("format") not in (_FORMAT, _SEVERAL):
                raise PatchError(f"{path} is a safetensors file, but not a patch of this format")
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except SafetensorError as error:
        raise PatchError(f"{path} is not a patch, or a damaged one: {error}") from None
