"""The columns of a source that were filled in after its rows: the times of what happened later, and what came with them.

A time column whose values all lie before the extract was cut records what has happened. If a row states a later time than the
instant, that cell was still empty then, and so were the columns that have a value only in rows with that time. A column with
values after the cut holds planned times (a due date, the end of a contract), which are known in advance.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from feature_repo.files.duck import identifier, instant, literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import duckdb

    from core.plan.ingest import Source
    from core.plan.plan import Plan

#: Names of the time at which a row arrived, and of the time at which its values were last changed.
_ARRIVED = re.compile(
    r"^(created|known|loaded|inserted|ingested|recorded|uploaded|arrived)(_|$)|_(loaded|ingested)_at$"
)
_UPDATED = re.compile(r"^(last_)?(updated?|modified|changed|edited|revised|amended)(_|$)")
_TIME_TYPES = ("DATE", "TIMESTAMP")
#: Probability from which on values only in rows with a time are no coincidence.
_NO_COINCIDENCE = 1e-6


@dataclass(frozen=True)
class LaterTimes:
    """The columns of a source with later times.

    Attributes
    ----------
    arrived : times at which rows became known.
    updated : times at which the values of rows last changed.
    happened : times of what happened after the row, each with the columns that have values only in rows with that time.

    """

    arrived: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    happened: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Counts:
    """The counts of a time column: rows without it, rows that it precedes, and values of each other column without it."""

    nulls: int
    earlier: int
    is_planned: bool
    without: Mapping[str, int]


def later_times(connection: duckdb.DuckDBPyConnection, plan: Plan, name: str, files: str) -> LaterTimes:
    """Return the columns with later times of the source `name`, whose accepted rows are in `files`.

    Parameters
    ----------
    files : the pattern of the files of its accepted rows.

    """
    source, relation = plan.ingest[name], f"read_parquet({literal(files)})"
    types = {str(row[0]): str(row[1]) for row in connection.execute(f"DESCRIBE FROM {relation}").fetchall()}
    columns = [column for column in source.ingested().columns if column in types]
    stated = {time.column for time in source.times} | _declared_ends(plan, name)
    times = [column for column in columns if types[column].startswith(_TIME_TYPES) and column not in stated]
    if not times:
        return LaterTimes()
    values = _values(connection, relation, columns)
    counts = {time: _counted(connection, relation, time, columns, _cut(plan, source)) for time in times}
    recorded = {time: found for time, found in counts.items() if not found.is_planned}
    if source.event_time is None:
        return LaterTimes(happened=_happened({time: one for time, one in recorded.items() if one.nulls}, values))
    arrived = [time for time, one in recorded.items() if _ARRIVED.search(time) and not (one.nulls or one.earlier)]
    updated = [time for time, one in recorded.items() if _UPDATED.search(time) and not one.earlier]
    others = {time: one for time, one in recorded.items() if time not in {*arrived, *updated}}
    return LaterTimes(tuple(arrived), tuple(updated), _happened(others, values))


def _declared_ends(plan: Plan, name: str) -> set[str]:
    """Return the columns that the plan declares as the end of a row's validity, which is known in advance."""
    features = [
        feature.valid_until
        for view in plan.build_features.views.values()
        for feature in view.features.values()
        if (feature.source or view.source) == name
    ]
    return {column for column in (plan.ingest[name].valid_until, *features) if column}


def _cut(plan: Plan, source: Source) -> datetime:
    """Return when the extract was cut; a table without times is taken to be as old as the latest of the others."""
    if source.event_time is not None:
        return source.observed_until
    return max(one.observed_until for one in plan.ingest.values() if one.event_time is not None)


def _values(connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> dict[str, float]:
    """Return the share of rows with a value, by column."""
    chosen = ", ".join(f"count({identifier(column)}) / greatest(count(*), 1)" for column in columns)
    (row,) = connection.execute(f"SELECT {chosen} FROM {relation}").fetchall()
    return dict(zip(columns, map(float, row), strict=True))


def _counted(
    connection: duckdb.DuckDBPyConnection, relation: str, time: str, columns: Sequence[str], cut: datetime
) -> _Counts:
    column = identifier(time)
    others = [other for other in columns if other != time]
    without = "".join(f", count({identifier(other)}) FILTER ({column} IS NULL)" for other in others)
    value = f"CAST({column} AS TIMESTAMPTZ)"
    ((nulls, earlier, planned, *found),) = connection.execute(
        f"SELECT count(*) FILTER ({column} IS NULL), count(*) FILTER ({value} < date_trunc('day', event_timestamp)), "
        f"count(*) FILTER ({value} > {instant(cut)}){without} FROM {relation}"
    ).fetchall()
    return _Counts(nulls, earlier, planned > 0, dict(zip(others, found, strict=True)))


def _happened(times: Mapping[str, _Counts], shares: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """Return the columns that came with each time; of several times, a column came with the one that fewest rows have."""
    found: dict[str, list[str]] = {time: [] for time in times}
    for column in shares.keys() - times.keys():
        able = [time for time, counts in times.items() if _came_with(column, counts, shares[column])]
        if able:
            found[max(able, key=lambda time: (times[time].nulls, time))].append(column)
    return {time: tuple(sorted(columns)) for time, columns in found.items()}


def _came_with(column: str, counts: _Counts, share: float) -> bool:
    """Return whether a column has no value in any row without the time, and such rows are too many for a coincidence."""
    return not counts.without[column] and (1 - share) ** counts.nulls < _NO_COINCIDENCE
