"""Stage `validate`: type every row and check it by the plan's rules; rejected rows are written with their reasons.

Besides its columns, an accepted row has `event_timestamp` (when it happened), `created_timestamp` (when it became known) and
`source_row` (its number in the source). Without a created time, a row is known from its event time on.

The rows are typed and checked once, into scratch files by bucket. Duplicates are then searched, and the accepted rows sorted,
bucket by bucket, so that memory holds a bucket and not a source.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.entry import run
from core.errors import QualityError
from core.files import require, whole_folder
from core.plan.file import read_plan
from core.plan.ingest import QualityRules
from core.settings import read_settings
from feature_repo.files.datasets import (
    BUCKETS,
    bucket_file,
    bucket_of,
    files_of,
    raw_file,
    raw_rows,
    rows_ledger,
    write_table,
)
from feature_repo.files.duck import files_literal, identifier, literal, open_duckdb
from feature_repo.sources.known_rows import MadeOf, with_extract, write_known_rows, write_made_of
from feature_repo.sources.ledger import KNOWN_FROM, changing_ledger, digest, read_ledger
from feature_repo.sources.parts import UNREAD
from feature_repo.sources.quality import Fault, any_of, as_ingested, row_faults, typed_rows, value_faults
from feature_repo.sources.remedies import remedies

if TYPE_CHECKING:
    import duckdb

    from core.plan.ingest import Source
    from feature_repo.sources.ledger import Ledger

#: What its functions import and later stages too, so that they find it imported (see core.launch).
LIBRARIES = ("pandas",)


@dataclass(frozen=True)
class Validated:
    """The numbers of rows of a source after validation.

    Attributes
    ----------
    accepted, rejected : the rows that passed, and those that did not.
    left_out : rows of a growing source that happened or became known after the end of the extract.
    mended : accepted rows in which a faulty value was replaced by a missing one.
    repeated : accepted rows with the key and the event time of an earlier row.
    duplicates : rejected rows whose only fault is that an equal row was known before.
    excused : faulty rows from catch-ups; they were compared with the limit when they arrived, so they do not count again.

    """

    accepted: int
    rejected: int
    left_out: int = 0
    mended: int = 0
    repeated: int = 0
    duplicates: int = field(default=0, compare=False)
    excused: int = field(default=0, compare=False)

    @property
    def faulty_share(self) -> float:
        """Share of the rows that were rejected or mended, without the excused ones; 0 without rows."""
        return max(self.rejected + self.mended - self.excused, 0) / max(self.accepted + self.rejected, 1)


@dataclass(frozen=True)
class _Scratch:
    """The checked rows on disk: typed, with the flags `_faulty` and `_mended`, partitioned by `_bucket`."""

    folder: Path
    rows: int

    def bucket(self, number: int) -> str:
        """Compose the relation of the rows of one bucket, which may have none."""
        return f"(FROM {self.all()} WHERE _bucket = {number})"

    def all(self) -> str:
        """Compose the relation of all rows."""
        files = literal(files_of(self.folder, "*/*.parquet"))
        return f"read_parquet({files}, hive_partitioning = true, hive_types = {{'_bucket': INTEGER}})"


def validate(
    source: Source,
    key: str,
    rules: QualityRules,
    raw: Path,
    accepted: Path,
    rejected: Path,
    *,
    earlier: str | None = None,
    excused: int = 0,
) -> Validated:
    """Write the rows of `raw` to `accepted` (a folder of buckets) or `rejected` (a file, with `reasons`); return their numbers.

    Parameters
    ----------
    earlier : relation of rows that were accepted before; a row that is equal to one of them is a duplicate.
    excused : number of faulty rows that do not count towards the limit.

    Raises
    ------
    QualityError
        If the share of rows that are rejected or mended is above `rules.max_rejected`; then `rejected` is written, and
        `accepted` is not.

    """
    accepted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=accepted.parent) as folder, open_duckdb(spill=Path(folder)) as connection:
        _open_typed(connection, source, raw)
        scratch = _judge(connection, source, key, rules, Path(folder) / "judged")
        _find_refused(connection, key, rules, scratch, earlier)
        refused = _write_rejected(connection, source, key, rules, rejected)
        result = _count(connection, scratch, refused, raw, excused)
        if not result.faulty_share <= rules.max_rejected or not (result.accepted or rules.max_rejected == 1):
            raise QualityError(_refusal(connection, source, result, rules, rejected))
        columns = ", ".join(map(identifier, ("source_row", *_accepted_columns(source))))
        # By entity within a day: what looks at days or months of rows then meets the entities in order, which groups them
        # a quarter faster than rows in the order of the clock. An entity's own rows are in the order of their time.
        order = f"event_timestamp::DATE, {identifier(key)}, event_timestamp, created_timestamp, source_row"
        for bucket in range(BUCKETS):
            good = f"""SELECT {columns} FROM {scratch.bucket(bucket)} ANTI JOIN refused USING (source_row)
                ORDER BY {order}"""
            write_table(connection, good, bucket_file(accepted.parent, accepted.name, bucket))
        return replace(result, repeated=_count_repeated(connection, key, accepted))


def _count_repeated(connection: duckdb.DuckDBPyConnection, key: str, accepted: Path) -> int:
    """Return the number of accepted rows with the key and the event time of an earlier row."""
    groups = (
        f"SELECT count(*) AS _rows FROM read_parquet({files_literal(file)}) GROUP BY {identifier(key)}, event_timestamp"
        for file in sorted(accepted.glob("*.parquet"))
    )
    counts = (connection.execute(f"SELECT sum(_rows - 1) FROM ({rows})").fetchall()[0][0] for rows in groups)
    return sum(int(count or 0) for count in counts)


def _accepted_columns(source: Source) -> tuple[str, ...]:
    return (*source.columns, "event_timestamp", "created_timestamp")


def _open_typed(connection: duckdb.DuckDBPyConnection, source: Source, raw: Path) -> None:
    """Create the view `typed`, which `feature_repo.sources.quality` describes."""
    relation = raw_rows(connection, require(raw, "ingest"))
    found = {row[0]: str(row[1]) for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    typed = typed_rows(source, relation, found)
    if KNOWN_FROM.strip('"') in found:
        # Where the row's own time is missing, it stays missing.
        known = f"if(created_timestamp IS NULL, NULL, greatest(created_timestamp, {KNOWN_FROM}))"
        typed = f"""SELECT * EXCLUDE ({KNOWN_FROM}) REPLACE ({known} AS created_timestamp)
            FROM ({typed}) JOIN (SELECT source_row, {KNOWN_FROM} FROM {relation}) USING (source_row)"""
    connection.execute(f"CREATE TEMP VIEW typed AS {typed}")


def _judge(
    connection: duckdb.DuckDBPyConnection, source: Source, key: str, rules: QualityRules, folder: Path
) -> _Scratch:
    """Write the typed rows to scratch files by bucket, with flags for all faults but duplicates; return the files."""
    at_fault = {name: any_of(value_faults(source, rules, name)) for name in rules.as_missing}
    mended = " OR ".join(["false", *at_fault.values()])
    columns = ", ".join(
        f"CASE WHEN {at_fault[name]} THEN NULL ELSE {identifier(name)} END AS {identifier(name)}"
        if name in at_fault
        else identifier(name)
        for name in _accepted_columns(source)
    )
    quoted = identifier(key)
    # A hash of each entity, not of each row: the cryptographic one would take most of the time.
    entities = f"(SELECT DISTINCT {quoted} FROM typed)"
    connection.execute(
        f"CREATE TEMP TABLE homes AS SELECT {quoted} AS _home, {bucket_of(key)} AS _bucket FROM {entities}"
    )
    connection.execute("SET preserve_insertion_order = false")
    written = connection.execute(
        f"""COPY (
            SELECT source_row, {columns}, {any_of(row_faults(source, rules, key))} AS _faulty, {mended} AS _mended,
                coalesce(homes._bucket, 0) AS _bucket
            FROM typed LEFT JOIN homes ON {quoted} = _home
        ) TO {literal(folder)} (FORMAT parquet, COMPRESSION snappy, PARTITION_BY (_bucket))"""
    ).fetchone()
    connection.execute("SET preserve_insertion_order = true")
    return _Scratch(folder, int(written[0]) if written else 0)


def _find_refused(
    connection: duckdb.DuckDBPyConnection, key: str, rules: QualityRules, scratch: _Scratch, earlier: str | None
) -> None:
    """Create the table `refused` of the rejected rows: `source_row`, and whether a row is `_faulty` or a `_duplicate`."""
    connection.execute("CREATE TEMP TABLE refused (source_row BIGINT, _faulty BOOLEAN, _duplicate BOOLEAN)")
    connection.execute("CREATE TEMP TABLE doubled (source_row BIGINT)")
    if not scratch.rows:
        return
    if rules.unique:
        # Rows that are equal in the key lie in one bucket.
        parts = [scratch.bucket(number) for number in range(BUCKETS)] if key in rules.unique else [scratch.all()]
        for part in parts:
            connection.execute(f"INSERT INTO doubled {_duplicates(part, rules)}")
        if earlier:
            equal = _equal(rules, "row", "known")
            connection.execute(
                f"""INSERT INTO doubled SELECT source_row FROM (SELECT DISTINCT row.source_row FROM {scratch.all()} AS row
                    JOIN {earlier} AS known ON {equal}) ANTI JOIN doubled USING (source_row)"""
            )
    connection.execute(
        f"""INSERT INTO refused
            SELECT source_row, _faulty, doubled.source_row IS NOT NULL FROM {scratch.all()} LEFT JOIN doubled USING (source_row)
            WHERE _faulty OR doubled.source_row IS NOT NULL"""
    )


def _duplicates(rows: str, rules: QualityRules) -> str:
    """Compose the query of the rows that equal an earlier known row in the unique columns; nulls are equal.

    Rows without another fault count as earlier than faulty ones.
    """
    columns = [identifier(name) for name in rules.unique]
    equal = _equal(rules, "row", "several")
    listed, partition = ", ".join(columns), ", ".join(f"row.{column}" for column in columns)
    return f"""
        SELECT row.source_row FROM {rows} AS row
        JOIN (SELECT {listed} FROM {rows} GROUP BY ALL HAVING count(*) > 1) AS several ON {equal}
        QUALIFY row_number() OVER (PARTITION BY {partition} ORDER BY row._faulty, row.created_timestamp, row.source_row) > 1"""


def _equal(rules: QualityRules, one: str, other: str) -> str:
    """Compose the condition that two rows are equal in the unique columns."""
    columns = map(identifier, rules.unique)
    return " AND ".join(f"{one}.{column} IS NOT DISTINCT FROM {other}.{column}" for column in columns)


def _write_rejected(
    connection: duckdb.DuckDBPyConnection, source: Source, key: str, rules: QualityRules, rejected: Path
) -> int:
    """Write the rejected rows as they were ingested, each with all its reasons; return their number."""
    faults = list(row_faults(source, rules, key))
    if rules.unique:
        faults.append(Fault(f"duplicate of an earlier row by {', '.join(rules.unique)}", "_duplicate"))
    each = ", ".join(f"CASE WHEN {fault.condition} THEN {literal(fault.reason)} END" for fault in faults)
    # A line that could not be read has its own reason; the nulls in its columns are no further fault.
    unread = identifier(UNREAD)
    reasons = f"if({unread} IS NULL, list_filter([{each}], lambda reason: reason IS NOT NULL), [{unread}])"
    texts = ", ".join(f"CAST({as_ingested(name)} AS VARCHAR) AS {_beside_reasons(name)}" for name in source.columns)
    return write_table(
        connection,
        f"""SELECT source_row, {reasons} AS reasons, {texts}
            FROM typed JOIN refused USING (source_row) ORDER BY source_row""",
        rejected,
    )


def _beside_reasons(name: str) -> str:
    """Return the name of a column in the table of rejected rows: its own, or `raw reasons` for a column called `reasons`."""
    return as_ingested(name) if name == "reasons" else identifier(name)


def _count(
    connection: duckdb.DuckDBPyConnection, scratch: _Scratch, refused: int, raw: Path, excused: int
) -> Validated:
    total = connection.execute(f"SELECT count(*) FROM read_parquet({files_literal(raw)})").fetchall()[0][0]
    mended = 0
    if scratch.rows:
        kept = f"{scratch.all()} ANTI JOIN refused USING (source_row)"
        mended = connection.execute(f"SELECT count(*) FROM {kept} WHERE _mended").fetchall()[0][0]
    duplicates = connection.execute("SELECT count(*) FROM refused WHERE NOT _faulty").fetchall()[0][0]
    left_out = total - scratch.rows
    accepted = scratch.rows - refused
    return Validated(accepted, refused, left_out, mended, duplicates=duplicates, excused=excused)


def _refusal(
    connection: duckdb.DuckDBPyConnection, source: Source, result: Validated, rules: QualityRules, rejected: Path
) -> str:
    commonest = connection.execute(
        f"""SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM read_parquet({files_literal(rejected)}))
            GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3"""
    ).fetchall()
    reasons = "; ".join(f"{reason} ({count:,})" for reason, count in commonest)
    advice = "; ".join(["correct the source or the rules", *remedies(connection, source, rejected)])
    mended = f" and {result.mended:,} have a value at fault" if result.mended else ""
    return (
        f"{result.rejected:,} of {result.accepted + result.rejected:,} rows were rejected{mended} ({result.faulty_share:.2%}), "
        f"the limit max_rejected is {rules.max_rejected:.2%}; most often: {reasons or 'no rejection'}; all of them with their "
        f"reasons are in {rejected}: {advice}; a higher max_rejected lets such rows be left out"
    )


def accept(
    name: str, source: Source, key: str, rules: QualityRules, ledger: Ledger, raw: Path, accepted: Path, rejected: Path
) -> Validated:
    """Validate all known rows of a source: those of its extract, in `raw`, and those of its ledger; return their numbers.

    Raises
    ------
    QualityError
        See `validate`.

    """
    made_of = MadeOf(digest(require(raw, "ingest")), len(ledger.deliveries))
    accepted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=accepted.parent) as scratch:
        if ledger.deliveries:
            ledger = with_extract(ledger, name, source, key, rules, raw, Path(scratch) / "extract.parquet")
            source, raw = write_known_rows(ledger, name, source, Path(scratch))
        try:
            result = validate(source.ingested(), key, rules, raw, accepted, rejected, excused=ledger.excused)
        except QualityError as error:
            raise QualityError(f"validate.{name}: {error}") from None
    write_made_of(accepted, made_of)
    return result


def _summary(result: Validated) -> str:
    counts = {
        "accepted": result.accepted,
        "rejected": result.rejected,
        "left out, which came later": result.left_out,
        "with a value at fault, now missing": result.mended,
        "accepted with the key and event time of an earlier row": result.repeated,
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what in {"accepted", "rejected"})


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the ingested sources")
    parser.add_argument("--accepted", type=Path, required=True, help="folder to write the accepted rows to")
    parser.add_argument("--rejected", type=Path, required=True, help="folder to write the rejected rows to")
    arguments = parser.parse_args()
    plan = read_plan(read_settings().plan)
    ledgers = rows_ledger(arguments.accepted.parent)
    with changing_ledger(ledgers), whole_folder(arguments.accepted) as fresh:
        for name, source in plan.ingest.items():
            raw, rejected = raw_file(arguments.raw, name), raw_file(arguments.rejected, name)
            rules, ledger = plan.validate_.get(name, QualityRules()), read_ledger(ledgers / name)
            key = plan.entities[source.entity].key
            result = accept(name, source, key, rules, ledger, raw, fresh / name, rejected)
            print(f"validate: {name}: {_summary(result)}")


if __name__ == "__main__":
    run(main)
