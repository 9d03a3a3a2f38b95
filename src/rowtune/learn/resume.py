"""Which run a folder of finished stages belongs to: same table, same texts, same settings."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rowtune.errors import CorpusError
from rowtune.learn.corpus import Corpus
from rowtune.learn.stages import Stages
from rowtune.vectors import Vectors, sha256_of_rows


def stages_of(
    folder: str | os.PathLike[str] | None,
    vectors: Vectors,
    sources: Sequence[str | os.PathLike[str]],
    settings: Mapping[str, Any],
    enough: Callable[[], bool] | None,
) -> Stages:
    """The stages in ``folder``, as far as they are of this run; without a folder, none.

    Raises
    ------
    CorpusError
        If the text comes from standard input: nothing tells whether it is the same as before.
    """
    if folder is None:
        return Stages()
    texts = [_named(path) if path else kind for kind, path in Corpus(sources).plan()]
    if "stdin" in texts:
        raise CorpusError(
            "a run that reads standard input cannot be resumed: nothing tells whether it is the "
            "same text; put it into a file"
        )
    words = hashlib.sha256("\n".join(vectors.words).encode("utf-8", "surrogatepass")).hexdigest()
    table = f"{vectors.matrix.shape} {vectors.matrix.dtype} {sha256_of_rows(vectors.matrix)}"
    asked = [f"{name}={_plain(value)}" for name, value in settings.items()]
    run = "\n".join([_version(), sys.version, table, words, *texts, *asked])
    return Stages(Path(folder), run, enough)


def _version() -> str:
    try:
        return version("rowtune")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return ""


def _named(path: Path) -> str:
    found = path.stat()
    return f"{path.absolute()} {found.st_size} {found.st_mtime_ns}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return repr(list(value.items()))  # definitions are read in their order
    if isinstance(value, Collection) and not isinstance(value, str):
        return repr(sorted(value))
    return repr(value)
