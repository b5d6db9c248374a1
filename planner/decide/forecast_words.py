"""A forecast in words: statements that are stated, measured or assumed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from planner.decide.deviations import CANDIDATES_SHARE, PERIODS_SHARE
from planner.document.parts import Row, Statement, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planner.decide.deviations import Deviations
    from planner.decide.forecast import Baseline, Forecast, Gate, Interval

#: More rows than this multiple of those at hand are not forecast.
MOST_TIMES = 10


def forecast_statements(found: Forecast) -> tuple[Statement, ...]:
    """Return the verdict, then what it rests on."""
    verdict = Statement(forecast_verdict(found), "measured")
    if found.interval is None:
        return (verdict,)
    return verdict, *_of_learner(found, found.interval), *_of_deviations(found.interval.deviations)


def curve_table(metric: str, interval: Interval) -> Table:
    """Return the table of the learning curve."""
    rows = [Row((f"{rows:,}", f"{score:.4g}"), "measured") for rows, score in interval.curve]
    return Table(f"Learning curve of {interval.learner}", ("training rows", metric), tuple(rows))


def forecast_verdict(found: Forecast) -> str:
    """Compose the interval of the score, or why there is none."""
    if found.interval is None:
        return f"Nothing can be said about {found.metric} on the test rows: {found.why_not}."
    one = found.interval
    return (
        f"{found.metric} on the {found.test_rows:,} test rows will be between {one.lower:.3g} and {one.upper:.3g} with "
        f"probability {100 * one.confidence:.0f} %; expected {one.expected:.3g}."
    )


def _of_learner(found: Forecast, interval: Interval) -> Iterator[Statement]:
    yield Statement(f"The best fast learner is {interval.learner}; no label of a test row was read.", "measured")
    if interval.baseline is None:
        yield Statement("The baseline is an ensemble or cannot be fitted, and is not compared.", "measured")
    else:
        yield from _of_baseline(found, interval.baseline)


def _of_baseline(found: Forecast, baseline: Baseline) -> Iterator[Statement]:
    yield Statement(f"The baseline {baseline.name} has {baseline.score:.3g} on the same rows.", "measured")
    if baseline.gate is None:
        yield Statement("No fast learner is better than the baseline.", "measured")
        return
    yield Statement(_beats(baseline, found.train_rows), "measured")
    yield Statement(_passes(baseline.gate, found.test_rows), "measured")


def _beats(baseline: Baseline, train_rows: int) -> str:
    if baseline.rows_to_beat > MOST_TIMES * train_rows:
        return f"It does not beat the baseline within {MOST_TIMES} x the {train_rows:,} training rows."
    return f"It beats the baseline with {math.ceil(baseline.rows_to_beat):,} training rows; there are {train_rows:,}."


def _passes(gate: Gate, test_rows: int) -> str:
    margin = f" by {gate.win_by:g}" if gate.win_by else ""
    wins = f"With the baseline as champion, the gate sees that it wins in {gate.metric}{margin}"
    found = f"the difference is {gate.difference:.2g} with a standard deviation of {gate.deviation:.2g}"
    if gate.test_rows > MOST_TIMES * test_rows:
        return f"{wins} not within {MOST_TIMES} x the {test_rows:,} test rows; {found}."
    return f"{wins} with {math.ceil(gate.test_rows):,} test rows; there are {test_rows:,}, and {found}."


def _of_deviations(deviations: Deviations) -> Iterator[Statement]:
    """Yield how wide the interval is for which reason."""
    sampled = f"{deviations.checked:.2g} for the rows checked, {deviations.tested:.2g} for the test rows"
    yield Statement(f"Standard deviations by sampling: {sampled}.", "measured")
    if deviations.periods:
        measured = f"measured on {deviations.periods_measured} earlier periods and " * bool(deviations.periods_measured)
        yield Statement(
            f"Standard deviation for the change between periods: {deviations.periods:.2g}, {measured}assumed as "
            f"{100 * PERIODS_SHARE:.0f} % of the gain over a constant.",
            "assumed",
        )
    if deviations.curve:
        yield Statement(
            f"Standard deviation for the rows beyond the sample: {deviations.curve:.2g}, half of what a power law adds.",
            "assumed",
        )
    if deviations.candidates:
        yield Statement(
            f"Standard deviation for small trees in the place of slow candidates: {deviations.candidates:.2g}, "
            f"{100 * CANDIDATES_SHARE:.0f} % of the gain over a constant.",
            "assumed",
        )
    yield Statement("The test rows are like those checked: the same kind of entities, the same label.", "assumed")
