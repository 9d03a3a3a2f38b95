"""Names beside dots without one name on another: first come, first served, else left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.report.canvas import write

Boxes = NDArray[np.float64]  # rows are left, bottom, right, top in pixels

# Where a name may stand, as seen from its dot: right, left, above, below, then what lies between.
SIDES = (
    (1, 0), (-1, 0), (0, 1), (0, -1), (1, 0.8), (-1, 0.8), (1, -0.8), (-1, -0.8),
    (1, 0.4), (-1, 0.4), (1, -0.4), (-1, -0.4), (0.6, 1), (-0.6, 1), (0.6, -1), (-0.6, -1),
)  # fmt: skip


class Names:
    """Places names on ``axes`` one after the other and remembers what is taken.

    Parameters
    ----------
    axes
        Axes whose limits are final: positions are measured in pixels.
    dots : (n, 2)
        Every dot in data units. A name keeps clear of all of them but its own.
    radius : float or (n,)
        Of each dot, in pixels.
    lines : (m, 2), optional
        Points on lines, in data units, that no name may be struck through by.
    """

    def __init__(
        self,
        axes: Any,
        dots: NDArray[np.float64],
        radius: NDArray[np.float64] | float,
        lines: NDArray[np.float64] | None = None,
    ) -> None:
        self.axes = axes
        self.renderer = axes.figure.canvas.get_renderer()
        self.radius = np.broadcast_to(np.asarray(radius, np.float64), len(dots))
        self.dots = _pixels(axes, dots)
        self.lines = _pixels(axes, lines)
        box = axes.get_window_extent()
        self.room = (box.x0, box.y0, box.x1, box.y1)
        self.taken: list[tuple[float, float, float, float]] = []

    def put(self, dot: int, text: str, *, size: float, color: str, weight: str) -> bool:
        """Write ``text`` beside dot number ``dot``; where no side is free, draw nothing: False."""
        name = write(
            self.axes, 0, 0, text, size=size, color=color, weight=weight, transform=None,
            ha="left", va="baseline", zorder=5,
        )  # fmt: skip
        extent = name.get_window_extent(self.renderer)
        width, height, sink = extent.width, extent.height, extent.y0
        x, y = self.dots[dot]
        for across, up in SIDES:
            gap = self.radius[dot] + 3
            left = x + across * gap - width * (1 - across) / 2
            bottom = y + up * (gap + height / 2) - height / 2
            box = (left, bottom, left + width, bottom + height)
            if self._free(box, dot):
                spot = self.axes.transAxes.inverted().transform((left, bottom - sink))
                name.set_transform(self.axes.transAxes)  # pixels differ between PNG and SVG
                name.set_position(tuple(spot))
                self.taken.append(box)
                return True
        name.remove()
        return False

    def _free(self, box: tuple[float, float, float, float], own: int) -> bool:
        left, bottom, right, top = box
        x0, y0, x1, y1 = self.room
        if left < x0 or bottom < y0 or right > x1 or top > y1:
            return False
        for other in self.taken:  # two pixels of air between names
            if (
                left < other[2] + 3
                and right > other[0] - 3
                and bottom < other[3] + 2
                and top > other[1] - 2
            ):
                return False
        inside = _inside(self.dots, box, self.radius)
        inside[own] = False
        return not inside.any() and not _inside(self.lines, box, 0.0).any()


def _pixels(axes: Any, points: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if points is None or not len(points):
        return np.zeros((0, 2))
    return np.asarray(axes.transData.transform(points), np.float64)


def _inside(
    points: NDArray[np.float64],
    box: tuple[float, float, float, float],
    reach: NDArray[np.float64] | float,
) -> NDArray[np.bool_]:
    """Tell which points lie in ``box``, or closer to it than ``reach``."""
    left, bottom, right, top = box
    x, y = points.T
    within: NDArray[np.bool_] = (
        (x > left - reach) & (x < right + reach) & (y > bottom - reach) & (y < top + reach)
    )
    return within
