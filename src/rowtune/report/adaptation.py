"""The outcome of `adapt` for a terminal and for JSON: the verdict first, then what it rests on."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rowtune.adapt.result import Adaptation, Difference, WayScore
from rowtune.adapt.ways import OURS
from rowtune.report.readable import plural, readable

_UNEVEN = 1.5  # the most frequent label against an equal share: beyond it macro-F1 says more
_STYLES = {"better": "green", "worse": "red", "not told apart": "yellow"}
_SAID = {
    "better": "better than",
    "worse": "worse than",
    "not told apart": "not told apart from",
}
_LABELS, _WORDS = 8, 12  # shown


def print_adaptation(found: Adaptation, console: Console) -> None:
    """Print the verdict, all ways, the differences, and what was learned from.

    Parameters
    ----------
    found : Adaptation
        What `rowtune.adapt.adapt` returned.
    console : rich.console.Console
        Where to print; it decides on colour and width.
    """
    console.print(Text(verdict(found), style="bold"), soft_wrap=True)
    _print_proof(found, console)
    console.print(Padding(_ways(found), (1, 0, 0, 0)))
    console.print(Padding(_differences(found), (1, 0)))
    for line in _facts(found):
        console.print(Text(line), soft_wrap=True)
    for note in found.notes:
        console.print(Text(f"Note: {readable(note)}", style="yellow"), soft_wrap=True)


def verdict(found: Adaptation) -> str:
    """One or two plain sentences: where training the new rows alone wins, loses, or neither."""
    ours = next(score for score in found.ways if score.way == OURS)
    best = max(found.ways, key=lambda score: float(score.accuracy.mean()))
    said = (
        f"Training the rows of new words alone gets {_percent(ours.accuracy)} of the test texts "
        "right"
    )
    if best.way == OURS:
        said += ", more than any other way"
    else:
        said += f"; the most gets {best.way!r}, {_percent(best.accuracy)}"
    if len(ours.accuracy) == 1:
        return f"{said}. One seed says nothing of the spread: give --seeds 5."
    groups = []
    for outcome, words in _SAID.items():
        ways = [gap.way for gap in found.differences if gap.verdict == outcome]
        if ways:
            groups.append(f"{words} {_listed(ways)}")
    return f"{said}. It is {'; '.join(groups)}."


def adaptation_as_json(found: Adaptation) -> dict[str, Any]:
    """Everything but the rows, as plain values for `json.dump`; shares are from 0 to 1."""
    frozen = found.frozen
    return {
        "verdict": verdict(found),
        "ways": {score.way: _way(score) for score in found.ways},
        "ours_minus": {
            gap.way: {
                "accuracy": gap.mean,
                "standard_error": gap.standard_error,
                "verdict": gap.verdict,
            }
            for gap in found.differences
        },
        "labels": {readable(label): count for label, count in found.labels.items()},
        "texts": dict(zip(("training", "validation", "test"), found.parts, strict=True)),
        "new_words": list(found.new_words),
        "test_texts_with_new_word": found.test_with_new,
        "coverage": asdict(found.coverage),
        "frozen": {**asdict(frozen), "identical": frozen.identical},
        "written_words": [
            {"word": readable(word), "count": count}
            for word, count in zip(found.words, found.counts, strict=True)
        ],
        "settings": found.settings,
        "seconds": found.seconds,
        "notes": [readable(note) for note in found.notes],
    }


def _way(score: WayScore) -> dict[str, Any]:
    return {
        "accuracy": _numbers(score.accuracy),
        "macro_f1": _numbers(score.macro_f1),
        "accuracy_with_new_word": _numbers(score.with_new),
        "moved_rows": score.trained_rows,
        "seconds": score.seconds,
        "chosen": list(score.settings),
    }


def _numbers(values: NDArray[np.float64]) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    return {
        "mean": float(finite.mean()) if len(finite) else None,
        "spread": float(finite.std(ddof=1)) if len(finite) > 1 else None,
        "by_seed": [value if math.isfinite(value) else None for value in values.tolist()],
    }


def _print_proof(found: Adaptation, console: Console) -> None:
    proof = found.frozen
    if proof.identical:
        rows = plural(proof.rows, "known row")
        console.print(Text(f"All {rows} are the same, bit for bit.", style="bold green"))
        sha = Text(f"SHA-256 before and after: {proof.sha256_before}", style="dim")
        console.print(sha, soft_wrap=True)
        return
    console.print(
        Text(f"THE {proof.rows:,} KNOWN ROWS CHANGED: do not use this result.", style="bold red")
    )
    for when, sha256 in (("before", proof.sha256_before), ("after", proof.sha256_after)):
        console.print(Text(f"SHA-256 {when}: {sha256}", style="red"), soft_wrap=True)


def _ways(found: Adaptation) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("way", no_wrap=True)
    uneven = _uneven(found)
    heads = ["right, %", *(["macro-F1, %"] if uneven else []), "with a new word, %"]
    for head in (*heads, "rows moved", "seconds"):
        table.add_column(head, justify="right")
    for score in found.ways:
        cells = [_spread(score.accuracy)]
        cells += [_spread(score.macro_f1)] if uneven else []
        cells += [_spread(score.with_new), f"{score.trained_rows:,}", f"{score.seconds:.1f}"]
        table.add_row(score.way, *cells, style="bold" if score.way == OURS else "")
    return table


def _differences(found: Adaptation) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("ours minus", no_wrap=True)
    table.add_column("points", justify="right")
    table.add_column("standard error", justify="right")
    table.add_column("")
    for gap in found.differences:
        table.add_row(gap.way, f"{100 * gap.mean:+.1f}", _error(gap), _judged(gap))
    return table


def _error(gap: Difference) -> str:
    return "-" if gap.standard_error is None else f"{100 * gap.standard_error:.1f}"


def _judged(gap: Difference) -> Text:
    if gap.standard_error is None:
        return Text("one seed: nothing is known of the spread", style="dim")
    return Text(gap.verdict, style=_STYLES[gap.verdict])


def _facts(found: Adaptation) -> list[str]:
    training, validation, test = found.parts
    labels = sorted(found.labels.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{readable(label)} {count:,}" for label, count in labels[:_LABELS])
    cover = found.coverage
    new = found.new_words
    range_ = f"{new[0]:,}" if len(set(new)) == 1 else f"{min(new):,} to {max(new):,}"
    lines = [
        f"{training:,} texts to learn from, {validation:,} to choose by, {test:,} to test on; "
        f"{plural(len(new), 'split')}. Labels: {shown}{', ...' if len(labels) > _LABELS else ''}.",
        f"New words with a row: {range_}; {found.test_with_new:.1%} of test texts have one.",
        f"Coverage: {cover.tokens_before / max(cover.tokens, 1):.2%} of {cover.tokens:,} "
        f"occurrences before, {cover.tokens_after / max(cover.tokens, 1):.2%} after.",
    ]
    if found.words:
        some = ", ".join(
            f"{readable(word)} {count:,}"
            for word, count in zip(found.words[:_WORDS], found.counts, strict=False)
        )
        more = ", ..." if len(found.words) > _WORDS else ""
        lines.append(f"Rows of {plural(len(found.words), 'word')} from all texts: {some}{more}")
    return lines


def _uneven(found: Adaptation) -> bool:
    counts = list(found.labels.values())
    return max(counts) * len(counts) > _UNEVEN * sum(counts) or len(counts) > 2


def _spread(values: NDArray[np.float64]) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "-"
    mean = f"{100 * finite.mean():.1f}"
    return f"{mean} ± {100 * finite.std(ddof=1):.1f}" if len(finite) > 1 else mean


def _percent(values: NDArray[np.float64]) -> str:
    return f"{100 * float(values.mean()):.1f} %"


def _listed(ways: list[str]) -> str:
    named = [f"'{way}'" for way in ways]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
