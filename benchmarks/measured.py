"""Figures of one run: medians with their spread, the machine, and a table in Markdown."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds)


def spread(seconds: Sequence[float], unit: float = 1e-3, digits: int = 2) -> str:
    """``median (lowest - highest)`` in the unit."""
    values = [median(seconds), min(seconds), max(seconds)]
    return "{:.{d}f} ({:.{d}f} - {:.{d}f})".format(*(v / unit for v in values), d=digits)


def machine(*packages: str) -> str:
    """Cores, processor and versions: what a figure needs to be read, and no names of hosts."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def publish(
    name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: str
) -> None:
    """Print a table, and write it to ``benchmarks/results/<name>.md``."""
    console = Console(width=max(100, Console().width))
    shown = Table(*columns, title=title)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    console.print(notes, highlight=False)
    lines = [
        f"# {title}",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        notes,
        "",
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text("\n".join(lines))
