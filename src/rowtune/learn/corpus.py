"""The text to learn from: files, folders, globs, standard input, or Python's own docstrings."""

from __future__ import annotations

import bz2
import glob
import gzip
import lzma
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from rowtune.errors import CorpusError
from rowtune.learn import python_docs

Progress = Callable[[str, int, int], None]  # stage, done, total (0 where unknown)

PYTHON_DOCS = "python-docs"
_BLOCK = 1 << 20  # characters
_PATIENCE = 0.1  # seconds until standard input is given up on for the moment
_SNIFF = 1 << 13  # bytes looked at to tell text from binary
_PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_HINT = (
    "give text files, folders, globs such as 'docs/**/*.txt', '-' for standard input, "
    f"or {PYTHON_DOCS!r} for the docstrings of this Python's standard library"
)


class Corpus:
    """Documents, each a run of text blocks, read once and never whole.

    Parameters
    ----------
    sources : sequence of str
        Files (``.gz``, ``.bz2`` and ``.xz`` are read as they are), folders (with all below them,
        hidden files left out), globs, ``"-"``, or ``"python-docs"``.

    Raises
    ------
    CorpusError
        If a source does not exist, matches nothing, or there is no source at all.
    """

    def __init__(self, sources: Sequence[str | os.PathLike[str]]) -> None:
        names = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        if not names:
            raise CorpusError(f"no corpus was given; {_HINT}")
        self.notes: list[str] = []
        self._skipped: list[Path] = []
        self._plan: list[tuple[str, Path | None, bool]] = []  # kind, path, named by the user
        for source in names:
            self._plan.extend(_resolve(os.fspath(source)))
        # A file that two sources name is read once: it is one text.
        once = {path.resolve() if path else kind: (kind, path, named)
                for kind, path, named in reversed(self._plan)}  # fmt: skip
        self._plan = list(once.values())[::-1]

    def plan(self) -> list[tuple[str, Path | None]]:
        """What will be read, in order: "file" with its path, "stdin" or "python"."""
        return [(kind, path) for kind, path, _ in self._plan]

    def documents(
        self, progress: Progress | None = None, enough: Callable[[], bool] | None = None
    ) -> Iterator[Iterator[str]]:
        """Each document as an iterator over blocks of text; files that are no text are skipped.

        Standard input ends where ``enough()`` says so, also while it waits for more to come.
        """
        total = sum(path.stat().st_size for _, path, _ in self._plan if path)
        done = 0
        for kind, path, named in self._plan:
            if kind == "stdin":
                yield _stdin(sys.stdin.buffer, enough) if enough else _blocks(sys.stdin.buffer)
            elif kind == "python":
                for number, text in enumerate(python_docs.docstrings(self.notes)):
                    if progress and number % 1000 == 0:
                        progress("reading", number, 0)
                    yield iter((text,))
            elif path is not None:
                try:
                    yield from self._file(path, named)
                except (OSError, EOFError, lzma.LZMAError) as error:
                    if not named:  # one bad file among many is no reason to stop
                        self._skipped.append(path)
                        continue
                    raise CorpusError(
                        f"{path}: cannot be read ({error}); check the file, or leave it out"
                    ) from error
                done += path.stat().st_size
                if progress:
                    progress("reading", done, total)
        if self._skipped:
            shown = ", ".join(str(path) for path in self._skipped[:3])
            more = f" and {len(self._skipped) - 3:,} more" if len(self._skipped) > 3 else ""
            self.notes.append(f"Skipped as not text, or not readable: {shown}{more}.")

    def _file(self, path: Path, named: bool) -> Iterator[Iterator[str]]:
        with _PACKED.get(path.suffix.lower(), open)(path, "rb") as file:
            head = file.read(_SNIFF)
            file.seek(0)
            if b"\0" not in head:
                yield _blocks(file)
            elif named:
                raise CorpusError(f"{path}: this is a binary file, not text; {_HINT}")
            else:
                self._skipped.append(path)


def _resolve(source: str) -> list[tuple[str, Path | None, bool]]:
    if source == "-":
        return [("stdin", None, True)]
    path = Path(source)
    if source == PYTHON_DOCS and not path.exists():
        return [("python", None, True)]
    if path.is_file():
        return [("file", path, True)]
    if path.is_dir():
        found = [file for file in _below(path) if file.is_file()]
        if not found:
            raise CorpusError(f"{source}: this folder holds no files to read; {_HINT}")
        return [("file", file, False) for file in found]
    # Path.glob would refuse an absolute pattern.
    matches = sorted(Path(name) for name in glob.glob(source, recursive=True))  # noqa: PTH207
    found = [file for match in matches for file in (_below(match) if match.is_dir() else [match])]
    found = [file for file in dict.fromkeys(found) if file.is_file()]
    if not found:
        raise CorpusError(f"{source}: no such file or folder, and no glob that matches; {_HINT}")
    return [("file", file, False) for file in found]


def _below(folder: Path) -> Iterator[Path]:
    """All files below, in sorted order so that runs repeat; hidden ones are seldom prose."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(parent, name)


def _blocks(file: IO[bytes]) -> Iterator[str]:
    """Text in blocks that end with a line; bytes that are no UTF-8 become U+FFFD."""
    while block := file.read(_BLOCK):
        # Never cut inside a word; a "line" without end is cut all the same.
        yield (block + file.readline(_BLOCK)).decode("utf-8", "replace")


def _stdin(file: Any, enough: Callable[[], bool]) -> Iterator[str]:
    """Like `_blocks`, of what comes as it comes: a pipe may be slow, and a reader have enough.

    A signal's handler that only sets a flag does not end a blocked read (PEP 475), so there is none
    here: we wait a little at a time for something to read.
    """
    waiting = b""
    while not enough():
        if not _ready(file):
            continue
        piece = file.read1(_BLOCK)
        waiting += piece
        if not piece:
            break
        if len(waiting) < _BLOCK:
            continue
        # Cut after a line, or after a blank; a "line" without end is cut all the same.
        end = 1 + max(waiting.rfind(b"\n"), waiting.rfind(b" ") if b"\n" not in waiting else -1)
        if end or len(waiting) > 2 * _BLOCK:
            end = end or len(waiting)
            yield waiting[:end].decode("utf-8", "replace")
            waiting = waiting[end:]
    if waiting:
        yield waiting.decode("utf-8", "replace")


def _ready(file: Any) -> bool:
    try:
        return bool(select.select([file], [], [], _PATIENCE)[0])
    except (OSError, ValueError):  # what is no file, and pipes on Windows: reading has to wait
        return True
