"""Compare the rows of a source with the rows of its ledger: which are new, late, corrected or gone.

Rows are compared by their values in the declared types, so the same time or number in another notation is no change. Of equal
rows only the number counts, not the order, which a query need not keep.

A missing row and a new row are one corrected row if they are equal in the columns that the plan declares `unique`. If the
source still has at least half of its known rows, it is the whole table and not only its newest part. Then two rows are also one
corrected row if they have the same entity and event time, or the same position. The position counts only if no other row has
moved.

A row is also corrected if the values in its look-up have changed. A row may lack its time because the source with the time has
no row for it yet. Such a row is left for a later run; once it has a time, it counts as unknown before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.plan.rows.look_ups import JoinedColumn, own
from feature_repo.files.duck import identifier, instant
from feature_repo.sources.ledger import EXTRACT, KNOWN_FROM, POSITION, REPLACES
from feature_repo.sources.quality import as_ingested, typed_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import duckdb

    from core.plan.ingest import QualityRules, Source

_WHEN = "greatest(event_timestamp, created_timestamp)"


@dataclass(frozen=True)
class Changes:
    """The numbers of rows of a source, by how they differ from the rows of its ledger.

    Attributes
    ----------
    known : rows that are in the ledger.
    new : rows that are not in the ledger and replace none.
    late : rows that an earlier run should have found, by their own times; they are also counted as new or corrected.
    corrected : rows that replace a row of the ledger.
    gone : rows of the ledger that the source has no longer, and that no row replaces.
    later : rows that happened or became known after the instant of the comparison; a later run ingests them.
    unmatched : rows without a time, because the source with the time has no row for them yet; a later run ingests them.

    """

    known: int
    new: int
    late: int
    corrected: int
    gone: int
    later: int
    unmatched: int = 0


@dataclass(frozen=True)
class Comparison:
    """The parameters of a comparison of a source with its ledger.

    Attributes
    ----------
    source, key, rules : as the plan declares them; the source as `Source.ingested` returns it.
    until : rows whose `moment` is later are left for a later run.
    seen_until : a new row whose `moment` is not later is late.
    leave_unmatched : whether to leave rows without a time for which the source with the time has no row yet.

    """

    source: Source
    key: str
    rules: QualityRules
    until: datetime
    seen_until: datetime
    leave_unmatched: bool = False

    @property
    def moment(self) -> str:
        """The time of a row that `until` bounds, in SQL: the event time if the plan rejects later rows, else the later time."""
        return "event_timestamp" if self.source.later_rows == "reject" else _WHEN

    def typed(self, connection: duckdb.DuckDBPyConnection, relation: str) -> str:
        """Compose the query of the typed rows of `relation`, including rows after the end of the extract."""
        found = {row[0]: str(row[1]) for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
        return f"({typed_rows(self.source.model_copy(update={'later_rows': 'reject'}), relation, found)})"

    def find(self, connection: duckdb.DuckDBPyConnection, known: str, present: str) -> Changes:
        """Compare the relation `present` (the source) with `known` (from `Ledger.open`); return the numbers of rows.

        It creates two tables. `changes` has the rows to ingest: `place` (the `source_row` of a present row), `replaced` (the
        known row that it corrects) and `late`. `gone` has the `source_row` of each known row that is gone.
        """
        moment = f", {self.moment} AS moment"
        _open_rows(connection, "known", self.typed(connection, known), self.source.columns, moment)
        _open_rows(
            connection,
            "present",
            self.typed(connection, present),
            self.source.columns,
            f"{moment}, {self._unmatched} AS unmatched",
        )
        _open_counts(connection)
        _open_surplus(connection, "fresh", "present", "known", "present.moment, unmatched")
        _open_surplus(connection, "missing", "known", "present", "known.moment")
        known_rows, present_rows, missing = _counted(connection, "known_rows", "present_rows", "missing")
        until = instant(self.until)
        later, unmatched = _counted(connection, f"fresh WHERE moment > {until}", "fresh WHERE unmatched")
        connection.execute(f"DELETE FROM fresh WHERE moment > {until} OR unmatched")
        fresh, corrected = *_counted(connection, "fresh"), 0
        connection.execute("CREATE OR REPLACE TEMP TABLE pairs (place BIGINT, replaced BIGINT)")
        if fresh and missing:
            self._pair(connection, known, present, known_rows)
            (corrected,) = _counted(connection, "pairs")
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE changes AS SELECT fresh.source_row AS place, replaced, coalesce(
                    (replaced IS NULL OR missing.moment IS NULL) AND fresh.moment <= {instant(self.seen_until)}, false
                ) AS late
                FROM fresh LEFT JOIN pairs ON place = fresh.source_row LEFT JOIN missing ON missing.source_row = replaced"""
        )
        connection.execute(
            """CREATE OR REPLACE TEMP TABLE gone AS SELECT source_row FROM missing
                ANTI JOIN pairs ON replaced = source_row"""
        )
        (late,) = _counted(connection, "changes WHERE late")
        return Changes(
            known=present_rows - fresh - later - unmatched,
            new=fresh - corrected,
            late=late,
            corrected=corrected,
            gone=missing - corrected,
            later=later,
            unmatched=unmatched,
        )

    @property
    def _unmatched(self) -> str:
        """SQL condition: the row has no time, because the source with the time has no row for it yet."""
        joined = {time.column: self.source.columns[time.column] for time in self.source.times}
        waiting = [
            " AND ".join(
                [f"{as_ingested(name)} IS NULL"]
                + [f"{as_ingested(key)} IS NOT NULL" for key in self.source.join[column.look_up].key]
            )
            for name, column in joined.items()
            if isinstance(column, JoinedColumn) and self.leave_unmatched
        ]
        return f"({' OR '.join(waiting) or 'false'})"

    def _pair(self, connection: duckdb.DuckDBPyConnection, known: str, present: str, known_rows: int) -> None:
        """Fill the table `pairs`: each new row that corrects a missing row, with that row."""
        rules = {
            "same own": _digest(own(self.source).columns) if self.source.join else "NULL",
            "same unique": _digest(self.rules.unique) if self.rules.unique else "NULL",
            "same event": _digest((self.key, *(time.column for time in self.source.times[:1]))),
        }
        columns = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in rules.items())
        for name, relation, position in (("fresh", present, "source_row"), ("missing", known, POSITION)):
            connection.execute(
                f"""CREATE OR REPLACE TEMP TABLE {name}_marks AS
                    SELECT typed.source_row, {columns}, {position} AS "same position"
                    FROM (FROM {self.typed(connection, relation)} SEMI JOIN {name} USING (source_row)) AS typed
                    JOIN (SELECT source_row, {position} FROM {relation}) AS raw USING (source_row)"""
            )
        _pair_by(connection, "same own")
        _pair_by(connection, "same unique")
        if 2 * (known_rows - _unmatched(connection, "same event")) >= known_rows:
            _pair_by(connection, "same event")
            if self._is_in_place(connection, known):
                _pair_by(connection, "same position")

    def _is_in_place(self, connection: duckdb.DuckDBPyConnection, known: str) -> bool:
        """Return whether each known row that the source still has is at its earlier position."""
        (moved,) = _counted(
            connection,
            f"""(SELECT same, source_row AS place FROM present_rows ANTI JOIN fresh USING (source_row)
                    WHERE NOT coalesce(moment > {instant(self.until)}, false))
                ANTI JOIN (SELECT same, {POSITION} AS place FROM known_rows
                    JOIN (SELECT source_row, {POSITION} FROM {known}) AS raw USING (source_row)) USING (same, place)""",
        )
        return moved == 0


