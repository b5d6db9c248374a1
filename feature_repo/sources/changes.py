"""What a source holds that was not taken in yet: rows are the same if their values are, as many times as the source has them.

Values are compared by their type, so a source that writes the same times or numbers in another way has not changed. Among
rows of the same values their number counts and not their order, which a query need not keep.

A row that is gone and a row that is new are one row, corrected, if they are equal in the columns that the plan declares
`unique`. Where the source still holds at least half of what was taken in, and so is the whole table and not its newest part,
they are also one row if they have the same entity and event time, or the same position in a source of which no other row has
moved: in another order, or in a part of the table, positions say nothing.

A row whose look-up holds something else now is the same row, corrected. One that had no time before, since the source with
its time had no row for it, was not known before; one that still has none is left for another time.
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
    """Rows of a source, by what became of them since it was looked through last.

    Attributes
    ----------
    known : rows that were taken in before, and are still there.
    new : rows that were not there before.
    late : of the new ones, those that should have been there before by their own times.
    corrected : rows that stand in the place of another one.
    gone : rows that were taken in before, are no longer there, and were not replaced.
    later : rows that happened or became known after the instant; they are left for another time.
    unmatched : rows whose time stands in another source, which has no row for them yet; they are left likewise.

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
    """How the rows of a source are compared.

    Attributes
    ----------
    source, key, rules : as the plan declares them; the source as it stands after it was ingested.
    until : latest instant at which a row that is taken in happened and became known.
    seen_until : what should have been there before happened and became known by then.
    leave_unmatched : leave rows whose time stands in another source that has no row for them yet.

    """

    source: Source
    key: str
    rules: QualityRules
    until: datetime
    seen_until: datetime
    leave_unmatched: bool = False

    @property
    def moment(self) -> str:
        """SQL of the instant of a row that must not be after `until`; of an extract it is that of the event."""
        return "event_timestamp" if self.source.later_rows == "reject" else _WHEN

    def typed(self, connection: duckdb.DuckDBPyConnection, relation: str) -> str:
        """Compose the query of the typed rows of `relation`, the later ones too."""
        found = {row[0]: str(row[1]) for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
        return f"({typed_rows(self.source.model_copy(update={'later_rows': 'reject'}), relation, found)})"

    def find(self, connection: duckdb.DuckDBPyConnection, known: str, present: str) -> Changes:
        """Compare the rows `present` in the source with those that are `known`, as `Ledger.open` gives them.

        It makes the tables `changes` (`place`, the `source_row` of a present row to take in; `replaced`, the known row that
        it corrects; `late`) and `gone` (`source_row` of known rows).
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
        """SQL of whether a row waits for another source to have its time."""
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
        """Fill the table `pairs` with the fresh rows that correct a missing one."""
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
        """Return whether each row of the table `present_rows` that was known before stands where it stood."""
        (moved,) = _counted(
            connection,
            f"""(SELECT same, source_row AS place FROM present_rows ANTI JOIN fresh USING (source_row)
                    WHERE NOT coalesce(moment > {instant(self.until)}, false))
                ANTI JOIN (SELECT same, {POSITION} AS place FROM known_rows
                    JOIN (SELECT source_row, {POSITION} FROM {known}) AS raw USING (source_row)) USING (same, place)""",
        )
        return moved == 0


def entries(known_from: datetime | None, present: str, known: str, last_row: int, columns: Sequence[str]) -> str:
    """Compose the query of the ledger's entries for the table `changes`: the rows of `present` under new numbers.

    Late rows are known from `known_from` on, corrected ones from when the row was that they replace.
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
    """Compose the query of the ledger's entries that remove what extracts brought and the present one has no more."""
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
    """Compose the SQL of a number of 128 bits that stands for the values of typed columns; where one has no type, its text."""
    values = [
        f"coalesce('=' || CAST({identifier(name)} AS VARCHAR), '~' || CAST({as_ingested(name)} AS VARCHAR), '')"
        for name in columns
    ]
    return f"md5_number(concat({', '.join(f'length({value}), {value}' for value in values)}))"


def _open_counts(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table `counts`: of the values that are known and present in different numbers of rows, both numbers."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE counts AS
            SELECT same, count(*) FILTER (WHERE known) AS known, count(*) FILTER (WHERE NOT known) AS present
            FROM (SELECT same, true AS known FROM known_rows UNION ALL SELECT same, false FROM present_rows)
            GROUP BY same HAVING known <> present"""
    )


def _open_surplus(connection: duckdb.DuckDBPyConnection, name: str, side: str, other: str, columns: str) -> None:
    """Make the table `name` of the rows by which `side` has more of the same values than `other`: the last of each."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {name} AS
            SELECT source_row, {columns} FROM {side}_rows AS {side} JOIN counts USING (same)
            QUALIFY row_number() OVER (PARTITION BY same ORDER BY source_row) > counts.{other}"""
    )


def _pair_by(connection: duckdb.DuckDBPyConnection, mark: str) -> None:
    """Pair the rows that have no pair yet by an equal mark, in their order."""
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
    """Count the missing rows for which there is no fresh one of the same mark."""
    column = identifier(mark)
    row = connection.execute(
        f"""SELECT coalesce(sum(greatest(missing.rows - coalesce(fresh.rows, 0), 0)), 0)
            FROM (SELECT {column}, count(*) AS rows FROM missing_marks GROUP BY 1) AS missing
            LEFT JOIN (SELECT {column}, count(*) AS rows FROM fresh_marks GROUP BY 1) AS fresh USING ({column})"""
    ).fetchone()
    return int(row[0]) if row else 0


def _counted(connection: duckdb.DuckDBPyConnection, *relations: str) -> list[int]:
    """Count the rows of relations."""
    return [connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0] for relation in relations]
