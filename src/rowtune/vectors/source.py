"""What a table is read from: a file, and the files that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """One table to load: its file, the file of its words if that is another, a zip's member."""

    name: str  # as the user wrote it, for messages
    path: Path
    words: Path | None = None
    member: str | None = None
    key2row: Path | None = None  # spaCy's map from the hash of a word to its row

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the table comes from."""
        return tuple(p for p in (self.path, self.words, self.key2row) if p is not None)

    def head(self, count: int) -> bytes:
        """The first bytes of the file itself, packed or not."""
        with self.path.open("rb") as file:
            return file.read(count)
