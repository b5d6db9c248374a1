"""Parity: compare the feature values that the service used with offline recomputed ones, and find the causes of differences."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from core.dtypes import DTYPES
from core.json_text import plain
from core.terminal import terminal_table
from feature_repo.upkeep.causes import Cause, cause_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.table import Table

    from core.contracts import ContractFeature, Value
    from monitoring.logged_predictions import LoggedPrediction
    from monitoring.offline_values import OfflineRow

_RELATIVE_TOLERANCE = 1e-9
_SCORE_TOLERANCE = 1e-9
_EXAMPLES = 10


class CauseGroup(StrEnum):
    """The causes as parity counts them; only `transformation` is a defect of the platform.

    `late_or_restated`: source rows arrived or changed after the served snapshot. `pushed`: the row that was read had been
    pushed, or a pushed row had replaced it. `replayed`: the request was as of a past instant, and the store held a later row.
    `type`: the logged value is not of the declared dtype. `transformation`: none of these; serving and offline computed
    different values.
    """

    LATE_OR_RESTATED = "late_or_restated"
    PUSHED = "pushed"
    REPLAYED = "replayed"
    TYPE = "type"
    TRANSFORMATION = "transformation"


#: The group of each cause that a logged value can have.
GROUP_OF = {
    Cause.TYPE: CauseGroup.TYPE,
    Cause.RESTATED: CauseGroup.LATE_OR_RESTATED,
    Cause.REPLAYED: CauseGroup.REPLAYED,
    Cause.PUSHED: CauseGroup.PUSHED,
    Cause.LATE: CauseGroup.LATE_OR_RESTATED,
    Cause.LOST: CauseGroup.TRANSFORMATION,
    Cause.VALUE: CauseGroup.TRANSFORMATION,
}


@dataclass(frozen=True)
class Mismatch:
    """One differing value; the entity is hashed, so that a report does not disclose it."""

    prediction_id: str
    entity_hash: str
    view: str
    feature: str
    logged: Any
    recomputed: Any
    cause: CauseGroup


@dataclass(frozen=True)
class ParityResult:
    """The result of a parity check.

    Attributes
    ----------
    predictions_checked : number of sampled predictions.
    values_compared : number of their feature values, without stale values that the plan's policy replaced by missing.
    given_values : number of values that came with the request; there is nothing to compare them with.
    stale_values : number of values read from a row older than its ttl; not a difference.
    mismatches : number of differing values by cause.
    score_mismatches : number of predictions whose logged vector, scored again, differs from the logged score by over 1e-9.
    examples : the first differing values.
    skipped_releases : releases trained on another definition of a view than the plan's present one, whose values cannot be
        recomputed.

    """

    release_ids: tuple[str, ...]
    predictions_checked: int
    values_compared: int
    stale_values: int
    mismatches: Mapping[CauseGroup, int]
    score_mismatches: int
    examples: tuple[Mismatch, ...]
    skipped_releases: tuple[str, ...] = ()
    given_values: int = 0

    @property
    def defects(self) -> int:
        """Number of values that serving and offline computed differently, and of scores that are not reproducible."""
        return self.mismatches[CauseGroup.TRANSFORMATION] + self.score_mismatches

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""
        return {
            "release_ids": list(self.release_ids),
            "skipped_releases": list(self.skipped_releases),
            "predictions_checked": self.predictions_checked,
            "values_compared": self.values_compared,
            "stale_values": self.stale_values,
            "given_values": self.given_values,
            "mismatches": {cause.value: self.mismatches[cause] for cause in CauseGroup},
            "score_mismatches": self.score_mismatches,
            "defects": self.defects,
            "examples": plain(self.examples),
        }

    def table(self) -> Table:
        """Return a terminal table of the counts, with examples as its caption."""
        table = terminal_table(
            "what",
            "count",
            numbers=("count",),
            title="Parity of served and offline features",
            caption="\n".join(map(_example_line, self.examples)),
        )
        counts = {
            "predictions checked": self.predictions_checked,
            "values compared": self.values_compared,
            "of them stale": self.stale_values,
            "given by the caller": self.given_values,
            **{f"mismatch: {cause}": self.mismatches[cause] for cause in CauseGroup},
            "mismatch: score": self.score_mismatches,
            "defects": self.defects,
        }
        for what, count in counts.items():
            table.add_row(what, f"{count:,}")
        for release_id in self.skipped_releases:
            table.add_row(f"not checked, since its views had other definitions: {release_id}", "")
        return table


def _example_line(example: Mismatch) -> str:
    return (
        f"{example.cause}: {example.view}.{example.feature} of {example.entity_hash}: "
        f"logged {example.logged!r}, recomputed {example.recomputed!r}"
    )


def hash_of(entity: str) -> str:
    """Return the first 12 hexadecimal digits of the entity's sha256; reversing it needs the list of entities."""
    return hashlib.sha256(entity.encode()).hexdigest()[:12]


