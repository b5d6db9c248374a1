"""The status of the online tables: their rows, ages and expired shares, and the runs that filled them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import sql

from core.clock import TOLERATED_AHEAD
from core.json_text import plain
from core.plan.times import WITHOUT_TIME
from core.terminal import terminal_table
from feature_repo.online import history
from feature_repo.online.table import SCHEMA
from feature_repo.online.tables import exists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg
    from rich.table import Table

    from feature_repo.online.history import Run
    from feature_repo.online.table import OnlineTable
    from feature_repo.upkeep.tables_in_use import Unfilled

_RUNS_SHOWN = 5

_COPYING = """
SELECT coalesce(sum(tuples_processed), 0) FROM pg_stat_progress_copy
WHERE datname = current_database() AND command = 'COPY FROM'
"""

_ROWS = """
SELECT count(*), count(*) FILTER (WHERE event_timestamp < %s), min(event_timestamp), max(event_timestamp),
    count(*) FILTER (WHERE greatest(event_timestamp, created_timestamp) > %s)
FROM {}
"""


@dataclass(frozen=True)
class ViewStatus:
    """The status of one view.

    Attributes
    ----------
    rows : the number of online rows; None if the view has no table yet.
    watermark : everything knowable up to this instant is online; None before the first run.
    age_seconds : the age of the watermark.
    oldest_event, newest_event : the earliest and the latest event time of the rows.
    expired_share : the share of rows older than the view's ttl; NaN without rows.
    future_rows : the number of rows with a time ahead of the clock, which block later rows of their entities.
    runs : the last runs, newest first.

    """

    view: str
    online_table: str
    ttl_seconds: float
    rows: int | None
    watermark: datetime | None
    age_seconds: float | None
    oldest_event: datetime | None
    newest_event: datetime | None
    expired_share: float
    future_rows: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class FeaturesStatus:
    """The status of all views at an instant.

    Attributes
    ----------
    as_of : the instant.
    copying_rows : the number of rows that a running materialization has copied so far.
    retired : tables of earlier versions of views, kept as long as a release needs them.
    unfilled : tables that a release with a role reads and that no run fills any more.

    """

    as_of: datetime
    views: tuple[ViewStatus, ...]
    copying_rows: int
    retired: tuple[str, ...]
    unfilled: tuple[Unfilled, ...]

    @property
    def missing(self) -> list[str]:
        """The views without online rows."""
        return [view.view for view in self.views if not view.rows]

    @property
    def future(self) -> dict[str, int]:
        """The number of rows ahead of the clock, by view, without zeros."""
        return {view.view: view.future_rows for view in self.views if view.future_rows}

    def to_dict(self) -> dict[str, object]:
        """Return the status for JSON."""
        return {
            "as_of": plain(self.as_of),
            "views": plain(self.views),
            "copying_rows": self.copying_rows,
            "retired": list(self.retired),
            "unfilled": [table.to_dict() for table in self.unfilled],
        }

    def table(self) -> Table:
        """Return the status as a terminal table."""
        table = terminal_table(
            "view",
            "rows",
            "watermark",
            "events",
            "expired",
            "last run",
            numbers=("rows", "expired"),
            title="Features online",
        )
        for view in self.views:
            table.add_row(
                view.view,
                f"{view.rows:,}" if view.rows is not None else "none; run `dvc repro`",
                f"{_day(view.watermark)}, {_age(view.age_seconds)} old" if view.age_seconds is not None else "",
                f"{_day(view.oldest_event)} to {_day(view.newest_event)}" if view.newest_event else "",
                f"{view.expired_share:.1%}" if view.rows else "",
                _run_text(view.runs[0]) if view.runs else "never",
            )
        notes = [
            f"{view}: {rows:,} rows are from the future and block later ones; `dvc repro -f -s materialize` replaces them"
            for view, rows in self.future.items()
        ]
        if self.copying_rows:
            notes.append(f"a run is under way: {self.copying_rows:,} rows copied so far")
        table.caption = "\n".join([*notes, *map(str, self.unfilled)]) or None
        return table


def read_features_status(
    connection: psycopg.Connection,
    views: Mapping[str, tuple[OnlineTable, timedelta]],
    unfilled: Sequence[Unfilled],
    now: datetime,
) -> FeaturesStatus:
    """Return the status of the online table of every view.

    Parameters
    ----------
    views : the table and ttl of each view, by name.
    unfilled : tables that no run fills any more.

    """
    statuses = tuple(_view_status(connection, name, table, ttl, now) for name, (table, ttl) in views.items())
    copying = connection.execute(_COPYING).fetchone()
    return FeaturesStatus(
        now, statuses, int(copying[0]) if copying else 0, tuple(history.retired(connection)), tuple(unfilled)
    )


def count_future_rows(connection: psycopg.Connection, name: str, now: datetime) -> int:
    """Return the number of rows of an online table that are ahead of the clock at `now`."""
    statement = sql.SQL("SELECT count(*) FROM {} WHERE greatest(event_timestamp, created_timestamp) > %s")
    row = connection.execute(statement.format(sql.Identifier(SCHEMA, name)), [now + TOLERATED_AHEAD]).fetchone()
    return int(row[0]) if row else 0


def _view_status(
    connection: psycopg.Connection, name: str, table: OnlineTable, ttl: timedelta, now: datetime
) -> ViewStatus:
    counted: tuple[Any, ...] | None = None
    if exists(connection, table.name):
        statement = sql.SQL(_ROWS).format(sql.Identifier(SCHEMA, table.name))
        counted = connection.execute(statement, [now - ttl, now + TOLERATED_AHEAD]).fetchone()
    rows, expired, oldest, newest, future = counted or (None, 0, None, None, 0)
    mark = _shown(history.watermark(connection, table.name))
    return ViewStatus(
        view=name,
        online_table=table.name,
        ttl_seconds=ttl.total_seconds(),
        rows=rows,
        watermark=mark,
        age_seconds=(now - mark).total_seconds() if mark else None,
        oldest_event=_shown(oldest),
        newest_event=_shown(newest),
        expired_share=expired / rows if rows else float("nan"),
        future_rows=future,
        runs=tuple(history.runs(connection, table.name, _RUNS_SHOWN)),
    )


def _shown(time: datetime | None) -> datetime | None:
    """Return a time that a table has: one without times has none."""
    return None if time == WITHOUT_TIME else time


def _day(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


def _age(seconds: float) -> str:
    age = timedelta(seconds=round(seconds))
    return f"{age.days:,} days" if age.days > 1 else str(age)


def _run_text(run: Run) -> str:
    seconds = (run.finished_at - run.started_at).total_seconds() if run.started_at else 0.0
    rate = f", {run.rows_written / seconds:,.0f} rows/s" if seconds else ""
    return f"{run.kind}, {_day(run.finished_at)}, {run.rows_written:,} rows{rate}"
