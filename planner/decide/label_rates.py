"""How often the label is 1, by horizon, and how many units arrive, counted from the accepted rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from core.errors import PlanError
from core.plan.training_set import TemporalSplit
from feature_repo.join.time_line import microseconds
from models.data.labels import plan_labels

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.plan.plan import Plan

#: Alternatives to the plan's horizon, as multiples of it.
_MULTIPLES = (0.5, 1.0, 2.0)
_DAY_MICROSECONDS = 86_400_000_000


@dataclass(frozen=True)
class LabelRate:
    """What labels of one horizon are like.

    Attributes
    ----------
    horizon : None if the label has no window.
    known_after : time from the instant until the label is known; None if the plan has no times.
    is_planned : whether it is the horizon of the plan; else only its own length differs.
    rows, positives : the labelled rows, and those with label 1.
    test_rows, test_positives : those from the first instant of the test part on; None without a split in time.

    """

    horizon: timedelta | None
    known_after: timedelta | None
    is_planned: bool
    rows: int
    positives: int
    test_rows: int | None
    test_positives: int | None

    @property
    def base_rate(self) -> float:
        """The share of labels that are 1; NaN without rows."""
        return self.positives / self.rows if self.rows else float("nan")


@dataclass(frozen=True)
class Arrivals:
    """The units that an experiment can have.

    Attributes
    ----------
    waiting : units that are there on its first day.
    daily : units that arrive each day; None where that is unknown.

    """

    waiting: int
    daily: float | None


def labelled_rows(plan: Plan, accepted: Path, multiple: float = 1.0) -> pa.Table:
    """Return the labelled rows of the plan, with its horizon multiplied; columns: key, as_of, label.

    Instants whose window would not be closed at the end of the source are left out.

    Raises
    ------
    PlanError
        If no instant is left, or the SQL of the label fails.

    """
    if multiple == 1:
        return plan_labels(plan, accepted).rows
    label, section = plan.label.model_copy(update={"horizon": plan.label.horizon * multiple}), plan.training_set
    last = plan.ingest[label.source].observed_until - label.known_after
    if last < section.as_of.start:
        raise PlanError("no window of this length is closed within the data")
    as_of = section.as_of.model_copy(update={"end": min(section.as_of.end, last)})
    changed = {"label": label, "training_set": section.model_copy(update={"as_of": as_of})}
    return plan_labels(plan.model_copy(update=changed), accepted).rows


def label_rates(plan: Plan, accepted: Path, planned: pa.Table, *, alternatives: bool = True) -> tuple[LabelRate, ...]:
    """Return the rate of the plan's label, whose rows are `planned`, and `alternatives` of half and double the horizon."""
    if not plan.has_time or plan.labels_rows:
        return (_rate(plan, planned, None),)
    multiples = _MULTIPLES if alternatives else (1.0,)
    return tuple(rate for multiple in multiples if (rate := _at_multiple(plan, accepted, planned, multiple)))


def _at_multiple(plan: Plan, accepted: Path, planned: pa.Table, multiple: float) -> LabelRate | None:
    """Return the rate with the horizon multiplied; None if no window of that length is closed."""
    if multiple == 1:
        return _rate(plan, planned, multiple)
    try:
        return _rate(plan, labelled_rows(plan, accepted, multiple), multiple)
    except PlanError:
        return None


def _rate(plan: Plan, rows: pa.Table, multiple: float | None) -> LabelRate:
    label, split = np.asarray(rows.column("label").to_numpy()), plan.training_set.split
    tested = _from_instant(rows, split.test_from) if isinstance(split, TemporalSplit) else None
    horizon = None if multiple is None else plan.label.horizon * multiple
    longer = timedelta() if horizon is None else horizon - plan.label.horizon
    return LabelRate(
        horizon,
        plan.label.known_after + longer if plan.has_time else None,
        multiple in {None, 1.0},
        len(label),
        int(label.sum()),
        None if tested is None else int(tested.sum()),
        None if tested is None else int(label[tested].sum()),
    )


def _from_instant(rows: pa.Table, instant: datetime) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = microseconds(rows.column("as_of"), "as_of") >= instant.timestamp() * 1_000_000
    return found


def arrivals(plan: Plan, rows: pa.Table) -> Arrivals:
    """Return how many units wait and arrive, from when each entity is first among the labelled `rows`.

    With a grid of instants, all entities of the last instant wait, and those arrive that are in none of the instants before.
    If each row is an instant, an entity takes part from its next row on, so none waits.
    """
    if not plan.has_time:
        return Arrivals(len(rows), None)
    times = microseconds(rows.column("as_of"), "as_of")
    firsts = _first_times(rows.column(plan.unit.key).combine_chunks(), times)
    days = max((int(times.max()) - int(times.min())) / _DAY_MICROSECONDS, 1.0) if len(times) else 1.0
    if plan.training_set.as_of.every is None:
        return Arrivals(0, len(firsts) / days)
    later = int((firsts > times.min()).sum()) if len(times) else 0
    daily = later / days if len(np.unique(times)) > 1 else None
    return Arrivals(int((times == times.max()).sum()) if len(times) else 0, daily)


def _first_times(keys: pa.Array, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first instant of each distinct key."""
    encoded = keys.dictionary_encode()
    firsts = np.full(len(encoded.dictionary), np.iinfo(np.int64).max)
    np.minimum.at(firsts, encoded.indices.to_numpy(), times)
    return firsts
