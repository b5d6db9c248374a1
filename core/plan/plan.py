"""The whole plan, and the sections without a module of their own; `core.plan.file` reads it from `params.yaml`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.contracts import Link
from core.plan.evaluate import Evaluate  # noqa: TC001 - pydantic reads the annotations
from core.plan.experiments.metrics import Guardrail, SecondaryMetric, outcome_names
from core.plan.ingest import QualityRules, Source  # noqa: TC001 - pydantic reads the annotations
from core.plan.register import Register  # noqa: TC001 - pydantic reads the annotations
from core.plan.rows.expressions import Expression  # noqa: TC001 - pydantic reads the annotations
from core.plan.section import Name, Reference, Section, column_of
from core.plan.times import WITHOUT_TIME, Cadence, Duration, Instant, Period, without_end, without_time
from core.plan.train import Train  # noqa: TC001 - pydantic reads the annotations
from core.plan.training_set import Label, TrainingSet  # noqa: TC001 - pydantic reads the annotations
from core.roles import Role  # noqa: TC001 - pydantic reads the annotations

#: `text` is free text, which only text steps of a candidate read; `string` is a categorical value.
FeatureDType = Literal["int32", "int64", "float32", "float64", "string", "bool", "timestamp", "text"]

Problem = Literal["binary", "multiclass", "regression"]


class Project(Section):
    """The name of the project, the kind of problem, and its purpose."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=60)]
    """Name, which also names the Feast project and the demo's folder."""
    problem: Problem
    """Kind of label."""
    statement: str
    """The question, for readers."""
    target_outcome: str = ""
    """The goal of the predictions, for readers."""
    scope: str = ""
    """The entities that the predictions are for, for readers."""


class Entity(Section):
    """The predicted entity, or an entity linked to it.

    An entity exists from its first row in `source` and, if there is a source `until`, until its first row there.

    `of: view.feature` declares a linked entity: that feature of the predicted entity holds its key, so that views about it
    can be part of the same service. Without a source, a linked entity exists from when its key first occurs.
    """

    key: Name
    """Column that identifies it."""
    dtype: Literal["int64", "string"]
    """Type of the key."""
    source: Name | None = None
    """Source whose first row with a key is the beginning of that entity's existence."""
    until: Name | None = None
    """Source whose first row with a key is the end of that entity's existence."""
    of: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")] | None = None
    """`view.feature` of the predicted entity that holds the key of this one."""

    @model_validator(mode="after")
    def _is_known_to_exist(self) -> Self:
        if self.source is None and self.of is None:
            raise ValueError(
                "an entity needs source (whose rows show when it exists) or of (the feature with its key); add one"
            )
        if self.source is None and self.until is not None:
            raise ValueError("until, the end of an entity, needs source, its beginning; add source")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources whose rows show when the entity exists."""
        return tuple(source for source in (self.source, self.until) if source)


class Feature(Section):
    """A feature of an entity as of a time: an SQL aggregate over its rows, or an expression over other features.

    `window` keeps only rows younger than it; `lag` moves the window back. The rows are those of the view's source, or of
    another `source` of the same entity. With `over: features`, the SQL reads the features declared earlier in the view,
    whichever source they come from. Over a source without `event_time` it is an expression over the entity's one row.
    """

    sql: Expression
    """SQL aggregate over the entity's rows known as of the instant, which is `as_of`; or an expression over its one row.

    `any_value` is the smallest value.
    """
    dtype: FeatureDType
    """Type of the value."""
    source: Name | None = None
    """Source of the rows, if not that of the view."""
    window: Duration | None = None
    """Age up to which rows are aggregated; without it: all rows."""
    lag: Duration | None = None
    """Time between the end of the window and the as-of instant."""
    valid_until: Name | None = None
    """Column of the rows from which on they are not read; by default that of the source."""
    over: Literal["rows", "row", "features"] = "rows"
    """What the SQL reads: rows, the one row of a source without `event_time`, or the view's earlier features."""
    unit: str = ""
    """Unit of measurement; this or `meaning` is required."""
    meaning: str = ""
    """Meaning of the value, for readers."""

    @property
    def reads(self) -> str:
        """The SQL, and the column besides that selects the rows: a text with the names of all columns that are read."""
        return f"{self.sql} {self.valid_until}" if self.valid_until else self.sql

    @model_validator(mode="after")
    def _is_described(self) -> Self:
        if not (self.unit or self.meaning):
            raise ValueError("a feature needs a unit or a meaning, so that readers can interpret its values; add one")
        if self.over == "features" and (self.source or self.window or self.lag or self.valid_until):
            raise ValueError(
                "source, window, lag and valid_until select rows, and a feature over features reads none; take them out"
            )
        return self


