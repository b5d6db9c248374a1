"""Value types that several layers use: the contract of a bundle, and the rows read from the online store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from core.calibration import Calibration, ScoreReference
    from core.prediction_interval import PredictionInterval

#: A feature's value; None is missing.
Value: TypeAlias = "int | float | str | bool | datetime | None"
#: The key of an entity.
Key: TypeAlias = int | str
#: Maximum length of an entity key in characters; a PostgreSQL index entry holds that many of any alphabet.
LONGEST_KEY = 512
#: Policy for a string feature's value that does not occur in the training rows: score it as missing, or refuse the entity.
UnseenLevel: TypeAlias = Literal["as_missing", "refuse"]


class Freshness(StrEnum):
    """Freshness of a feature row: FRESH within its ttl, STALE beyond it, MISSING without a row; GIVEN came with the request."""

    FRESH = "FRESH"
    STALE = "STALE"
    MISSING = "MISSING"
    GIVEN = "GIVEN"


@dataclass(frozen=True)
class ContractFeature:
    """One input feature of a model.

    Attributes
    ----------
    view, name, dtype : as declared in the plan.
    levels : the training values of a string feature, in the order of their integer codes; empty for other dtypes.
    nullable : whether the feature was missing in some training row.

    """

    view: str
    name: str
    dtype: str
    levels: tuple[str, ...] = ()
    nullable: bool = True

    @property
    def column(self) -> str:
        """The feature's column name in tables with several views: `view__feature`."""
        return f"{self.view}__{self.name}"


@dataclass(frozen=True)
class Link:
    """A foreign key: the feature of the predicted entity that holds the key of a linked entity.

    Attributes
    ----------
    view, feature : the feature that holds the key, and its view.
    from_key : the key column of that view.
    key, dtype : the key column of the linked entity.

    """

    view: str
    feature: str
    from_key: str
    key: str
    dtype: str

    @property
    def column(self) -> str:
        """The feature's column name in tables with several views: `view__feature`."""
        return f"{self.view}__{self.feature}"


@dataclass(frozen=True)
class ContractView:
    """A feature view that a model reads: its online table and its ttl.

    Attributes
    ----------
    online_table : the table of this version of the view's definition.
    definition : sha256 of the definition; empty if the bundle's format does not record it.
    link : how the linked entity is reached, for a view about one; else None.
    packed : all features of the view with their dtypes, if its online table stores them in arrays; else empty.

    """

    name: str
    online_table: str
    ttl: timedelta
    definition: str = ""
    link: Link | None = None
    packed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Contract:
    """The inputs and outputs of a model, and the data and code it was made from; stored in its bundle.

    Attributes
    ----------
    entity_key, entity_dtype : the key column of the predicted entity.
    features : the ordered inputs; the only feature list that training and serving read.
    threshold : scores at or above it get the decision `above`.
    horizon : length of the label window.
    model : registered model name; empty if the bundle's format does not record it.
    label : sha256 of the label's definition.
    data_revision, code_revision, lock : the training set, the commit, and the sha256 of the locked packages.
    unseen_level : policy for a string value that does not occur in the training rows.
    calibration : the map from scores to probabilities; None returns the scores unchanged.
    classes : class names of a multiclass problem, in the order of the score columns.
    seen_until : when the last label of the training and validation rows was known; None if not recorded.
    test_rows : sha256 of the identity of the test rows, which the model has not seen.
    positive, negative : names of class 1, whose probability the score of a binary problem is, and of class 0; empty if the
        plan states none.
    interval : the interval around each predicted number of a regression; None if the plan has none.
    weight : `view.feature` that weighted the training rows; empty if all counted alike.
    score_reference : outcomes of the test rows by score, of a binary problem; None if not recorded.

    A sha256 is empty if the bundle's format does not record it.

    """

    format_version: int
    project: str
    problem: str
    candidate: str
    estimator: str
    feature_service: str
    entity_key: str
    entity_dtype: str
    views: tuple[ContractView, ...]
    features: tuple[ContractFeature, ...]
    threshold: float
    horizon: timedelta
    data_revision: str
    code_revision: str
    model: str = ""
    label: str = ""
    lock: str = ""
    unseen_level: UnseenLevel = "as_missing"
    calibration: Calibration | None = None
    seen_until: datetime | None = None
    test_rows: str = ""
    classes: tuple[str, ...] = ()
    positive: str = ""
    negative: str = ""
    interval: PredictionInterval | None = None
    weight: str = ""
    score_reference: ScoreReference | None = None


#: PostgreSQL's epoch.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds_of(instant: datetime) -> int:
    """Return the microseconds since 2000-01-01 UTC, PostgreSQL's epoch."""
    return (instant - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=4096)
def instant_of(microseconds: int) -> datetime:
    """Return the instant in UTC; the inverse of `microseconds_of`.

    It is cached, since rows that were built together share their instant.
    """
    return _EPOCH + timedelta(microseconds=microseconds)


class ViewRead(NamedTuple):
    """The online row of one entity in one view, as read for a request.

    Attributes
    ----------
    event : its event time in microseconds since 2000 (see `microseconds_of`); None if the status is MISSING or GIVEN.
    values : in the order of the requested features; all None if the status is MISSING.

    """

    event: int | None
    status: Freshness
    values: tuple[Value, ...]

    @property
    def event_time(self) -> datetime | None:
        """The event time in UTC; None if the status is MISSING."""
        return None if self.event is None else instant_of(self.event)
