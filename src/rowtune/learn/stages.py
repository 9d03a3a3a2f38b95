"""Finished stages of a long run on disk, so that a run which was killed need not begin again."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as packed_arrays

from rowtune.atomic import replacing

Arrays = dict[str, NDArray[Any]]
_ENDING = ".stage"
_DIGEST = 32  # bytes of SHA-256 before the arrays: what a stage holds is checked, not trusted


def forget(folder: Path) -> None:
    """Delete the stages in ``folder``, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"*{_ENDING}"):
            path.unlink()
        folder.rmdir()


class Stages:
    """A folder with one file for each finished stage of one and the same run.

    Parameters
    ----------
    folder : path or None
        Made when the first stage is saved. None: nothing is saved, every stage is computed.
    run : str
        All that the stages depend on, such as the table's hash and the settings. Stages of another
        run are not read, and are written over.
    enough : callable, optional
        Once it says yes, stages may have been cut short: they are saved no more.
    """

    def __init__(
        self,
        folder: Path | None = None,
        run: str = "",
        enough: Callable[[], bool] | None = None,
    ) -> None:
        self.folder = folder
        self._enough = enough or (lambda: False)
        self.found: list[str] = []  # stages that were read
        self._run = hashlib.sha256(run.encode("utf-8", "surrogatepass")).digest()

    def __call__(self, stage: str, compute: Callable[[], Mapping[str, Any]]) -> Arrays:
        """The arrays of ``stage``: read where an earlier run finished it, else computed, saved."""
        if self.folder is None:
            return dict(compute())
        path = self.folder / f"{stage.replace(' ', '-')}{_ENDING}"
        saved = self._read(path)
        if saved is not None:
            self.found.append(stage)
            return saved
        made = {name: np.asarray(array, order="C") for name, array in compute().items()}
        if self._enough():
            return made
        content = packed_arrays(made)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(self._digest(content))
            file.write(content)
        return made

    def _read(self, path: Path) -> Arrays | None:
        try:
            whole = path.read_bytes()
        except OSError:
            return None
        content = whole[_DIGEST:]
        if whole[:_DIGEST] != self._digest(content):
            return None
        try:
            return read_arrays(content)
        except SafetensorError:  # never seen behind a digest that holds
            return None

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self._run + content).digest()