class View(Section):
    """A feature view: features of one entity, computed every `every` and fresh for `ttl`.

    With `every: row`, there is a snapshot as of the time when each row became known, and it includes that row.

    The features are computed from the rows of `source`, except for features that name another source. The entity is that of
    `source`, unless `entity` names a linked entity. Then the features aggregate the rows of all entities that are linked to it.
    """

    source: Name
    """Source of the rows."""
    entity: Name | None = None
    """Entity of the view, if not that of the source."""
    ttl: Duration = Field(default_factory=without_end)
    """Age up to which a value is fresh; not allowed if the label has no time."""
    every: Literal["row"] | Cadence = Field(default_factory=lambda: "1 day")
    """Distance between two snapshots, or `row`: one for each row of `source`; not allowed if the label has no time."""
    features: dict[Name, Feature] = Field(default_factory=dict)
    """Features by name."""
    columns: Literal["all"] | Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] | None = None
    """Columns of a source without `event_time` that become features unchanged; `all`: all but keys and the label."""

    @model_validator(mode="after")
    def _has_features(self) -> Self:
        if not self.features and self.columns is None:
            raise ValueError("a view needs features, or columns if its source has no event_time; add one of them")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that the features read, the view's own first."""
        named = (feature.source for feature in self.features.values() if feature.source)
        return tuple(dict.fromkeys((self.source, *named)))


class BuildFeatures(Section):
    """The feature views, the period of their snapshots, and the feature services that models read."""

    snapshots: Period = Field(default_factory=lambda: Period(start=WITHOUT_TIME, end=WITHOUT_TIME))
    """Period of the snapshots; not allowed if the label has no time."""
    views: Annotated[dict[Name, View], Field(min_length=1)]
    """Feature views by name."""
    services: Annotated[dict[Name, Annotated[tuple[str, ...], Field(strict=False, min_length=1)]], Field(min_length=1)]
    """Ordered lists of `view.feature` or `view.*`, by name."""

    @property
    def has_time(self) -> bool:
        """Whether there are instants of snapshots: the label has a time."""
        return self.snapshots.end != WITHOUT_TIME

    def service_features(self, service: str) -> tuple[tuple[str, str], ...]:
        """Return the (view, feature) pairs of `service` in its order, with `view.*` expanded."""
        pairs: list[tuple[str, str]] = []
        for reference in self.services[service]:
            view, _, feature = reference.partition(".")
            names = self.views[view].features if feature == "*" else (feature,)
            pairs += [(view, name) for name in names]
        return tuple(dict.fromkeys(pairs))


class Materialize(Section):
    """The instant as of which the online store holds the latest snapshot of every entity."""

    as_of: Instant = Field(default_factory=without_time)
    """Instant as of which `dvc repro` fills the online tables; a plan whose label has no time has none."""


class Decisions(Section):
    """The names of the two decisions of a binary problem: at or above the threshold, and below it.

    A multiclass problem decides for the most probable class, and a regression decides nothing.
    """

    above: str
    """Name of the decision at or above the threshold."""
    below: str
    """Name of the decision below it."""