def entries(known_from: datetime | None, present: str, known: str, last_row: int, columns: Sequence[str]) -> str:
    """Compose the query of the ledger entries for the table `changes`: rows of `present`, numbered after `last_row`.

    A late row is known from `known_from` on, a corrected one from when the row was known that it replaces.
    """
    since = instant(known_from) if known_from else "NULL"
    chosen = ", ".join(f"present.{identifier(name)}" for name in columns)
    return f"""
        SELECT {last_row} + changes.place AS source_row, changes.replaced AS {REPLACES}, changes.place AS {POSITION},
            CASE WHEN changes.late THEN {since} ELSE known.{KNOWN_FROM} END::TIMESTAMPTZ AS {KNOWN_FROM}, {chosen}
        FROM changes JOIN {present} AS present ON present.source_row = changes.place
        LEFT JOIN (SELECT source_row, {KNOWN_FROM} FROM {known}) AS known ON known.source_row = changes.replaced
        ORDER BY changes.place"""


def removals(known: str) -> str:
    """Compose the query of the ledger entries that remove rows of earlier extracts which the source has no longer."""
    return f"""
        SELECT NULL::BIGINT AS source_row, source_row AS {REPLACES} FROM gone
        SEMI JOIN (SELECT source_row FROM {known} WHERE {EXTRACT}) AS brought USING (source_row) ORDER BY 2"""


