"""The offline counterparts of logged rows: features recomputed from accepted rows, and stored snapshots."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from core.clock import TOLERATED_AHEAD
from core.errors import StaleStateError
from core.plan.times import WITHOUT_TIME
from feature_repo.files.datasets import snapshot_glob
from feature_repo.files.duck import files_literal, identifier, literal, open_duckdb
from feature_repo.files.kept_snapshots import versions_of
from feature_repo.views.rows import compute_view
from feature_repo.views.sources import open_view

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import psycopg

    from core.plan.plan import Entity, View
    from feature_repo.views.linked_rows import Linked
    from monitoring.logged_predictions import LoggedPrediction


@dataclass(frozen=True)
class OfflineRow:
    """The offline counterpart of one online row.

    Attributes
    ----------
    recomputed : the features as of the row's event time, or as of the request if no row was read; None if the entity did
        not exist then.
    snapshot : the stored snapshot of that event time or, if no row was read, the one that should have been online; None if
        there is none.
    kept : earlier versions of the snapshots of that event time that were online, from before late or corrected rows.
    pushed : whether the row that was read had been pushed; if no row was read, whether a row after `as_of` had been pushed.
    came_later : whether no row was read because its table, which has no times, did not have the entity yet.
    superseded : whether no row was read because the store held a row after `as_of`. The store keeps only the latest row of
        an entity, so it cannot answer as of a past instant.

    """

    recomputed: Mapping[str, Any] | None
    snapshot: Mapping[str, Any] | None
    kept: Sequence[Mapping[str, Any]] = ()
    pushed: bool = False
    came_later: bool = False
    superseded: bool = False


@dataclass(frozen=True)
class Watermarks:
    """The materializations of a view: when each finished, and its `as_of`; in order of time."""

    finished_at: tuple[datetime, ...] = ()
    as_of: tuple[datetime, ...] = ()

    def at(self, instant: datetime) -> datetime | None:
        """Return the `as_of` of the newest snapshots that were online at `instant`; the minimum if no run had finished.

        None means that no run is recorded at all; then the snapshots that should have been online are not limited.
        """
        if not self.finished_at:
            return None
        done = bisect_right(self.finished_at, instant)
        return max(self.as_of[:done], default=datetime.min.replace(tzinfo=instant.tzinfo))


def fetch_watermarks(connection: psycopg.Connection, online_table: str) -> Watermarks:
    """Fetch the materializations of a view into `online_table`."""
    rows = connection.execute(
        "SELECT finished_at, as_of FROM panthera.materialization "
        "WHERE online_table = %s AND as_of <= finished_at + %s ORDER BY finished_at",
        [online_table, TOLERATED_AHEAD],
    ).fetchall()
    return Watermarks(tuple(row[0] for row in rows), tuple(row[1] for row in rows))


@dataclass(frozen=True)
class Pushes:
    """The (event time, push time) of the pushed rows, by entity."""

    by_entity: Mapping[str, Sequence[tuple[datetime, datetime]]] = field(default_factory=dict)

    def made(self, key: object, event_time: datetime | None, logged: LoggedPrediction) -> bool:
        """Return whether the row of the entity `key` at `event_time` had been pushed when the prediction was logged.

        If the prediction read no row, `event_time` is None: return whether a row after its `as_of` had been pushed.
        """
        return any(
            pushed_at <= logged.logged_at and (event == event_time if event_time else event > logged.as_of)
            for event, pushed_at in self.by_entity.get(str(key), ())
        )


def fetch_pushes(connection: psycopg.Connection, online_tables: Collection[str]) -> Pushes:
    """Fetch the recorded pushes to any of these tables."""
    rows = connection.execute(
        "SELECT entity, array_agg(event_timestamp), array_agg(pushed_at) FROM panthera.pushed_row "
        "WHERE online_table = ANY(%s) AND entity IS NOT NULL GROUP BY entity",
        [list(online_tables)],
    ).fetchall()
    return Pushes({entity: list(zip(events, pushed, strict=True)) for entity, events, pushed in rows})


def recompute(
    name: str,
    view: View,
    entity: Entity,
    predictions: Sequence[LoggedPrediction],
    watermarks: Watermarks,
    *,
    accepted: Path,
    features: Path,
    kept: Sequence[Path] = (),
    linked: Linked | None = None,
    pushes: Pushes | None = None,
) -> list[OfflineRow]:
    """Return the offline counterpart of the row that each of `predictions` read from a view, in their order.

    For a view about a linked entity, the entity is the one in the logged link, if that was fresh.

    Parameters
    ----------
    name, view, entity, linked : the view as the plan declares it, its entity, and the link to that entity.
    accepted, features : the folders of the accepted rows and of the snapshots.
    kept : files of earlier versions of snapshots that were online.
    pushes : the pushes to the view's online table.

    Raises
    ------
    StaleStateError
        If the accepted rows or the snapshots do not exist.

    """
    _require_tables(name, view, entity, linked, accepted, features)
    snapshots = snapshot_glob(features, name)
    logged_rows = _logged_rows(name, entity, linked, predictions, watermarks)
    with open_duckdb() as connection:
        connection.register("logged_rows", logged_rows)
        connection.execute("CREATE TEMP TABLE logged AS FROM logged_rows")
        _compute(connection, view, entity, linked, accepted)
        try:
            offline_rows = _joined(connection, view, entity.key, snapshots)
        except duckdb.BinderException as error:
            raise StaleStateError(
                f"the snapshots of {name!r} in {features} are of another plan ({str(error).splitlines()[0]}); run `dvc repro`"
            ) from None
        superseded = _superseded(connection, entity.key, snapshots)
        kept_versions = _kept(connection, view, entity.key, kept) if kept else {}
        came_later = _came_later(connection, entity.key, versions_of(kept, WITHOUT_TIME))
    recorded, keys = pushes or Pushes(), logged_rows.column(entity.key).to_pylist()
    return [
        replace(
            row,
            kept=kept_versions.get(position, ()),
            pushed=recorded.made(key, logged.event_time(name), logged),
            came_later=position in came_later,
            superseded=position in superseded,
        )
        for position, (row, key, logged) in enumerate(zip(offline_rows, keys, predictions, strict=True))
    ]


def _require_tables(
    name: str, view: View, entity: Entity, linked: Linked | None, accepted: Path, features: Path
) -> None:
    sources = (*view.sources, *entity.sources, *(linked.view.sources if linked else ()))
    for folder in (*(accepted / source for source in sources), features / name):
        if not any(folder.glob("*.parquet")):
            raise StaleStateError(f"no table was found in {folder}; run `dvc repro build_features`, which writes it")


def _compute(
    connection: duckdb.DuckDBPyConnection, view: View, entity: Entity, linked: Linked | None, accepted: Path
) -> None:
    """Compute the features of the logged rows from the accepted ones, as the relation `recomputed`."""
    times = "(SELECT DISTINCT as_of FROM logged)"
    rows = open_view(connection, view, entity, linked, accepted, times, "existing")
    key = identifier(entity.key)
    pairs = f"""SELECT DISTINCT {key}, as_of FROM logged JOIN existing_lives USING ({key})
        WHERE _since <= as_of AND _until > as_of"""
    connection.execute(f"CREATE TEMP TABLE grid AS {pairs}")
    connection.register("recomputed", compute_view(connection, view, entity.key, rows, "grid"))


def _logged_rows(
    name: str, entity: Entity, linked: Linked | None, predictions: Sequence[LoggedPrediction], watermarks: Watermarks
) -> pa.Table:
    """Return a table with the entity key and the `as_of` of the offline computation for each prediction."""
    times = [logged.event_time(name) for logged in predictions]
    key_type = pa.int64() if entity.dtype == "int64" else pa.string()
    raw_keys = [logged.linked_to(linked.link) if linked else logged.entity for logged in predictions]
    keys = [None if key is None else int(key) if entity.dtype == "int64" else str(key) for key in raw_keys]
    instant = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "_position": pa.array(range(len(predictions)), pa.int64()),
            entity.key: pa.array(keys, key_type),
            "as_of": pa.array([time or logged.as_of for time, logged in zip(times, predictions, strict=True)], instant),
            "_found": pa.array([time is not None for time in times], pa.bool_()),
            "_watermark": pa.array([watermarks.at(logged.logged_at) for logged in predictions], instant),
        }
    )


def _joined(connection: duckdb.DuckDBPyConnection, view: View, key: str, snapshots: str) -> list[OfflineRow]:
    """Return logged rows joined with recomputed rows and snapshots: of the same event time, or the newest within the ttl."""
    key = identifier(key)
    columns = ", ".join(identifier(feature) for feature in view.features)
    seconds = int(view.ttl.total_seconds())
    connection.execute(
        f"""CREATE TEMP TABLE stored AS
            SELECT logged._position, snapshot.{key}, {columns}
            FROM read_parquet({literal(snapshots)}) AS snapshot JOIN logged ON snapshot.{key} = logged.{key}
                AND CASE WHEN logged._found THEN snapshot.event_timestamp = logged.as_of
                    ELSE snapshot.event_timestamp <= least(logged.as_of, logged._watermark)
                        AND snapshot.event_timestamp > logged.as_of - INTERVAL {seconds} SECOND END
            QUALIFY row_number() OVER (PARTITION BY logged._position ORDER BY snapshot.event_timestamp DESC) = 1"""
    )
    recomputed = connection.sql(
        f"""SELECT recomputed.{key}, {columns} FROM logged
            LEFT JOIN recomputed ON recomputed.{key} = logged.{key} AND recomputed.event_timestamp = logged.as_of
            ORDER BY logged._position"""
    ).to_arrow_table()
    stored = connection.sql(
        f"SELECT stored.{key}, {columns} FROM logged LEFT JOIN stored USING (_position) ORDER BY logged._position"
    ).to_arrow_table()
    return [OfflineRow(now, then) for now, then in zip(_rows(recomputed, view), _rows(stored, view), strict=True)]


def _kept(
    connection: duckdb.DuckDBPyConnection, view: View, key: str, files: Sequence[Path]
) -> dict[int, list[Mapping[str, Any]]]:
    """Return the earlier versions of the snapshots with the same event time, by position of the logged row."""
    key, columns = identifier(key), ", ".join(map(identifier, view.features))
    table = connection.sql(
        f"""SELECT DISTINCT logged._position, {columns}
            FROM read_parquet([{", ".join(map(files_literal, files))}]) AS snapshot
            JOIN logged ON snapshot.{key} = logged.{key} AND snapshot.event_timestamp = logged.as_of WHERE logged._found"""
    ).to_arrow_table()
    versions: dict[int, list[Mapping[str, Any]]] = {}
    for row in table.to_pylist():
        versions.setdefault(row["_position"], []).append(row)
    return versions


def _came_later(connection: duckdb.DuckDBPyConnection, key: str, versions: Sequence[Path]) -> set[int]:
    """Return the positions without a row for whose entity no earlier version of the snapshots has one either."""
    if not versions:
        return set()
    files, column = ", ".join(map(files_literal, versions)), identifier(key)
    found = connection.execute(
        f"""SELECT logged._position FROM logged LEFT JOIN (
                SELECT {column}, count(DISTINCT filename) AS versions FROM read_parquet([{files}], filename = true)
                GROUP BY ALL) AS kept ON kept.{column} = logged.{column}
            WHERE NOT logged._found AND coalesce(kept.versions, 0) < {len(versions)}"""
    )
    return {position for (position,) in found.fetchall()}


def _superseded(connection: duckdb.DuckDBPyConnection, key: str, snapshots: str) -> set[int]:
    """Return the positions without a row for whose entity a snapshot after `as_of` was already online."""
    key = identifier(key)
    result = connection.execute(
        f"""SELECT DISTINCT logged._position FROM logged JOIN read_parquet({literal(snapshots)}) AS snapshot
                ON snapshot.{key} = logged.{key}
            WHERE NOT logged._found AND snapshot.event_timestamp > logged.as_of
                AND snapshot.event_timestamp <= logged._watermark"""
    )
    return {position for (position,) in result.fetchall()}


def _rows(table: pa.Table, view: View) -> list[Mapping[str, Any] | None]:
    """Return the rows of `table`; None where the join had no match, that is, where the key in the first column is null."""
    has_match = table.column(0).is_valid().to_pylist()
    values = table.select([*view.features]).to_pylist()
    return [row if matched else None for matched, row in zip(has_match, values, strict=True)]
