"""Drift of a column: the population stability index (PSI) over fixed bins, and the limit above which it raises an alarm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.json_text import plain
from core.reference import BinCounts
from core.terminal import terminal_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from rich.table import Table

    from core.reference import Reference
    from monitoring.changes.separation import ServedSeparation
    from monitoring.report import DriftReport

#: Added to each bin, so that the logarithm of an empty bin is finite: the estimator of Krichevsky and Trofimov (1981).
_SMOOTHING = 0.5
_NO_DRIFT_QUANTILE = 0.95
#: A column with fewer bins has few values, or mostly one, and no unit that a jump would show.
_BINS_OF_A_SCALE = 5
#: A bin with more of the rows holds one frequent value, such as 0, beside which the scale begins.
_LARGEST_SHARE_OF_AN_END = 0.15


@dataclass(frozen=True)
class ColumnDrift:
    """The drift of a column: its current rows compared with its reference.

    Attributes
    ----------
    psi : population stability index; NaN without current rows.
    limit : the PSI above which the alarm is raised.
    missing_share_reference, missing_share_current : share of rows without a value.
    other_share_current : share of rows with a level that does not occur in training, or a value of another type.
    expected : the plan's reason why the values are expected to move, or empty. With a reason, a shift among the values raises
        no alarm; a shift to missing or other values still does.
    end_share_rise : rise of the share of present values in the first or the last bin of the scale, whichever is larger; 0 for
        a column of other values than numbers (times move on by themselves), or with fewer than five bins. A change of the unit
        brings most values there.

    """

    name: str
    psi: float
    limit: float
    alarm: bool
    missing_share_reference: float
    missing_share_current: float
    other_share_current: float
    rows_reference: int
    rows_current: int
    expected: str = ""
    end_share_rise: float = 0.0

    @property
    def moved_as_expected(self) -> bool:
        """Whether the PSI exceeds its limit without an alarm, since the plan expects it."""
        return bool(self.expected) and not self.alarm and not self.psi <= self.limit


@dataclass(frozen=True)
class DriftResult:
    """The drift of every feature and of the score of one release, as served in (`start`, `end`]; None is unbounded.

    `report` is the HTML report, if one was requested. `together` is how well all columns together tell served rows from
    training rows; None if there are too few.
    """

    release_id: str
    start: datetime | None
    end: datetime | None
    columns: tuple[ColumnDrift, ...]
    report: DriftReport | None = None
    together: ServedSeparation | None = None

    @property
    def alarms(self) -> tuple[str, ...]:
        """The names of the columns with an alarm."""
        return tuple(column.name for column in self.columns if column.alarm)

    @property
    def moved_as_expected(self) -> tuple[str, ...]:
        """The names of the columns that drifted as the plan expects."""
        return tuple(column.name for column in self.columns if column.moved_as_expected)

    @property
    def summary(self) -> str:
        """One sentence: how many columns drifted, and how many as expected."""
        sentence = f"{len(self.alarms)} of {len(self.columns)} columns drifted"
        if not self.moved_as_expected:
            return sentence
        return f"{sentence}; {len(self.moved_as_expected)} more moved as the plan expects (monitor.expected_drift)"

    @property
    def reasons(self) -> tuple[str, ...]:
        """The plan's reasons for the columns that moved as expected, each once."""
        return tuple(dict.fromkeys(column.expected for column in self.columns if column.moved_as_expected))

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types: instants as ISO 8601, NaN as None."""
        return {
            "release_id": self.release_id,
            "start": plain(self.start),
            "end": plain(self.end),
            "alarms": list(self.alarms),
            "moved_as_expected": list(self.moved_as_expected),
            "report": self.report and str(self.report.path),
            "report_leaves_out": list(self.report.dropped) if self.report else [],
            "together": self.together and plain(self.together),
            "columns": {
                column.name: {key: value for key, value in plain(column).items() if key != "name"}
                for column in self.columns
            },
        }

    def table(self) -> Table:
        """Return a terminal table of the columns, the largest PSI first."""
        from rich.text import Text

        together = [self.together.sentence] if self.together else []
        summary = "\n".join([self.summary, *(f"expected: {reason}" for reason in self.reasons), *together])
        measures = ("PSI", "limit", "missing then", "missing now", "other now", "rows")
        table = terminal_table(
            "column",
            *measures,
            "",
            numbers=measures,
            title=f"Drift of {self.release_id}",
            caption=f"{summary}\nreport: {self.report.path}" if self.report else summary,
        )
        for column in sorted(self.columns, key=lambda column: -column.psi):
            table.add_row(
                column.name,
                f"{column.psi:.4f}",
                f"{column.limit:.4f}",
                f"{column.missing_share_reference:.1%}",
                f"{column.missing_share_current:.1%}",
                f"{column.other_share_current:.1%}",
                str(column.rows_current),
                Text("drift", style="red") if column.alarm else "expected" if column.moved_as_expected else "",
            )
        return table


def population_stability_index(reference: BinCounts, current: BinCounts) -> float:
    r"""Return the population stability index of two distributions over the same bins.

    PSI = sum over the B bins of (p - q) ln(p / q), with p = (c + 1/2) / (n + B/2) and q = (r + 1/2) / (m + B/2) for the
    c of n current and r of m reference rows in a bin. The bins are the regular ones, other and missing, without bins that
    are empty on both sides. PSI is symmetric, 0 for equal shares, and has no unit.

    Undefined (NaN) when one side has no rows.

    References
    ----------
    Kullback, S., & Leibler, R. A. (1951). On information and sufficiency (their divergence J). Annals of Mathematical
    Statistics, 22(1). Siddiqi, N. (2006). Credit Risk Scorecards (its use as a stability index). Wiley.
    Krichevsky, R., & Trofimov, V. (1981). The performance of universal encoding (adding one half).

    Examples
    --------
    >>> from core.reference import BinCounts
    >>> round(population_stability_index(BinCounts((50, 50), 0, 0), BinCounts((25, 75), 0, 0)), 6)
    0.268677

    """
    bins = _bins_in_use(reference, current)
    n, m, half = current.rows, reference.rows, _SMOOTHING * len(bins)
    if not (n and m):
        return math.nan
    shares = [((c + _SMOOTHING) / (n + half), (r + _SMOOTHING) / (m + half)) for r, c in bins]
    return sum((p - q) * math.log(p / q) for p, q in shares)


def psi_without_drift(reference: BinCounts, current: BinCounts) -> float:
    """Return the value that PSI exceeds in 5 % of windows of this size if nothing has drifted.

    For samples of n and m rows from one distribution over B bins, PSI / (1/n + 1/m) is approximately chi-square with
    B - 1 degrees of freedom. With B = 10 and a large reference the 95 % point is 16.919/n: 0.085 at n = 200, 0.017 at
    n = 1,000. The approximation needs several expected rows in each bin; with fewer rows it is too high.

    Undefined (NaN) when one side has no rows.

    References
    ----------
    Yurdakul, B., & Naranjo, J. (2020). Statistical properties of the population stability index. Journal of Risk Model
    Validation, 14(4).

    """
    from scipy.special import chdtri

    n, m, bins = current.rows, reference.rows, len(_bins_in_use(reference, current))
    if not (n and m):
        return math.nan
    return float(chdtri(bins - 1, 1 - _NO_DRIFT_QUANTILE)) * (1 / n + 1 / m) if bins > 1 else 0.0


def _bins_in_use(reference: BinCounts, current: BinCounts) -> list[tuple[int, int]]:
    return [pair for pair in zip(reference.every_bin, current.every_bin, strict=True) if any(pair)]


def column_drift(
    name: str, reference: BinCounts, current: BinCounts, alarm: float, expected: str = "", *, is_number: bool = False
) -> ColumnDrift:
    """Return the drift of a column: its current counts compared with its reference.

    The limit is the larger of `alarm` and `psi_without_drift`. In a small window, at most about 5 % of the columns therefore
    raise a false alarm. In a large window, false alarms are rarer: at n = 1,000, sampling noise yields a PSI of 0.1 less than
    once in a million.
    """
    psi, limit = _psi_and_limit(reference, current, alarm)
    tested_psi, tested_limit = psi, limit
    if expected:
        tested_psi, tested_limit = _psi_and_limit(_presence(reference), _presence(current), alarm)
    return ColumnDrift(
        name=name,
        psi=psi,
        limit=limit,
        alarm=not tested_psi <= tested_limit,
        missing_share_reference=_share(reference.missing, reference.rows),
        missing_share_current=_share(current.missing, current.rows),
        other_share_current=_share(current.other, current.rows),
        rows_reference=reference.rows,
        rows_current=current.rows,
        expected=expected,
        end_share_rise=_end_share_rise(reference.regular, current.regular) if is_number else 0.0,
    )


def _end_share_rise(reference: Sequence[int], current: Sequence[int]) -> float:
    rows, now = sum(reference), sum(current)
    ends = [index for index, count in enumerate(reference) if 0 < count <= _LARGEST_SHARE_OF_AN_END * rows]
    if len(ends) < _BINS_OF_A_SCALE or not now:
        return 0.0
    return max(current[end] / now - reference[end] / rows for end in (ends[0], ends[-1]))


def _psi_and_limit(reference: BinCounts, current: BinCounts, alarm: float) -> tuple[float, float]:
    return population_stability_index(reference, current), max(alarm, psi_without_drift(reference, current))


def _presence(counts: BinCounts) -> BinCounts:
    """Return the counts with all regular bins merged into one."""
    return BinCounts((sum(counts.regular),), counts.other, counts.missing)


def _share(count: int, rows: int) -> float:
    return count / rows if rows else math.nan


def columns_drift(
    reference: Reference, current: Mapping[str, BinCounts], alarm: float, expected: Mapping[str, str]
) -> tuple[ColumnDrift, ...]:
    """Return the drift of every column of `reference`; `expected` has the plan's reasons by column name."""
    return tuple(
        column_drift(
            column.name,
            column.counts,
            current[column.name],
            alarm,
            expected.get(column.name, ""),
            is_number=column.kind == "numeric",
        )
        for column in reference.columns
    )
