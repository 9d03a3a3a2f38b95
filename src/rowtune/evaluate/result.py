"""What an evaluation found: plain data that the command line and tests read."""

from __future__ import annotations

from dataclasses import dataclass

Interval = tuple[float, float]


@dataclass(frozen=True)
class Lookups:
    """How the distinct words of a data set were found in a table."""

    words: int
    exact: int  # as they are written
    other_case: int  # only in another case
    unknown: tuple[str, ...]
    unusable: tuple[str, ...]  # among the found: their rows are zero or not finite


@dataclass(frozen=True)
class Correlation:
    """Cosines beside people's scores; None where a correlation is not defined."""

    known: int  # pairs that it is over
    spearman: float | None
    spearman_interval: Interval | None  # 95 %, None for fewer than 10 pairs too
    pearson: float | None
    pearson_interval: Interval | None
    undefined: str = ""  # why there is none


@dataclass(frozen=True)
class Difference:
    """How much more a table has than the first one, over what all tables know."""

    table: str
    measure: str  # "spearman", "3CosAdd" or "3CosMul"
    difference: float | None  # None where either has none
    interval: Interval | None  # 95 %, paired: both tables see the same resamples


@dataclass(frozen=True)
class SimilarityScores:
    """One file of pairs; table i is ``tables[i]`` in every tuple."""

    dataset: str
    pairs: int
    tables: tuple[str, ...]
    own: tuple[Correlation, ...]  # over the pairs that each table knows
    unknown_as_zero: tuple[float | None, ...]  # Spearman over all pairs, unknown ones at cosine 0
    lookups: tuple[Lookups, ...]
    common: tuple[Correlation, ...]  # over the pairs that all tables know; empty for one table
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Accuracy:
    """One section of the questions, or a total over several."""

    part: str
    questions: int
    known: int  # questions whose four words have rows
    right: dict[str, int]  # "3CosAdd" and "3CosMul" -> answered right
    interval: dict[str, Interval | None]  # 95 % of right / known, by Wilson's formula


@dataclass(frozen=True)
class AnalogyScores:
    """One file of questions; table i is ``tables[i]`` in every tuple."""

    dataset: str
    questions: int
    tables: tuple[str, ...]
    among: tuple[int, ...]  # rows that answers came from
    own: tuple[tuple[Accuracy, ...], ...]  # by section, then semantic, syntactic, all
    lookups: tuple[Lookups, ...]
    common: tuple[Accuracy, ...]  # over the questions that all tables know; empty for one table
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