class Serve(Section):
    """The policy for features that are not fresh, and the experiment that assigns entities to arms.

    `missing` and `stale` choose how such features are handled: `answer_and_flag` scores their values (None for a missing
    one) and flags them in the response; `refuse` responds with an error for the entity; `as_missing` scores a stale value as
    missing.
    """

    missing: Literal["refuse", "answer_and_flag"]
    """Policy for a missing feature."""
    stale: Literal["refuse", "answer_and_flag", "as_missing"]
    """Policy for a feature older than its view's ttl."""
    experiment: Name
    """Name of the experiment; a new name starts a new experiment."""
    salt: Annotated[str, Field(min_length=1)]
    """Salt of the hash that assigns entities to arms; another salt assigns them anew."""
    arms: dict[Role, Annotated[int, Field(ge=0)]]
    """Weight of each role."""
    decisions: Decisions = Decisions(above="", below="")
    """Names of the two decisions; a binary problem needs them."""
    max_entities: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Largest number of entities in a request."""
    keep_log: Duration | None = None
    """How long predictions stay in the database; `panthera log seal` moves older days to files. Without it they stay."""

    @model_validator(mode="after")
    def _has_weight(self) -> Self:
        if sum(self.arms.values()) == 0:
            raise ValueError("the weights of the arms sum to 0; give at least one arm a positive weight")
        return self


class Decide(Section):
    """The rules by which `panthera monitor` decides: hold, retrain, promote, roll back or block."""

    window: Duration = Field(default_factory=lambda: timedelta(days=7))
    """Length of the window of served predictions that a round looks at; without it 7d."""
    minimum_rows: Annotated[int, Field(ge=1)] = 100
    """Predictions in the window below which drift and data quality are not judged."""
    broken_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Rise of a column's share of missing or unknown values from which its data counts as broken."""
    jumped_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Rise of the share of a number's values in its first or last tenth from which its unit counts as changed: broken data."""
    drifted_weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the model's weight in drifted features from which the inputs count as drifted, as a drifted score does."""
    apart: Duration = Field(default_factory=lambda: timedelta(days=1))
    """Shortest time from a round that saw a drift to the next one, for the drift to be sustained; without it 1d."""
    better: Literal["higher", "lower"] | None = None
    """Which mean outcome is better; without it no outcome leads to a promotion or a rollback."""
    guardrail: Annotated[float, Field(ge=0)] = 0.1
    """Share of its predecessor's mean outcome by which the champion's may be worse; beyond it a rollback is proposed."""
    cooldown: Duration = Field(default_factory=lambda: timedelta(days=7))
    """Time after a round that decided to retrain or to promote, in which no round decides so again; without it 7d."""


class Experiment(Section):
    """How the experiment in `serve` is decided: the difference that matters, and how often one looks at it."""

    minimum_effect: Annotated[float, Field(gt=0)]
    """Smallest difference between the mean outcomes of the arms, absolute, that must not be missed."""
    looks: Annotated[int, Field(ge=1, le=52)] = 5
    """Number of looks, after equal parts of the information that the experiment needs."""
    power: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    """Probability that a look shows a true difference of `minimum_effect`."""
    covariate: Literal["score"] | Reference | None = None
    """Number from before the exposure that narrows the interval (CUPED): `score` of the champion, or a `view.feature`."""
    triggered: bool = False
    """Whether `panthera cohorts` also compares the units for which the two releases decide differently; needs their shadows."""
    guardrails: dict[Name, Guardrail] = Field(default_factory=dict)
    """Metrics of named outcomes that must not become worse, by name."""
    secondary: dict[Name, SecondaryMetric] = Field(default_factory=dict)
    """Further metrics of named outcomes, by name; they decide nothing."""

    @model_validator(mode="after")
    def _names_metrics_once(self) -> Self:
        both = sorted(set(self.guardrails) & set(self.secondary))
        if both:
            raise ValueError(f"{both[0]!r} is a guardrail and a secondary metric; take one of them out")
        return self

    @property
    def metrics(self) -> dict[str, SecondaryMetric]:
        """All metrics besides the label's outcome, guardrails first."""
        return {**self.guardrails, **self.secondary}


