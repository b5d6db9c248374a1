"""Stage `validate`: type every row and hold it against the plan's rules; rejected rows keep their reasons.

An accepted row has, beside its columns, `event_timestamp` and `created_timestamp` (when it happened, when it became known)
and `source_row` (its place in the source). Without a created time a row is known from its event time on.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.entry import run
from core.errors import QualityError
from core.files import require, whole_folder
from core.plan import QualityRules
from core.plan_file import read_plan
from core.settings import read_settings
from feature_repo.datasets import BUCKETS, bucket_file, bucket_of, raw_file, write_table
from feature_repo.duck import SQL_TYPES, identifier, literal, open_duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from core.plan import Source, TimeColumn

_OFFSET = r"(Z|[+-]\d\d(:?\d\d)?)$"


@dataclass(frozen=True)
class Validated:
    """How many rows of a source were accepted, rejected, and left out because they came after the extract's end."""

    accepted: int
    rejected: int
    left_out: int = 0

    @property
    def rejected_share(self) -> float:
        """Share of the rows that were rejected; 0 without any."""
        return self.rejected / max(self.accepted + self.rejected, 1)


def _typed_time(time: TimeColumn, found: str, dtype: str) -> str:
    """Write the SQL that turns a column, found as a DuckDB type, into an instant; null where it cannot."""
    column = f"raw.{identifier(time.column)}"
    zone = literal(time.zone or "UTC")
    if found == "VARCHAR" and time.format is not None:
        parsed = f"try_strptime({column}, {literal(time.format)})"
    else:
        parsed = f"TRY_CAST({column} AS TIMESTAMP)"
    if dtype == "date":
        end = " + INTERVAL 1 DAY - INTERVAL 1 MICROSECOND" if time.at == "end_of_day" else ""
        return f"timezone({zone}, date_trunc('day', {parsed}){end})"
    if found.startswith("TIMESTAMP WITH TIME ZONE"):
        return f"CAST({column} AS TIMESTAMPTZ)"
    local = f"timezone({zone}, {parsed})" if time.zone or (time.format or "").count("%z") else "NULL"
    if found != "VARCHAR":
        return local
    return f"CASE WHEN regexp_matches({column}, {literal(_OFFSET)}) THEN TRY_CAST({column} AS TIMESTAMPTZ) ELSE {local} END"


def _times(source: Source) -> dict[str, TimeColumn]:
    times = {"event_timestamp": source.event_time}
    if source.created_time is not None:
        times["created_timestamp"] = source.created_time
    return times


def known_time(source: Source, found: dict[str, str]) -> str:
    """Write the SQL of the instant from which a row of the relation `raw` is known; null where it has no time.

    `found` maps the columns of `raw` to their DuckDB types.
    """
    times = (
        _typed_time(time, found[time.column], source.columns[time.column].dtype) for time in _times(source).values()
    )
    return f"greatest({', '.join(times)})"


def _typed_columns(source: Source, found: dict[str, str]) -> dict[str, str]:
    """Map each name of an accepted row to the SQL over `raw` that gives it its type."""
    formats = {time.column: time.format for time in _times(source).values()}
    typed = {}
    for name, column in source.columns.items():
        raw = f"raw.{identifier(name)}"
        if found[name] == "VARCHAR" and formats.get(name) and column.dtype in {"date", "timestamp"}:
            raw = f"try_strptime({raw}, {literal(formats[name] or '')})"
        typed[name] = f"TRY_CAST({raw} AS {SQL_TYPES[column.dtype]})"
    for name, time in _times(source).items():
        typed[name] = _typed_time(time, found[time.column], source.columns[time.column].dtype)
    return typed


def _reasons(source: Source, rules: QualityRules) -> Iterator[tuple[str, str]]:
    """Yield (reason, SQL condition under which it holds) over the relation `typed` and its `raw_…` texts."""
    for name, declared in source.columns.items():
        yield f"{name}: not a {declared.dtype}", f"raw_{name} IS NOT NULL AND {identifier(name)} IS NULL"
    for name, time in _times(source).items():
        yield (
            f"{time.column}: no time that can be placed (a time zone is missing, or the format is another)",
            f"{name} IS NULL",
        )
    observed = source.observed_until.isoformat()
    if source.later_rows == "reject":
        yield (
            f"{source.event_time.column}: after observed_until {observed}",
            f"event_timestamp > TIMESTAMPTZ {literal(observed)}",
        )
    for name in rules.not_null:
        yield f"{name}: null", f"raw_{name} IS NULL"
    for name, (low, high) in rules.range.items():
        column = identifier(name)
        yield (
            f"{name}: outside [{low:g}, {high:g}]",
            f"{column} IS NOT NULL AND NOT coalesce({column} BETWEEN {low} AND {high}, false)",
        )
        if source.columns[name].dtype.startswith("float"):
            yield f"{name}: not a number", f"isnan({column})"
    for name, allowed in rules.allowed.items():
        values = ", ".join(literal(value) for value in allowed)
        yield f"{name}: not among {', '.join(allowed)}", f"CAST({identifier(name)} AS VARCHAR) NOT IN ({values})"
    for name, pattern in rules.pattern.items():
        yield f"{name}: does not match {pattern}", f"NOT regexp_full_match({identifier(name)}, {literal(pattern)})"
    if rules.unique:
        order = "created_timestamp, source_row"
        columns = ", ".join(identifier(name) for name in rules.unique)
        yield (
            f"duplicate of an earlier row by {', '.join(rules.unique)}",
            f"row_number() OVER (PARTITION BY {columns} ORDER BY {order}) > 1",
        )


