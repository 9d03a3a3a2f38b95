"""What a table writes to files and reads from them: patches, and the base's fingerprint."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.base import Base, fingerprint
from rowtune.block import Block
from rowtune.patch import Patch, check_fingerprint, check_fits
from rowtune.patch_file import read_patch, write_patch
from rowtune.rows import Rows


class TableFiles:
    """The part of `rowtune.Table` that is about files."""

    base: Base
    rows: Rows
    _block: Block
    _added: NDArray[Any]
    _columns: NDArray[np.int64] | None
    _fingerprint: str | None
    shape: Any
    dtype: Any
    rule: Any
    steps: Any
    state: Any

    def fingerprint(self) -> str:
        """SHA-256 of shape, dtype and bytes of the original table: see `rowtune.base`."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.base)
        return self._fingerprint

    def save_patch(self, path: str | os.PathLike[str], *, state: bool = False) -> None:
        """Write the trained rows, and with ``state`` what the rule remembers, to a small file.

        Raises
        ------
        OSError
            The file cannot be written; an older one of this name is kept.
        """
        self._block.flush()
        write_patch(
            Patch(
                ids=self.rows.ids,
                rows=self._block.values,
                fingerprint=self.fingerprint(),
                shape=self.shape,
                base_rows=len(self.base),
                columns=self._columns,
                added=self._added if self._columns is not None and len(self._added) else None,
                rule=self.rule,
                steps=self.steps if state else None,
                state=self.state if state else {},
            ),
            path,
        )

    def load_patch(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Take rows from a patch of the same rows, and state from it, or afresh if it has none.

        Raises
        ------
        PatchError
            A damaged patch, one for another base (unless ``force``), of other rows or columns, or
            with the state of another rule. Nothing is changed then.
        """
        patch = read_patch(path)
        if not force:
            check_fingerprint(patch, path, self.fingerprint())
        name = str(self.dtype.newbyteorder("="))
        check_fits(patch, path, self.shape, name, self.rows.ids, self._columns)
        self._block.load(patch, path)
        if patch.added is not None:
            self._added = patch.added.copy()
