"""Patches of word vectors: the rows in which one table differs from another, with their words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rowtune.apply import apply_patch
from rowtune.base import fingerprint
from rowtune.errors import FormatError, PatchError, ShapeError
from rowtune.patch import Patch
from rowtune.patch_file import read_patch
from rowtune.vectors.changes import Changes, changes
from rowtune.vectors.extend import check_format_for, extend_file
from rowtune.vectors.reading import load
from rowtune.vectors.vectors import Progress, Vectors
from rowtune.vectors.words import Words
from rowtune.vectors.writing import save

_HALVES_OF_FLOAT32 = "bfloat16"


@dataclass(frozen=True)
class Applied:
    """What `apply_rows` wrote: ``changed`` rows have a new value, ``added`` ones are new."""

    rows: int
    changed: int
    added: int


def patch_between(
    before: Vectors | str | os.PathLike[str],
    after: Vectors | str | os.PathLike[str],
    progress: Progress | None = None,
) -> tuple[Patch, Changes]:
    """The patch that makes ``after`` of ``before``, and what the two differ in.

    It holds the rows that ``after`` has otherwise, and those that ``before`` has not: the latter
    come after the last row of ``before``, in the order of ``after``. Rows that ``after`` lacks, and
    another order of rows, are in no patch.

    Parameters
    ----------
    before, after : Vectors, path or str
        As for `changes`.

    Raises
    ------
    ShapeError
        If the two have rows of another length or dtype.
    FormatError
        For bfloat16, which no NumPy table of ours takes; and as `load`.
    """
    found = changes(before, after, progress)
    old, new = found.before, found.after
    if not found.same_dtype:
        raise ShapeError(
            f"a patch of a table of {old.matrix.dtype} cannot hold rows of {new.matrix.dtype}; "
            "expected one dtype: `rowtune convert --dtype` makes it so"
        )
    _refuse_bfloat16(old)
    ids = np.concatenate([found.moved, np.arange(len(found.added)) + len(old)])
    taken = np.concatenate([found.moved_to, found.added])
    patch = Patch(
        ids=ids,
        rows=np.ascontiguousarray(new.matrix[taken]),
        fingerprint=fingerprint(old.matrix),
        shape=(len(old) + len(found.added), old.dim),
        base_rows=len(old),
        tokens=[new.words[i] for i in taken.tolist()],
    )
    return patch, found


def apply_rows(
    before: str | os.PathLike[str],
    patches: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    force: bool = False,
    progress: Progress | None = None,
) -> Applied:
    """Write ``before`` with the rows of patches in their places; every other row keeps its bits.

    Where patches only add rows, those of a text or binary file are copied byte for byte.

    Parameters
    ----------
    before : path or str
        The table that the patches belong to.
    patches : sequence of paths
        Patches of disjoint rows.
    out : path
        Where to; its name says the format. May be ``before``.
    force : bool
        Put them on a table that is not their own: other bits, or other words in their rows.

    Raises
    ------
    PatchError
        A damaged patch, one of another table, one whose new rows have no words, or two that hold
        the same row.
    FormatError
        As `load` and `save`.
    """
    table = load(before, cache=False, progress=progress)
    _refuse_bfloat16(table)
    check_format_for(table, out)
    found = [read_patch(path) for path in patches]
    added: dict[int, str] = {}
    for patch, path in zip(found, patches, strict=True):
        if not force:
            _check_words(patch, path, table)
        added |= _added_words(patch, path)
    matrix = apply_patch(table.matrix, *patches, force=force)
    start = len(table)
    words = [added[i] for i in range(start, len(matrix))]
    changed = sum(int(np.searchsorted(patch.ids, start)) for patch in found)
    if changed or not _can_follow(table, words):
        both = Words.joined([table.words, Words.of(words)])
        save(Vectors(both, matrix), out, progress=progress)
    else:
        extend_file(before, table, words, matrix[start:], out, progress=progress)
    return Applied(len(matrix), changed, len(added))


def _can_follow(table: Vectors, words: list[str]) -> bool:
    """Whether `extend_file`, which is for words that are learned, takes these."""
    odd = any(not word or any(blank in word for blank in " \n\r\t") for word in words)
    known = (table.ids(words, missing="ignore") >= 0).any()
    return not odd and not known and len(set(words)) == len(words)


def _check_words(patch: Patch, path: str | os.PathLike[str], table: Vectors) -> None:
    """A fingerprint is that of the rows alone: rows under other words are another table too."""
    for i, token in zip(patch.ids.tolist(), patch.tokens or [], strict=False):
        if i < min(patch.base_rows, len(table)) and table.words[i] != token:
            raise PatchError(
                f"{path}: its row {i:,} is for {token!r}, and this table has {table.words[i]!r} "
                "there; it belongs to another table: pass force=True to use it all the same"
            )


def _added_words(patch: Patch, path: str | os.PathLike[str]) -> dict[int, str]:
    count = patch.shape[0] - patch.base_rows
    if count and patch.tokens is None:
        raise PatchError(
            f"{path}: {count:,} new rows without words, which a file of word vectors cannot hold; "
            "expected a patch that `rowtune patch` made, or one of rows that the table has"
        )
    ids = patch.ids[len(patch.ids) - count :].tolist()
    return dict(zip(ids, (patch.tokens or [])[len(patch.ids) - count :], strict=True))


def _refuse_bfloat16(table: Vectors) -> None:
    if table.matrix.dtype.name == _HALVES_OF_FLOAT32:
        raise FormatError(
            "the table is bfloat16, and patches of word vectors are float16, float32 or float64; "
            "`rowtune convert --dtype float32` keeps every value"
        )