def _open_rows(
    connection: duckdb.DuckDBPyConnection, name: str, typed: str, columns: Iterable[str], more: str = ""
) -> None:
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {name}_rows AS SELECT source_row, {_digest(columns)} AS same{more} FROM {typed}"
    )


def _digest(columns: Iterable[str]) -> str:
    """Compose the SQL of a 128-bit hash of typed columns; a value that its type cannot hold is hashed as its text."""
    values = [
        f"coalesce('=' || CAST({identifier(name)} AS VARCHAR), '~' || CAST({as_ingested(name)} AS VARCHAR), '')"
        for name in columns
    ]
    return f"md5_number(concat({', '.join(f'length({value}), {value}' for value in values)}))"


def _open_counts(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table `counts`: the values with different numbers of known and present rows, and both numbers."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE counts AS
            SELECT same, count(*) FILTER (WHERE known) AS known, count(*) FILTER (WHERE NOT known) AS present
            FROM (SELECT same, true AS known FROM known_rows UNION ALL SELECT same, false FROM present_rows)
            GROUP BY same HAVING known <> present"""
    )


def _open_surplus(connection: duckdb.DuckDBPyConnection, name: str, side: str, other: str, columns: str) -> None:
    """Create the table `name`: where `side` has more rows with the same values than `other`, the last of these rows."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {name} AS
            SELECT source_row, {columns} FROM {side}_rows AS {side} JOIN counts USING (same)
            QUALIFY row_number() OVER (PARTITION BY same ORDER BY source_row) > counts.{other}"""
    )


def _pair_by(connection: duckdb.DuckDBPyConnection, mark: str) -> None:
    """Insert into `pairs` the rows that are not paired yet and are equal in the column `mark`, in their order."""
    column = identifier(mark)
    numbered = f"row_number() OVER (PARTITION BY {column} ORDER BY source_row) AS number"
    fresh, missing = (
        f"(SELECT source_row, {column}, {numbered} FROM {side}_marks ANTI JOIN pairs ON {paired} = source_row)"
        for side, paired in (("fresh", "place"), ("missing", "replaced"))
    )
    connection.execute(
        f"""INSERT INTO pairs SELECT fresh.source_row, missing.source_row
            FROM {fresh} AS fresh JOIN {missing} AS missing USING ({column}, number)"""
    )


def _unmatched(connection: duckdb.DuckDBPyConnection, mark: str) -> int:
    """Return the number of missing rows without a new row that is equal in the column `mark`."""
    column = identifier(mark)
    row = connection.execute(
        f"""SELECT coalesce(sum(greatest(missing.rows - coalesce(fresh.rows, 0), 0)), 0)
            FROM (SELECT {column}, count(*) AS rows FROM missing_marks GROUP BY 1) AS missing
            LEFT JOIN (SELECT {column}, count(*) AS rows FROM fresh_marks GROUP BY 1) AS fresh USING ({column})"""
    ).fetchone()
    return int(row[0]) if row else 0


def _counted(connection: duckdb.DuckDBPyConnection, *relations: str) -> list[int]:
    """Return the number of rows of each relation."""
    return [connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0] for relation in relations]
