"""Values that cross layers: the contract of a bundle, and what a read of the online store gives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from core.calibration import Calibration

#: A feature's value as it travels: None is missing.
Value: TypeAlias = "int | float | str | bool | datetime | None"
#: The key of an entity.
Key: TypeAlias = int | str
#: How many characters the key of an entity may have; PostgreSQL's indexes hold that many of any alphabet.
LONGEST_KEY = 512
#: What becomes of a value that a string feature did not have in training.
UnseenLevel: TypeAlias = Literal["as_missing", "refuse"]


class Freshness(StrEnum):
    """Whether a value may be used as if it were of now."""

    FRESH = "FRESH"
    STALE = "STALE"
    MISSING = "MISSING"


@dataclass(frozen=True)
class ContractFeature:
    """One input of a model, at its position.

    Attributes
    ----------
    view, name, dtype : as the plan declares them.
    levels : the values that a string feature had in training, in the order of their codes; empty for other dtypes.
    nullable : whether it was missing in some training row.

    """

    view: str
    name: str
    dtype: str
    levels: tuple[str, ...] = ()
    nullable: bool = True

    @property
    def column(self) -> str:
        """The name of the feature wherever views stand beside one another."""
        return f"{self.view}__{self.name}"


@dataclass(frozen=True)
class Link:
    """How a linked entity is reached from the one that is predicted for.

    Attributes
    ----------
    view, feature : the feature of a view of the latter that holds the key of the former.
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
        """The name of the feature wherever views stand beside one another."""
        return f"{self.view}__{self.feature}"


@dataclass(frozen=True)
class ContractView:
    """A view that a model reads: the online table of this very definition of it, and how long a row is fresh.

    `definition` is the sha256 of the definition; empty where the bundle's format did not say. `link` is there if the view
    is about a linked entity. `packed` are all features of the view, each with its dtype, if its online table is packed.
    """

    name: str
    online_table: str
    ttl: timedelta
    definition: str = ""
    link: Link | None = None
    packed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Contract:
    """What a model takes and says, and from which data and code it came; stored in its bundle.

    Attributes
    ----------
    entity_key, entity_dtype : the key column of the entity that is predicted for.
    features : the ordered inputs; both training and serving read this list and no other.
    threshold : a score at or above it is the decision `above`.
    horizon : length of the label window.
    model : the name under which it is registered; empty where the bundle's format did not say.
    label : sha256 of the label's definition.
    data_revision, code_revision, lock : the training set, the commit, and the sha256 of the locked packages.
    unseen_level : what a string feature's value that training did not have is: `as_missing`, or a reason to `refuse`.
    calibration : how the model's scores become probabilities; None gives them as they are.
    classes : of a multiclass problem, in the order of their scores.
    seen_until : when the last label window closed of the rows that it was fitted on or chosen by; None if not kept.
    test_rows : sha256 of which rows it was tested on, and so has not seen.

    A sha256 is empty where the bundle's format did not say it.

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


#: From when on PostgreSQL counts.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds_of(instant: datetime) -> int:
    """Count the microseconds from the start of 2000 in UTC, as PostgreSQL does."""
    return (instant - _EPOCH) // _MICROSECOND


def instant_of(microseconds: int) -> datetime:
    """Give the instant of what `microseconds_of` counts, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


class ViewRead(NamedTuple):
    """The online row of one entity in one view, as it stood for a request.

    Attributes
    ----------
    event : when it happened, in microseconds as `microseconds_of` counts them; None where the status is MISSING.
    values : in the order that the reader asked for; all None where the status is MISSING.

    """

    event: int | None
    status: Freshness
    values: tuple[Value, ...]

    @property
    def event_time(self) -> datetime | None:
        """When it happened."""
        return None if self.event is None else instant_of(self.event)