def _within(source: Source) -> str:
    """Say in SQL which typed rows are part of the extract; a row without a time is, and is judged."""
    if source.later_rows == "reject":
        return "true"
    observed = f"TIMESTAMPTZ {literal(source.observed_until.isoformat())}"
    return f"coalesce(greatest(event_timestamp, created_timestamp) <= {observed}, true)"


def _judge(connection: duckdb.DuckDBPyConnection, source: Source, key: str, rules: QualityRules, raw: Path) -> None:
    """Make the temporary table `judged`: the typed rows, their raw texts, and the list of reasons against each."""
    relation = f"read_parquet({literal(require(raw, 'ingest'))})"
    found = {row[0]: str(row[1]) for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    typed = _typed_columns(source, found)
    if "created_timestamp" not in typed:
        typed["created_timestamp"] = typed["event_timestamp"]
    chosen = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in typed.items())
    texts = ", ".join(f"CAST(raw.{identifier(name)} AS VARCHAR) AS raw_{name}" for name in source.columns)
    rules = rules.model_copy(
        update={"not_null": tuple(dict.fromkeys((key, source.event_time.column, *rules.not_null)))}
    )
    reasons = ", ".join(f"CASE WHEN {sql} THEN {literal(reason)} END" for reason, sql in _reasons(source, rules))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE judged AS
            SELECT *, list_filter([{reasons}], lambda reason: reason IS NOT NULL) AS reasons
            FROM (SELECT raw.source_row, {chosen}, {texts} FROM {relation} AS raw)
            WHERE {_within(source)}"""
    )


def validate(source: Source, key: str, rules: QualityRules, raw: Path, accepted: Path, rejected: Path) -> Validated:
    """Split the rows of `raw` into the tables `accepted` (a folder of buckets) and `rejected` (a file, with `reasons`).

    Raises
    ------
    QualityError
        If the share of rejected rows is above `rules.max_rejected`; `rejected` is written then, `accepted` is not.

    """
    with open_duckdb() as connection:
        _judge(connection, source, key, rules, raw)
        texts = ", ".join(f"raw_{name} AS {identifier(name)}" for name in source.columns)
        bad = f"SELECT source_row, reasons, {texts} FROM judged WHERE len(reasons) > 0 ORDER BY source_row"
        refused = write_table(connection, bad, rejected)
        counts = f"SELECT (SELECT count(*) FROM judged), (SELECT count(*) FROM read_parquet({literal(raw)}))"
        judged, total = connection.execute(counts).fetchall()[0]
        result = Validated(accepted=judged - refused, rejected=refused, left_out=total - judged)
        if not result.rejected_share <= rules.max_rejected or not (result.accepted or rules.max_rejected == 1):
            raise QualityError(_refusal(connection, result, rules, rejected))
        columns = ", ".join(map(identifier, [*source.columns, "event_timestamp", "created_timestamp"]))
        for bucket in range(BUCKETS):
            good = f"""SELECT source_row, {columns} FROM judged WHERE len(reasons) = 0 AND {bucket_of(key)} = {bucket}
                ORDER BY {identifier(key)}, event_timestamp, created_timestamp, source_row"""
            write_table(connection, good, bucket_file(accepted.parent, accepted.name, bucket))
    return result


def _refusal(connection: duckdb.DuckDBPyConnection, result: Validated, rules: QualityRules, rejected: Path) -> str:
    commonest = connection.execute(
        "SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM judged) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3"
    ).fetchall()
    reasons = "; ".join(f"{reason} ({count:,})" for reason, count in commonest)
    return (
        f"{result.rejected:,} of {result.accepted + result.rejected:,} rows ({result.rejected_share:.2%}) were rejected, "
        f"the limit max_rejected is {rules.max_rejected:.2%}; most often: {reasons}; all of them with their reasons are in "
        f"{rejected}: correct the source or the rules"
    )


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the ingested sources")
    parser.add_argument("--accepted", type=Path, required=True, help="folder to write the accepted rows to")
    parser.add_argument("--rejected", type=Path, required=True, help="folder to write the rejected rows to")
    arguments = parser.parse_args()
    plan = read_plan(read_settings().plan)
    with whole_folder(arguments.accepted) as fresh:
        for name, source in plan.ingest.items():
            raw, rejected = raw_file(arguments.raw, name), raw_file(arguments.rejected, name)
            rules = plan.validate_.get(name, QualityRules())
            try:
                result = validate(
                    source.ingested(), plan.entities[source.entity].key, rules, raw, fresh / name, rejected
                )
            except QualityError as error:
                raise QualityError(f"validate.{name}: {error}") from None
            later = f", {result.left_out:,} of later left out" if source.later_rows == "leave_out" else ""
            print(f"validate: {name}: {result.accepted:,} accepted, {result.rejected:,} rejected{later}")


if __name__ == "__main__":
    run(main)
