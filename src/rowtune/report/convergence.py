"""Six items learn to be three pairs: their paths, and the loss on the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, BinaryIO

import mpl_toolkits.mplot3d  # noqa: F401  (registers the projection "3d")
import numpy as np
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import ArrayLike, NDArray

from rowtune.errors import ShapeError
from rowtune.report.canvas import FONT, LIGHT, Theme, blank, quiet_axes, save, title, write

PAIRS = ((0, 1), (2, 3), (4, 5))
MARKERS = ("o", "s", "^")  # shape as well as colour tells the pairs apart


def convergence(
    trajectory: ArrayLike,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    losses: ArrayLike | None = None,
    every: int = 100,
    labels: Sequence[str] = ("0", "1", "2", "3", "4", "5"),
    theme: Theme = LIGHT,
) -> None:
    """Draw the paths of the six items from where they started to where they ended.

    Items 0 and 1, 2 and 3, 4 and 5 are meant to meet. The unit circle (in 3-D, the unit sphere) is
    drawn because a pair whose dot product is 1 ends on it.

    Parameters
    ----------
    trajectory : (snapshots, 6, 2) or (snapshots, 6, 3)
        Places of the items, the first snapshot before the first step.
    target : path or open binary file
        A path ends in .png, .svg or .pdf; a file receives PNG.
    losses : (snapshots,), optional
        Loss at, or averaged up to, each snapshot; NaN where there is none. Draws a second panel.
    every : int
        Steps between two snapshots.
    labels : six strings
        Written where the items start.
    theme : Theme
        `LIGHT` or `DARK`.

    Raises
    ------
    ShapeError
        A trajectory that is not (snapshots, 6, 2 or 3), losses of another length, not six labels.
    FormatError
        An ending that is none of the three.
    """
    paths, curve = _checked(trajectory, losses, labels)
    figure = blank(12 if curve is not None else 7.5, 7, theme)
    wide = 0.54 if curve is not None else 0.92
    dim = paths.shape[2]
    box = (0.05, 0.06, wide, 0.78)
    if dim == 3:
        axes = figure.add_axes(
            (0.01, 0.02, wide + 0.02, 0.85), projection="3d", computed_zorder=False
        )
        _room(axes, paths, theme)
    else:
        axes = figure.add_axes(box)
        _square(axes, paths, theme)
    _draw_paths(axes, paths, labels, theme)
    write(figure, 0.03, 0.955, f"Six items learn to be three pairs, in {dim}-D", size=15,
          weight="bold", color=theme.ink, va="top")  # fmt: skip
    write(figure, 0.03, 0.905, _finding(paths, every), size=9.5, color=theme.soft, va="top",
          linespacing=1.35)  # fmt: skip
    if curve is not None:
        _draw_loss(figure.add_axes((0.665, 0.12, 0.31, 0.64)), curve, every, theme)
    save(figure, target)


def _checked(
    trajectory: ArrayLike, losses: ArrayLike | None, labels: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    paths = np.asarray(trajectory, np.float64)
    if paths.ndim != 3 or not len(paths) or paths.shape[1] != 6 or paths.shape[2] not in (2, 3):
        raise ShapeError(
            f"the trajectory has shape {paths.shape}; "
            "expected (snapshots, 6, 2) or (snapshots, 6, 3)"
        )
    if len(labels) != 6:
        raise ShapeError(f"{len(labels)} labels came for 6 items; give one for each")
    if losses is None:
        return paths, None
    curve = np.asarray(losses, np.float64)
    if curve.shape != (len(paths),):
        raise ShapeError(
            f"losses have shape {curve.shape}; expected one for each of the {len(paths)} snapshots"
        )
    return paths, curve


def _finding(paths: NDArray[np.float64], every: int) -> str:
    """Say what the last snapshot shows, whatever it is."""
    norms = np.linalg.norm(paths[-1], axis=1)
    pairs = ", ".join(f"{a} & {b}: {(norms[a] + norms[b]) / 2:.2f}" for a, b in PAIRS)
    steps = (len(paths) - 1) * every
    return f"Lengths after {steps:,} steps: {pairs}.\nNumbered rings: starts; filled shapes: ends."


def _square(axes: Any, paths: NDArray[np.float64], theme: Theme) -> None:
    quiet_axes(axes, theme)
    turn = np.linspace(0, 2 * np.pi, 361)
    axes.plot(np.cos(turn), np.sin(turn), color=theme.faint, lw=1.2, zorder=0)
    axes.axhline(0, color=theme.faint, lw=0.6, zorder=0)
    axes.axvline(0, color=theme.faint, lw=0.6, zorder=0)
    reach = max(1.0, np.abs(paths).max()) * 1.12
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")


def _room(axes: Any, paths: NDArray[np.float64], theme: Theme) -> None:
    axes.set_facecolor("none")
    turn = np.linspace(0, 2 * np.pi, 181)
    ring = np.array([np.cos(turn), np.sin(turn), np.zeros_like(turn)])
    for shift in range(3):  # three great circles stand for the sphere
        axes.plot(*np.roll(ring, shift, axis=0), color=theme.faint, lw=1, zorder=1)
    low = np.minimum(paths.min(axis=(0, 1)), -1) - 0.1
    high = np.maximum(paths.max(axis=(0, 1)), 1) + 0.1
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set_box_aspect(high - low, zoom=1.0)  # the same scale on all three axes
    axes.view_init(elev=24, azim=-58)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MultipleLocator(1))
        axis.pane.set_visible(False)
        axis.line.set_color(theme.faint)
        axis._axinfo["grid"].update(color=theme.faint, linewidth=0.4)
    axes.tick_params(colors=theme.soft, labelsize=8, labelfontfamily=FONT)


def _draw_paths(axes: Any, paths: NDArray[np.float64], labels: Sequence[str], theme: Theme) -> None:
    ink = dict(zip(PAIRS, (theme.known, theme.new, theme.third), strict=True))
    for (pair, color), marker in zip(ink.items(), MARKERS, strict=True):
        for item in pair:
            path = paths[:, item]
            ray = np.stack([np.zeros(paths.shape[2]), path[-1]])
            axes.plot(*ray.T, color=color, lw=1, ls=(0, (2, 3)), zorder=1)
            axes.plot(*path.T, color=color, lw=1.4, alpha=0.75, zorder=2)
            axes.scatter(
                *path[:1].T, s=200, marker="o", color=theme.paper, ec=color, lw=1.4, zorder=4
            )
            axes.scatter(
                *path[-1:].T, s=120, marker=marker, color=color, ec=theme.paper, lw=1, zorder=6
            )
            write(axes, *path[0], labels[item], size=9, weight="bold", color=color, ha="center",
                  va="center", zorder=5)  # fmt: skip


def _draw_loss(axes: Any, curve: NDArray[np.float64], every: int, theme: Theme) -> None:
    quiet_axes(axes, theme)
    steps = np.arange(len(curve)) * every
    there = np.isfinite(curve)
    axes.plot(steps[there], curve[there], color=theme.faint, lw=1)
    width = max(1, len(curve) // 25)
    if there.sum() > width:
        total = np.concatenate([[0.0], np.cumsum(curve[there])])
        upto = np.arange(1, len(total))
        since = np.maximum(upto - width, 0)  # the first means are over what there is
        axes.plot(
            steps[there], (total[upto] - total[since]) / (upto - since), color=theme.ink, lw=2
        )
    axes.set_ylim(0, None)
    axes.grid(axis="y", color=theme.faint, lw=0.6, alpha=0.6)
    bins = 4 if steps[-1] < 1e5 else 3
    axes.xaxis.set_major_locator(MaxNLocator(nbins=bins, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    title(axes, theme, "Loss", "absolute error of the dot product, and its running mean")
    write(axes, 0.5, -0.075, "steps", size=9, color=theme.soft, ha="center", va="top",
          transform=axes.transAxes)  # fmt: skip
