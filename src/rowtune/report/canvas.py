"""What every picture stands on: colours, a figure without global state, text, and saving.

Only matplotlib's objects are used, never pyplot: no backend is chosen, no window can open, and two
threads can draw at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from rowtune.atomic import replacing
from rowtune.errors import FormatError
from rowtune.report.readable import readable

FONT = "DejaVu Sans"  # ships with matplotlib, so a picture looks the same on every machine
FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Theme:
    """Colours of a picture. The three hues stay apart for the common kinds of colour blindness."""

    paper: str
    ink: str
    soft: str  # second-rank text
    faint: str  # lines and dots that must not compete
    new: str  # new words and our own method: the one strong colour
    known: str  # second hue
    third: str


LIGHT = Theme("#ffffff", "#1b2430", "#5a6573", "#c3cad3", "#c8500a", "#0a6aa8", "#04805a")
DARK = Theme("#161b22", "#e8edf3", "#a3afbd", "#48525e", "#ff9a52", "#6bb8ee", "#3fcf9f")


def blank(width: float, height: float, theme: Theme) -> Figure:
    """Return an empty figure, sizes in inches, on a canvas that can measure text."""
    figure = Figure(figsize=(width, height), dpi=150, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def write(place: Any, *at: Any, size: float, color: str, **how: Any) -> Any:
    """Put plain text on a figure or axes: never read as mathematics, never a missing glyph.

    ``at`` is x, y, text; on 3-D axes x, y, z, text.
    """
    font = FontProperties(family=FONT, size=size, weight=how.pop("weight", "normal"))
    return place.text(
        *at[:-1], drawable(at[-1]), fontproperties=font, color=color, parse_math=False, **how
    )


def drawable(text: str) -> str:
    """``text`` with every character that the font cannot draw replaced by a small box."""
    glyphs = _glyphs()
    lines = text.split("\n")
    return "\n".join(
        "".join(c if ord(c) in glyphs else "\u25a1" for c in readable(line)) for line in lines
    )


@cache
def _glyphs() -> frozenset[int]:
    """Code points that the font has, so that nobody is warned about the others."""
    return frozenset(get_font(findfont(FontProperties(family=FONT))).get_charmap())


def quiet_axes(axes: Any, theme: Theme, *, size: float = 9) -> None:
    """Take away the box, leave soft ticks: the data should be what is seen."""
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(
        which="both", length=0, colors=theme.soft, labelsize=size, labelfontfamily=FONT
    )


def title(axes: Any, theme: Theme, head: str, below: str = "") -> None:
    """Put a bold line and a softer one below it over the left edge of ``axes``."""
    box = axes.get_window_extent()
    inch = axes.figure.dpi / box.height  # one inch in units of the axes' height
    write(
        axes, 0, 1 + (0.32 if below else 0.14) * inch, head,
        size=12, weight="bold", color=theme.ink, transform=axes.transAxes, va="bottom",
    )  # fmt: skip
    if below:
        write(
            axes, 0, 1 + 0.14 * inch, below,
            size=9.5, color=theme.soft, transform=axes.transAxes, va="bottom",
        )  # fmt: skip


def save(figure: Figure, target: str | os.PathLike[str] | BinaryIO) -> None:
    """Write ``figure`` to a path (its ending names the format) or, as PNG, to an open binary file.

    Raises
    ------
    FormatError
        A path that ends in something else than .png, .svg or .pdf.
    OSError
        As `rowtune.atomic.replacing` raises it; the old file is then untouched.
    """
    if not isinstance(target, (str, os.PathLike)):
        _print(figure, target, "png")
        return
    ending = Path(target).suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise FormatError(
            f"{target}: a picture cannot be written as {ending or 'a file without an ending'!r}; "
            "give it a name that ends in .png, .svg or .pdf"
        )
    with replacing(target) as file:
        _print(figure, file, ending)


def _print(figure: Figure, file: BinaryIO, ending: str) -> None:
    # No date and no version inside: the same data gives the same file.
    metadata = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    figure.savefig(
        file,
        format=ending,
        dpi=figure.dpi,
        facecolor=figure.get_facecolor(),
        metadata=metadata[ending],
    )