class Monitor(Section):
    """The alarm threshold of drift, the share of the log that parity checks, and the confidence of cohort comparisons."""

    psi_alarm: Annotated[float, Field(gt=0)]
    """Population stability index above which a column has drifted."""
    parity_sample: Annotated[float, Field(gt=0, le=1)]
    """Share of the logged predictions that parity recomputes."""
    report_rows: Annotated[int, Field(ge=100, le=50_000)] = 10_000
    """Largest number of rows in the drift report."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level of cohort comparisons."""
    sample_ratio_alarm: Annotated[float, Field(gt=0, lt=1)] = 0.001
    """p-value of the sample ratio below which a comparison is not trusted."""
    expected_drift: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    """Reasons why values drift, by `view.feature`, `view.*` or `score`; only missing or unknown values raise an alarm then."""
    decide: Decide = Field(default_factory=Decide)
    """The rules of `panthera monitor`."""
    experiment: Experiment | None = None
    """How the experiment is decided, by looks that together keep the error 1 - `confidence`; without it only compared."""

    @model_validator(mode="after")
    def _has_direction(self) -> Self:
        if self.experiment and self.decide.better is None:
            raise ValueError("experiment is set but decide.better is not; set decide.better to higher or lower")
        return self

    @property
    def outcome_names(self) -> frozenset[str]:
        """The names of the outcomes of metrics; the label's outcome has no name."""
        return outcome_names(self.experiment.metrics) if self.experiment else frozenset()

    def expected(self, view: str, feature: str) -> str:
        """Return why the values of a feature are expected to move; empty if they are not."""
        return self.expected_drift.get(f"{view}.{feature}") or self.expected_drift.get(f"{view}.*", "")


class Plan(Section):
    """The whole project."""

    project: Project
    """What is predicted, and why."""
    entities: Annotated[dict[Name, Entity], Field(min_length=1)]
    """The predicted entity, and entities linked to it, by name."""
    ingest: Annotated[dict[Name, Source], Field(min_length=1)]
    """Sources by name."""
    validate_: dict[Name, QualityRules] = Field(alias="validate", default_factory=dict)
    """Quality rules by source."""
    label: Label
    """What is predicted."""
    build_features: BuildFeatures
    """Feature views and services."""
    training_set: TrainingSet
    """Training, validation and test rows."""
    train: Train
    """Candidates."""
    evaluate: Evaluate
    """Measures of candidates."""
    register_: Register = Field(alias="register")
    """Name of the model, and what a release must show before it answers."""
    materialize: Materialize = Field(default_factory=Materialize)
    """Instant of the online features."""
    serve: Serve
    """How requests are answered."""
    monitor: Monitor
    """Thresholds of drift, parity and cohorts."""

    @property
    def unit(self) -> Entity:
        """The predicted entity: the one of the label's source."""
        return self.entities[self.ingest[self.label.source].entity]

    @property
    def cluster_column(self) -> str:
        """Column of the training set that names dependent rows: the group of the split, by default the entity."""
        by = self.training_set.split_by
        return column_of(by) if by else self.unit.key

    @property
    def has_time(self) -> bool:
        """Whether the label's source has event times; without them the plan has no as-of instants."""
        source = self.ingest.get(self.label.source)
        return source is None or source.event_time is not None

    @property
    def labels_rows(self) -> bool:
        """Whether the label stands in the rows whose instants are trained on, and so has no window."""
        return self.has_time and self.label.horizon == timedelta()

    def entity_name(self, view: View) -> str:
        """Return the name of the entity that `view` is about."""
        return view.entity or self.ingest[view.source].entity

    def entity_of(self, view: View) -> Entity:
        """Return the entity that `view` is about."""
        return self.entities[self.entity_name(view)]

    def link_of(self, view: View) -> Link | None:
        """Return the link from the predicted entity to the entity that `view` is about; None if they are the same."""
        entity = self.entity_of(view)
        if entity.of is None:
            return None
        name, _, feature = entity.of.partition(".")
        from_key = self.entity_of(self.build_features.views[name]).key
        return Link(name, feature, from_key, entity.key, entity.dtype)