def typed(value: Any, dtype: str) -> Value:
    """Return a JSON value as the declared dtype; NaN and infinity become missing, as JSON cannot represent them.

    Raises
    ------
    TypeError
        If the value is not of that dtype.

    """
    if value is None:
        return None
    if dtype in ("float32", "float64") and isinstance(value, int | float) and not isinstance(value, bool):
        number = float(np.float32(value)) if dtype == "float32" else float(value)
        return number if math.isfinite(number) else None
    bounds = DTYPES[dtype].bounds if dtype in DTYPES else None
    if bounds and _is_whole(value) and bounds.start <= value < bounds.stop:
        return int(value)
    if dtype == "bool" and isinstance(value, bool):
        return value
    if dtype in ("string", "text") and isinstance(value, str):
        return value
    if dtype == "timestamp" and isinstance(value, datetime | str):
        return _instant(value)
    raise TypeError(f"{value!r} is not of the dtype {dtype}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == math.floor(value)


def _instant(value: datetime | str) -> datetime:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError as error:
        raise TypeError(str(error)) from None
    if instant.tzinfo is None:
        raise TypeError(f"{value!r} has no time zone")
    return instant.astimezone(UTC)


def agree(one: Value, other: Value) -> bool:
    """Return whether two values of one dtype are equal; floats to a relative 1e-9, since sums depend on the order of rows."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=_RELATIVE_TOLERANCE)
    return one == other


def difference(logged: Any, feature: ContractFeature, has_row: bool, offline: OfflineRow) -> Cause | None:
    """Return why a logged value differs from the recomputed one; None if it does not.

    `has_row` is whether the service read a row of the view. Without a row, the value must be missing offline too. Otherwise it
    is lost if a stored snapshot should have been online, and late if the value became known after the last snapshot.
    """
    try:
        value = typed(logged, feature.dtype)
    except TypeError:
        return cause_of((Cause.TYPE,), equal=False)
    compare = _difference_of_row if has_row else _difference_without_row
    return compare(value, feature, offline)


def _difference_of_row(value: Value, feature: ContractFeature, offline: OfflineRow) -> Cause | None:
    if agree(value, _offline_value(offline.recomputed, feature)):
        return None
    stored = (offline.snapshot, *offline.kept) if offline.snapshot is not None else offline.kept
    restated = any(agree(value, _offline_value(row, feature)) for row in stored)
    return cause_of(_holding({Cause.RESTATED: restated, Cause.PUSHED: offline.pushed}), equal=False)


def _difference_without_row(value: Value, feature: ContractFeature, offline: OfflineRow) -> Cause | None:
    if value is not None:
        return cause_of((), equal=False)
    if offline.snapshot is None or offline.came_later:
        known = (_offline_value(row, feature) for row in (offline.recomputed, offline.snapshot))
        return cause_of((Cause.LATE,), equal=all(each is None for each in known))
    # The snapshot should have been online: where it has no value, missing is what should have been served.
    signs = {Cause.REPLAYED: offline.superseded, Cause.PUSHED: offline.pushed, Cause.LOST: True}
    return cause_of(_holding(signs), equal=_offline_value(offline.snapshot, feature) is None)


def _holding(signs: Mapping[Cause, bool]) -> set[Cause]:
    return {cause for cause, holds in signs.items() if holds}


def _offline_value(row: Mapping[str, Any] | None, feature: ContractFeature) -> Value:
    return None if row is None else typed(row[feature.name], feature.dtype)


def logged_vector(logged: LoggedPrediction, features: Iterable[ContractFeature]) -> list[Value]:
    """Return the logged values in the order of the contract; a value of another dtype becomes missing."""
    vector: list[Value] = []
    for feature in features:
        try:
            vector.append(typed(logged.features.get(feature.column), feature.dtype))
        except TypeError:
            vector.append(None)
    return vector


@dataclass
class _Tally:
    values: int = 0
    stale: int = 0
    given: int = 0
    mismatches: Counter[CauseGroup] = field(default_factory=Counter)
    examples: list[Mismatch] = field(default_factory=list)

    def add(
        self, logged: LoggedPrediction, feature: ContractFeature, value: Any, offline: OfflineRow, group: CauseGroup
    ) -> None:
        """Count a difference, and keep it if it is among the first."""
        self.mismatches[group] += 1
        if len(self.examples) < _EXAMPLES:
            identity = (str(logged.prediction_id), hash_of(logged.entity), feature.view, feature.name)
            self.examples.append(Mismatch(*identity, value, _offline_value(offline.recomputed, feature), group))


#: The values of a row that does not exist.
_NO_ROW: Mapping[str, Any] = {}


def check_parity(
    release_id: str,
    predictions: Sequence[LoggedPrediction],
    features: Sequence[ContractFeature],
    offline: Mapping[str, Sequence[OfflineRow]],
    rescored: Sequence[float],
    *,
    stale_is_missing: bool,
) -> ParityResult:
    """Return the comparison of the logged vectors of a release with their offline counterparts.

    Parameters
    ----------
    predictions : a sample of the release's log.
    features : the features of its contract.
    offline : by view, one row for each prediction, in their order.
    rescored : the scores of the logged vectors by the release's bundle, in the same order.
    stale_is_missing : whether the plan's policy is as_missing: a stale value is scored, and logged, as missing.

    """
    tally = _Tally()
    by_view: dict[str, list[tuple[str, ContractFeature]]] = {}
    for feature in features:
        by_view.setdefault(feature.view, []).append((feature.column, feature))
    for view, compared in by_view.items():
        for logged, row in zip(predictions, offline[view], strict=True):
            _compare(tally, logged, view, compared, row, stale_is_missing)
    scores = zip(predictions, rescored, strict=True)
    return ParityResult(
        release_ids=(release_id,),
        predictions_checked=len(predictions),
        values_compared=tally.values,
        stale_values=tally.stale,
        mismatches=tally.mismatches,
        # `not ... <=` counts NaN as a difference.
        score_mismatches=sum(not abs(logged.score - score) <= _SCORE_TOLERANCE for logged, score in scores),
        examples=tuple(tally.examples),
        given_values=tally.given,
    )


def _compare(
    tally: _Tally,
    logged: LoggedPrediction,
    view: str,
    features: Sequence[tuple[str, ContractFeature]],
    offline: OfflineRow,
    stale_is_missing: bool,
) -> None:
    """Compare the features of one view of one prediction; `features` are with their columns."""
    if logged.is_given(view):
        tally.given += len(features)
        return
    stale = logged.is_stale(view)
    tally.stale += len(features) * stale
    has_row = logged.event_times.get(view) is not None
    values = logged.features
    if stale and stale_is_missing:
        features = [(column, feature) for column, feature in features if values.get(column) is not None]
    tally.values += len(features)
    recomputed = offline.recomputed if features and has_row and offline.recomputed is not None else _NO_ROW
    for column, feature in features:
        value, other = values.get(column), recomputed.get(feature.name)
        # Most values are equal as they stand, and need no conversion: a recomputed value has the declared dtype.
        if value is not None and type(value) is type(other) and value == other:
            continue
        cause = difference(value, feature, has_row, offline)
        if cause is not None:
            tally.add(logged, feature, value, offline, GROUP_OF[cause])


def combined(results: Sequence[ParityResult], skipped_releases: Sequence[str] = ()) -> ParityResult:
    """Return the sum of the results of several releases, with the releases that could not be checked."""
    return ParityResult(
        release_ids=tuple(_flatten(result.release_ids for result in results)),
        predictions_checked=sum(result.predictions_checked for result in results),
        values_compared=sum(result.values_compared for result in results),
        stale_values=sum(result.stale_values for result in results),
        mismatches=sum((Counter(result.mismatches) for result in results), Counter()),
        score_mismatches=sum(result.score_mismatches for result in results),
        examples=tuple(_flatten(result.examples for result in results))[:_EXAMPLES],
        skipped_releases=tuple(skipped_releases),
        given_values=sum(result.given_values for result in results),
    )


def _flatten(lists: Iterable[Iterable[Any]]) -> Iterator[Any]:
    return (item for each in lists for item in each)
