"""What `rowtune eval` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from rowtune.cli.tables import plain_table
from rowtune.evaluate import Accuracy, AnalogyScores, Correlation, Lookups, SimilarityScores
from rowtune.evaluate.analogies import ALL, METHODS, SEMANTIC, SYNTACTIC
from rowtune.learn.result import Extension
from rowtune.report.console import part_table, score_table
from rowtune.report.readable import plural, readable
from rowtune.report.verdict import scores_sentence

if TYPE_CHECKING:
    from rowtune.cli.eval import Evaluation

_WORDS = 8  # that are shown where more are unknown
_INTERVAL = tuple[float, float] | None


def print_evaluation(found: Evaluation, console: Console) -> None:
    """Print every part that was asked for."""
    for pairs in found.pairs:
        _print_pairs(pairs, console)
    for analogies in found.analogies:
        _print_analogies(analogies, console)
    for name, result in found.pretend_oov:
        _print_pretend_oov(name, result, console)


def _print_pairs(scores: SimilarityScores, console: Console) -> None:
    _say(f"{scores.dataset}: {plural(scores.pairs, 'pair')}", console, "bold")
    numbers = ("known", "Spearman (95 %)", "Pearson", "unknown as 0")
    table = plain_table("vectors", *numbers, right=numbers)
    for name, own, zero in zip(scores.tables, scores.own, scores.unknown_as_zero, strict=True):
        table.add_row(
            Text(readable(name)), _share(own.known, scores.pairs), *_correlations(own),
            _with_interval(zero, None, ".3f"),
        )  # fmt: skip
    console.print(table)
    for name, own, lookups in zip(scores.tables, scores.own, scores.lookups, strict=True):
        if own.undefined:
            _say(f"{name}: no correlation: {own.undefined}", console, "yellow")
        _print_lookups(name if len(scores.tables) > 1 else "", lookups, console)
    if scores.common:
        known = scores.common[0].known
        _say(f"over the {plural(known, 'pair')} that all tables know:", console)
        heads = ("Spearman (95 %)", "Pearson", "more than the first (95 %)")
        table = plain_table("vectors", *heads, right=heads)
        changes = [_with_interval(d.difference, d.interval, "+.3f") for d in scores.differences]
        for name, each, more in zip(scores.tables, scores.common, ["", *changes], strict=True):
            table.add_row(Text(readable(name)), *_correlations(each), more)
        console.print(table)
    _print_notes(scores.dataset, scores.notes, console)


def _correlations(each: Correlation) -> tuple[str, str]:
    return (
        _with_interval(each.spearman, each.spearman_interval, ".3f"),
        _with_interval(each.pearson, None, ".3f"),
    )


def _print_analogies(scores: AnalogyScores, console: Console) -> None:
    alone = len(scores.tables) == 1
    among = " and ".join(f"{rows:,}" for rows in dict.fromkeys(scores.among))
    title = f"{scores.dataset}: {plural(scores.questions, 'question')}"
    _say(f"{title}, answered from the first {among} rows", console, "bold")
    heads = [f"% by {method} (95 %)" for method in METHODS]
    numbers = ("known", *heads)
    first = ("section",) if alone else ("vectors", "questions")
    table = plain_table(*first, *numbers, right=numbers)
    for name, own in zip(scores.tables, scores.own, strict=True):
        for each in own:
            cells = (_share(each.known, each.questions), *map(_accuracy, [each] * 2, METHODS))
            if alone:
                style = "bold" if each.part in (ALL, SEMANTIC, SYNTACTIC) else ""
                table.add_row(Text(readable(each.part)), *cells, style=style)
            elif each.part in (ALL, SEMANTIC, SYNTACTIC):
                table.add_row(Text(readable(name)), each.part, *cells)
    console.print(table)
    for name, own, lookups in zip(scores.tables, scores.own, scores.lookups, strict=True):
        if own[-1].known < own[-1].questions:
            wrong = ", ".join(
                f"{m} {100 * own[-1].right[m] / own[-1].questions:.1f} %" for m in METHODS
            )
            whose = "" if alone else f"{name}, "
            _say(f"{whose}unknown questions as wrong: {wrong}", console)
        _print_lookups("" if alone else name, lookups, console)
    if scores.common:
        _print_common(scores, console)
    _print_notes(scores.dataset, scores.notes, console)


def _print_common(scores: AnalogyScores, console: Console) -> None:
    known = scores.common[0].known
    _say(f"over the {plural(known, 'question')} that all tables know:", console)
    numbers = ("% right (95 %)", "more than the first (95 %)")
    table = plain_table("vectors", "method", *numbers, right=numbers)
    changes = iter(scores.differences)
    for i, (name, each) in enumerate(zip(scores.tables, scores.common, strict=True)):
        for method in METHODS:
            more = ""
            if i and known:
                change = next(changes)
                more = _with_interval(
                    _percent(change.difference), _percents(change.interval), "+.1f"
                )
            table.add_row(Text(readable(name)), method, _accuracy(each, method), more)
    console.print(table)


def _accuracy(each: Accuracy, method: str) -> str:
    share = each.right[method] / each.known if each.known else None
    return _with_interval(_percent(share), _percents(each.interval[method]), ".1f")


def _print_pretend_oov(name: str, result: Extension, console: Console) -> None:
    _say(f"pretend-OOV, {name}", console, "bold")
    console.print(Text(scores_sentence(result)))
    if result.pretend_oov:
        console.print(score_table(result))
    if result.parts:
        console.print(Padding(part_table(result), (1, 0, 0, 0)))
    _print_notes("", result.notes, console)


def _print_lookups(name: str, lookups: Lookups, console: Console) -> None:
    parts = [f"{lookups.exact:,} of {plural(lookups.words, 'word')} found as written"]
    if lookups.other_case:
        parts.append(f"{lookups.other_case:,} in another case")
    for words, what in (
        (lookups.unknown, "without a row"),
        (lookups.unusable, "with a row of zeros, NaN or infinity, left out"),
    ):
        if words:
            more = ", ..." if len(words) > _WORDS else ""
            parts.append(f"{len(words):,} {what} ({', '.join(words[:_WORDS])}{more})")
    _say((f"{name}: " if name else "") + ", ".join(parts), console, "dim")


def _print_notes(dataset: str, notes: Sequence[str], console: Console) -> None:
    for note in notes:
        _say(f"Note: {dataset}: {note}" if dataset else f"Note: {note}", console, "yellow")
    console.print()


def _share(part: int, whole: int) -> str:
    """With its percentage where it is not all; that is then less than 100."""
    return f"{part:,}" if part == whole else f"{part:,} ({min(100 * part / whole, 99.9):.1f} %)"


def _with_interval(value: float | None, interval: _INTERVAL, form: str) -> str:
    if value is None:
        return "-"
    within = f" ({interval[0]:{form}} to {interval[1]:{form}})" if interval else ""
    return f"{value:{form}}{within}"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _percents(interval: _INTERVAL) -> _INTERVAL:
    return (100 * interval[0], 100 * interval[1]) if interval else None


def _say(text: str, console: Console, style: str = "") -> None:
    console.print(Text(readable(text), style=style), soft_wrap=True)
