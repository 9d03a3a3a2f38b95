"""What learning new words produced: plain data that the report, the command line and tests read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NewWord:
    """One learned row.

    ``lacking`` says why the table did not have the word: ``"case"``, ``"punctuation"`` or
    ``"number"`` where a form that differs in that alone is known (``known_form``), ``"phrase"``
    where it joins several words of the text, else ``"new"``.
    """

    word: str
    count: int  # occurrences in the corpus
    contexts: int  # occurrences with at least one known word in the window
    neighbours: tuple[tuple[str, float], ...]  # nearest known words with their cosines
    lacking: str
    known_form: str | None
    # The cosine with its true row that hidden words of such evidence came back with, if measured.
    confidence: float | None = None
    excerpts: tuple[str, ...] = ()  # a few places of the corpus, the word in its context


@dataclass(frozen=True)
class Score:
    """Pretend-OOV of one method over the held-out words: higher, lower and higher are better."""

    cosine: float  # mean cosine between the learned row and the true row
    median_rank: float  # of the true row among all known rows, 1 is best
    overlap10: float  # share of the 10 nearest neighbours that learned and true row have in common


@dataclass(frozen=True)
class Coverage:
    """How much of the corpus the table knows: types are distinct words, tokens are occurrences."""

    types: int
    types_before: int
    types_after: int
    tokens: int
    tokens_before: int
    tokens_after: int


@dataclass(frozen=True)
class FreezeProof:
    """SHA-256 of the known rows before learning and as they stand in the result."""

    rows: int
    sha256_before: str
    sha256_after: str

    @property
    def identical(self) -> bool:
        return self.sha256_before == self.sha256_after


@dataclass(frozen=True)
class HeldOutWord:
    """One known word that was hidden and learned again, for the pictures and tables."""

    word: str
    count: int
    cosine: dict[str, float]  # method -> cosine with the true row
    rank: dict[str, int]  # method -> rank of the true row
    overlap: dict[str, float] = field(default_factory=dict)  # method -> share of 10 neighbours
    relative: str | None = None  # a word with the same stem that spelling was learned from


@dataclass(frozen=True)
class PartScore:
    """One method over one part of the held-out words, with 95 % bootstrap intervals (by word)."""

    part: str  # "all", "seen 20 to 49 times", ..., "no close relative"
    method: str
    words: int
    score: Score
    cosine_interval: tuple[float, float]
    rank_interval: tuple[float, float]
    overlap_interval: tuple[float, float]


@dataclass(frozen=True)
class Extension:
    """The outcome of `rowtune.learn.extend`. Row i of ``rows`` belongs to ``new_words[i]``."""

    new_words: tuple[NewWord, ...]
    rows: NDArray[np.floating[Any]]  # (new words, D), in the dtype of the table
    coverage: Coverage
    frozen: FreezeProof
    pretend_oov: dict[str, Score]  # method -> score; ours is "rowtune"
    held_out: tuple[HeldOutWord, ...]
    settings: dict[str, Any]  # hyper-parameters that the validation part chose
    seconds: dict[str, float]  # stage -> wall time
    notes: tuple[str, ...] = field(default=())  # plain sentences a user should read
    parts: tuple[PartScore, ...] = field(default=())  # every method, by part of the held-out words
    corpus_sha256: str = ""  # of the tokens as they were read, documents kept apart
