"""The plan as a whole, and the sections without a module of their own; `core.plan.file` reads it from `params.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.contracts import Link
from core.plan.evaluate import Evaluate  # noqa: TC001 - pydantic reads the annotations
from core.plan.ingest import QualityRules, Source  # noqa: TC001 - pydantic reads the annotations
from core.plan.register import Register  # noqa: TC001 - pydantic reads the annotations
from core.plan.section import Name, Section
from core.plan.times import Cadence, Duration, Instant, Period  # noqa: TC001 - pydantic reads the annotations
from core.plan.train import Train  # noqa: TC001 - pydantic reads the annotations
from core.plan.training_set import Label, TrainingSet  # noqa: TC001 - pydantic reads the annotations
from core.roles import Role  # noqa: TC001 - pydantic reads the annotations

#: A `text` is free text, which only a text step of a candidate reads; a `string` is one of some levels.
FeatureDType = Literal["int32", "int64", "float32", "float64", "string", "bool", "timestamp", "text"]
NUMERIC = frozenset({"int32", "int64", "float32", "float64", "bool"})

Problem = Literal["binary", "multiclass", "regression"]


class Project(Section):
    """What is predicted, for whom, and why."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=60)]
    """Name, which also names the Feast project and the demo's folder."""
    problem: Problem
    """Kind of label."""
    statement: str
    """The question, for readers."""
    target_outcome: str = ""
    """What the predictions are to achieve, for readers."""
    scope: str = ""
    """Whom they are for, for readers."""


class Entity(Section):
    """A thing that is predicted for, or that such a thing belongs to.

    It exists from its first row in `source` on and, if there is a source that tells of its end, until its first row there.

    `of: view.feature` makes it a linked one: that feature, of a view of what is predicted for, holds its key, so that views
    about it can stand in the same service. Without a source of its own it exists from when something first belonged to it.
    """

    key: Name
    """Column that identifies it."""
    dtype: Literal["int64", "string"]
    """Type of the key."""
    source: Name | None = None
    """Source whose first row of a key begins its existence."""
    until: Name | None = None
    """Source whose first row of a key ends its existence."""
    of: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")] | None = None
    """`view.feature` of the predicted entity that holds the key of this one."""

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


class Feature(Section):
    """One fact about an entity as of a time: an SQL aggregate over its rows, or an expression over other features.

    `window` keeps only rows younger than it; `lag` moves the window back. The rows are those of the view's source, or of
    another `source` of the same entity. With `over: features` the SQL speaks of the view's features that stand before,
    whichever source they come from.
    """

    sql: str
    """SQL aggregate over the entity's rows known as of the instant, which is `as_of`."""
    dtype: FeatureDType
    """Type of the value."""
    source: Name | None = None
    """Source of the rows, if not that of the view."""
    window: Duration | None = None
    """Age up to which rows count; without it: all rows."""
    lag: Duration | None = None
    """Time by which the window ends before the instant."""
    over: Literal["rows", "features"] = "rows"
    """What the SQL reads: rows, or the view's earlier features."""
    unit: str = ""
    """Unit of measurement; this or `meaning` is required."""
    meaning: str = ""
    """What the value says, for readers."""

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
    """Source of the rows."""
    entity: Name | None = None
    """Entity of the view, if not that of the source."""
    ttl: Duration
    """Age up to which a value is fresh."""
    every: Cadence
    """Distance between two snapshots."""
    features: Annotated[dict[Name, Feature], Field(min_length=1)]
    """Features by name."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources whose rows the features come from, the view's own first."""
        named = (feature.source for feature in self.features.values() if feature.source)
        return tuple(dict.fromkeys((self.source, *named)))


class BuildFeatures(Section):
    """The feature views, the period that their snapshots cover, and the services that models take."""

    snapshots: Period
    """Period of the snapshots."""
    views: Annotated[dict[Name, View], Field(min_length=1)]
    """Feature views by name."""
    services: Annotated[dict[Name, Annotated[tuple[str, ...], Field(strict=False, min_length=1)]], Field(min_length=1)]
    """Ordered lists of `view.feature` or `view.*`, by name."""

    def service_features(self, service: str) -> tuple[tuple[str, str], ...]:
        """List the (view, feature) pairs of `service` in its order, with `view.*` written out."""
        pairs: list[tuple[str, str]] = []
        for reference in self.services[service]:
            view, _, feature = reference.partition(".")
            names = self.views[view].features if feature == "*" else (feature,)
            pairs += [(view, name) for name in names]
        return tuple(dict.fromkeys(pairs))


class Materialize(Section):
    """The instant as of which the online store holds the latest snapshot of every entity."""

    as_of: Instant
    """Instant as of which `dvc repro` fills the online tables."""


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

    `missing` and `stale` say what an answer does with such features: `answer_and_flag` scores them as they are (a
    missing one as missing) and says so, `refuse` answers that entity with an error, `as_missing` scores a stale value
    as missing.
    """

    missing: Literal["refuse", "answer_and_flag"]
    """What an answer does with a missing feature."""
    stale: Literal["refuse", "answer_and_flag", "as_missing"]
    """What an answer does with a feature older than its view's ttl."""
    experiment: Name
    """Name of the experiment; another name begins another one."""
    salt: Annotated[str, Field(min_length=1)]
    """Text from which arms are drawn; another one draws anew."""
    arms: dict[Role, Annotated[int, Field(ge=0)]]
    """Weight of each role."""
    decisions: Decisions = Decisions(above="", below="")
    """Names of the two decisions; a binary problem needs them."""
    max_entities: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Largest number of entities in a request."""

    @model_validator(mode="after")
    def _has_weight(self) -> Self:
        if sum(self.arms.values()) == 0:
            raise ValueError("the weights of the arms sum to 0; give at least one arm a positive weight")
        return self


class Monitor(Section):
    """When drift alarms, how much of the log parity checks, and how sure a cohort comparison must be."""

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


class Plan(Section):
    """The whole project."""

    project: Project
    """What is predicted, and why."""
    entities: Annotated[dict[Name, Entity], Field(min_length=1)]
    """What is predicted for, and what those belong to, by name."""
    ingest: Annotated[dict[Name, Source], Field(min_length=1)]
    """Sources by name."""
    validate_: dict[Name, QualityRules] = Field(alias="validate", default_factory=dict)
    """Quality rules by source."""
    label: Label
    """What is predicted."""
    build_features: BuildFeatures
    """Feature views and services."""
    training_set: TrainingSet
    """Rows to learn from."""
    train: Train
    """Candidates."""
    evaluate: Evaluate
    """Measures of candidates."""
    register_: Register = Field(alias="register")
    """Name of the model, and what a release must show before it answers."""
    materialize: Materialize
    """What is online."""
    serve: Serve
    """How requests are answered."""
    monitor: Monitor
    """When to alarm."""

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
