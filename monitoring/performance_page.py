"""The performance of served predictions as a terminal table and as an HTML page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from core.files import write_whole
from core.terminal import terminal_table
from models.measures.intervals import Estimate
from models.reports import html
from monitoring.cbpe import ASSUMPTION
from monitoring.concept_drift import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rich.table import Table

    from monitoring.performance import CohortPerformance, PerformanceResult

_NONE = Estimate(np.nan, np.nan, np.nan)
_COUNTS = ("predictions", "known", "unmatched")
_COUNT_COLUMNS = ("cohort", "state", *_COUNTS, "offset", "CUSUM")


def performance_table(result: PerformanceResult) -> Table:
    """Return a terminal table of the cohorts: counts, the main metrics and the sums of the CUSUM."""
    metrics = tuple(shown_metrics(result))
    names = [name for metric in metrics for name in _headings(result, metric)]
    columns = (*_COUNTS, *names, "offset", "CUSUM")
    table = terminal_table(
        *(result.period, "state", *columns),
        numbers=columns,
        title=f"Performance of {result.release_id} as of {result.as_of:%Y-%m-%d %H:%M} UTC",
        caption="\n".join(remarks(result)),
    )
    for cohort in result.cohorts:
        found = [_text(each.get(metric, _NONE)) for metric in metrics for each in _sides(result, cohort)]
        counts = [f"{cohort.predictions:,}", *_if_mature(cohort, f"{cohort.known:,}", f"{cohort.unmatched:,}")]
        table.add_row(
            *(
                f"{cohort.start:%Y-%m-%d}",
                cohort.state,
                *counts,
                *found,
                _text(cohort.offset),
                f"{_largest(cohort):.1f}",
            )
        )
    return table


def shown_metrics(result: PerformanceResult) -> Iterator[str]:
    """Yield the metrics of the table: the plan's primary metric, and what a binary problem promises."""
    named = (result.primary, "roc_auc", "positives") if result.problem == "binary" else (result.primary, "accuracy")
    present = {name for cohort in result.cohorts for name in (*cohort.realised, *cohort.estimated)}
    yield from (metric for metric in dict.fromkeys(named) if metric in present)


def remarks(result: PerformanceResult) -> Iterator[str]:
    """Yield the lines below the table."""
    yield result.verdict
    yield f"reference of the estimates: {result.reference}"
    if result.problem == "binary":
        yield f"an estimate {ASSUMPTION}; the CUSUM's limit is {LIMIT:g}"
    immature = [cohort.predictions for cohort in result.cohorts if cohort.state == "immature"]
    if immature:
        yield f"{len(immature)} cohorts with {sum(immature):,} predictions are immature: their outcomes do not count yet"
    replays = sum(cohort.replays for cohort in result.cohorts)
    if replays:
        yield f"{replays:,} of the predictions are replays: they were made as of a past instant"


def _headings(result: PerformanceResult, metric: str) -> list[str]:
    return [f"{metric} estimated", metric] if result.problem == "binary" else [metric]


def _sides(result: PerformanceResult, cohort: CohortPerformance) -> list[Mapping[str, Estimate]]:
    return [cohort.estimated, cohort.realised] if result.problem == "binary" else [cohort.realised]


def _if_mature(cohort: CohortPerformance, *texts: str) -> list[str]:
    return [text if cohort.state != "immature" else "" for text in texts]


def _largest(cohort: CohortPerformance) -> float:
    sums = (cohort.level.upper, cohort.level.lower, cohort.discrimination.upper, cohort.discrimination.lower)
    return max(sums)


def _text(found: Estimate) -> str:
    if not np.isfinite(found.value):
        return ""
    bounds = f" [{found.lower:.4g}, {found.upper:.4g}]" if np.isfinite(found.lower) else ""
    return f"{found.value:.4g}{bounds}"


def write_performance_page(result: PerformanceResult, path: Path) -> None:
    """Write the result to `path` as one HTML file: the verdict, and every metric of every cohort."""
    names = list(dict.fromkeys(name for cohort in result.cohorts for name in (*cohort.estimated, *cohort.realised)))
    sections = [
        html.section("Verdict", *(f"<p>{escape(line)}</p>" for line in remarks(result))),
        html.section(
            "Cohorts", html.table(["cohort", "state", *_COUNTS, "offset", "CUSUM"], map(_count_cells, result.cohorts))
        ),
        *(html.section(escape(name), _metric_cells(result, name)) for name in names),
    ]
    title = f"Performance of {result.release_id}"
    write_whole(path, html.page(title, [f"<header><h1>{escape(title)}</h1></header>", *sections]))


def _count_cells(cohort: CohortPerformance) -> list[str]:
    counts = [f"{cohort.predictions:,}", *_if_mature(cohort, f"{cohort.known:,}", f"{cohort.unmatched:,}")]
    offset = html.estimate_cell(cohort.offset)
    return [f"{cohort.start:%Y-%m-%d}", cohort.state, *counts, offset, f"{_largest(cohort):.1f}"]


def _metric_cells(result: PerformanceResult, metric: str) -> str:
    rows = (
        [
            f"{cohort.start:%Y-%m-%d}",
            html.estimate_cell(cohort.estimated.get(metric, _NONE)),
            html.estimate_cell(cohort.realised.get(metric, _NONE)),
        ]
        for cohort in result.cohorts
    )
    return html.table(["cohort", "estimated", "realised"], rows)
