"""Figures of an evaluation as SVG text that an HTML page can embed; equal numbers give equal bytes."""

from __future__ import annotations

import io
import re
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from models.measures.intervals import Estimate
    from models.measures.money import MoneyResult

#: The colours of the best candidate and of the others (after Okabe and Ito, distinguishable with colour blindness).
BEST = "#0b5cad"
OTHERS = ("#d55e00", "#009e73", "#cc79a7", "#8c6d1f", "#56b4e9", "#7f7f7f")
_INK, _FAINT, _GRID = "#1f2933", "#9aa5b1", "#e4e7eb"
#: The CSS variables of the page's colours, so that a figure follows its light or dark mode.
_CSS_VARIABLES = {_INK: "var(--ink)", _FAINT: "var(--faint)", _GRID: "var(--line)", BEST: "var(--blue)"}
_STYLE: Any = {
    "svg.hashsalt": "panthera",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "text.color": _INK,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


class _Canvas:
    """A figure with one pair of axes; `svg` is its text once the context has closed."""

    def __init__(self, figure: Any, axes: Any) -> None:
        self.figure, self.axes, self.svg = figure, axes, ""


@contextmanager
def _canvas(width: float, height: float) -> Iterator[_Canvas]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        canvas = _Canvas(figure, figure.subplots())
        yield canvas
        text = io.StringIO()
        bare = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=bare, transparent=True)
    # Without the XML declaration, which HTML does not allow.
    drawn = _with_own_ids(text.getvalue()[text.getvalue().index("<svg") :])
    for colour, name in _CSS_VARIABLES.items():
        drawn = drawn.replace(colour, name)
    canvas.svg = drawn


def _with_own_ids(drawn: str) -> str:
    """Return the figure without ids that nothing refers to, and with others that no other figure of a page has."""
    own = f"f{zlib.crc32(drawn.encode()):08x}-"
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', drawn))
    kept = re.sub(r' id="([^"]+)"', lambda found: f' id="{own}{found[1]}"' if found[1] in used else "", drawn)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{own}", kept)


def curves(
    by_candidate: Mapping[str, NDArray[np.float64]],
    labels: tuple[str, str],
    *,
    diagonal: bool = False,
    level: float | None = None,
    marks: bool = False,
    ranges: bool = True,
) -> str:
    """Return a figure with one curve per candidate, the best (first) on top.

    `diagonal` and `level` add a dashed line of random guessing. `ranges` fixes both axes to 0 to 1; `marks` shows the points.
    """
    with _canvas(4.6, 3.9) as canvas:
        axes = canvas.axes
        if diagonal:
            ends = (0.0, 1.0) if ranges else _ends(by_candidate)
            axes.plot(ends, ends, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)))
        if level is not None:
            axes.axhline(level, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)))
        for index, (name, points) in reversed(list(enumerate(by_candidate.items()))):
            colour = BEST if index == 0 else OTHERS[(index - 1) % len(OTHERS)]
            width = 2.2 if index == 0 else 1.2
            axes.plot(
                *points.T, color=colour, linewidth=width, label=name, marker="o" if marks else None, markersize=3.5
            )
        axes.set(xlabel=labels[0], ylabel=labels[1])
        if ranges:
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
        handles, names = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], names[::-1], fontsize=9)
    return canvas.svg


def _ends(by_candidate: Mapping[str, NDArray[np.float64]]) -> tuple[float, float]:
    values = np.concatenate(list(by_candidate.values()))
    return float(values.min()), float(values.max())


def profit(money: MoneyResult) -> str:
    """Return a figure of the profit by share of customers contacted, with pointwise intervals and the threshold in use."""
    share = 100 * np.array([point.share for point in money.curve])
    value, lower, upper = (
        np.array([getattr(point.profit, name) for point in money.curve]) for name in ("value", "lower", "upper")
    )
    with _canvas(7.4, 3.9) as canvas:
        axes = canvas.axes
        axes.fill_between(share, lower, upper, color=BEST, alpha=0.15, linewidth=0)
        axes.plot(share, value, color=BEST, linewidth=2.2)
        axes.axhline(0, color=_INK, linewidth=0.8)
        axes.axvline(100 * money.share, color=OTHERS[0], linewidth=1.4)
        left = money.share < 1 / 2
        axes.annotate(
            "threshold in use",
            (100 * money.share, 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(4 if left else -4, 0),
            textcoords="offset points",
            ha="left" if left else "right",
            color=OTHERS[0],
            fontsize=9,
        )
        unit = f" ({money.currency})" if money.currency else ""
        axes.set(
            xlim=(0, 100), xlabel="customers contacted, highest scores first (%)", ylabel=f"profit per 1,000{unit}"
        )
    return canvas.svg


def bars(names: Sequence[str], values: Sequence[float], label: str) -> str:
    """Return a figure of horizontal bars, the first on top."""
    with _canvas(7.4, 0.55 + 0.27 * len(names)) as canvas:
        axes = canvas.axes
        axes.barh(range(len(names)), values, color=BEST, height=0.62)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=label)
    return canvas.svg


def interval_plot(names: Sequence[str], found: Sequence[Estimate], label: str, overall: float) -> str:
    """Return a figure with one value and its interval per line, and `overall` as a dashed vertical line."""
    with _canvas(7.4, 0.6 + 0.27 * len(names)) as canvas:
        axes = canvas.axes
        axes.axvline(overall, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)))
        for line, one in enumerate(found):
            axes.plot([one.lower, one.upper], [line, line], color=BEST, linewidth=2, alpha=0.45)
            axes.plot(one.value, line, "o", color=BEST, markersize=5)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=label)
    return canvas.svg


def course(
    times: Sequence[datetime],
    values: NDArray[np.float64],
    margins: NDArray[np.float64],
    label: str,
) -> str:
    """Return a figure of a value over time with a band of `margins` around it, and a dashed line at 0."""
    with _canvas(7.4, 3.6) as canvas:
        axes = canvas.axes
        axes.axhline(0, color=_FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.fill_between(times, values - margins, values + margins, color=BEST, alpha=0.14, linewidth=0)
        axes.plot(times, values, color=BEST, linewidth=2.2, marker="o" if len(times) == 1 else None)
        axes.set(ylabel=label)
        axes.tick_params(axis="x", labelrotation=30)
    return canvas.svg
