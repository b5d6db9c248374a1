"""Compute the scores and decisions of many entities from columns of features; the rules are those of `serving.predict`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from core.errors import BundleError
from core.plan.times import WITHOUT_TIME
from feature_repo.online.column_reads import STATUSES, ColumnReader, hidden
from models.scoring.encoding import encode_table
from models.scoring.model_file import score_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from core.contracts import Contract
    from feature_repo.online.column_reads import ViewColumns
    from serving.active_releases import ActiveReleases, Release
    from serving.predict import Policy

SCORE, DECISION, ERROR = "score", "decision", "error"
_INSTANT = pa.timestamp("us", tz="UTC")
#: The codes of `error`, by their index; the first is no error.
_ERRORS = (None, "features_missing", "features_stale", "features_unfit")
_NONE, _MISSING, _STALE, _UNFIT = range(len(_ERRORS))


def column_reader(active: ActiveReleases) -> ColumnReader:
    """Return the reader of the values that the only one of the active releases takes."""
    contract, tables = active.champion.bundle.contract, active.champion.tables
    dtypes: dict[str, dict[str, str]] = {table: {} for table in tables.values()}
    for feature in contract.features:
        dtypes[tables[feature.view]][feature.name] = feature.dtype
    return ColumnReader(active.handle.views, dtypes, contract.entity_key, contract.entity_dtype)


@dataclass(frozen=True)
class ColumnScorer:
    """The scorer of columns with one release.

    The result is a table with a row for each entity: its key, `release`, `as_of`, `score`, `decision`, the bounds of the
    interval and the probabilities of the classes if the release has them, `error` (the code of a refusal, null without one),
    and for each view `<view>__status` and `<view>__event_time`.
    """

    release: Release
    policy: Policy

    @cached_property
    def contract(self) -> Contract:
        """The contract of the release."""
        return self.release.bundle.contract

    def score(self, keys: pa.Array, reads: Mapping[str, ViewColumns], as_of: datetime) -> pa.Table:
        """Return the table of `keys` from their online rows by online table.

        Raises
        ------
        BundleError
            If the model fails, or a score is not finite.

        """
        inputs = self._inputs(reads)
        errors = self._errors(reads, inputs)
        answered = errors == _NONE
        scored = inputs if answered.all() else inputs.filter(pa.array(answered))
        outputs = _finite(self.release.bundle.outputs_of(encode_table(scored, self.contract.features)))
        predicted = {name: _spread(column, answered) for name, column in self._predicted(outputs).items()}
        return pa.table(
            {
                self.contract.entity_key: keys,
                "release": _named(np.zeros(len(keys), np.int8), [self.release.release_id]),
                "as_of": pa.array(np.full(len(keys), np.datetime64(as_of.replace(tzinfo=None), "us"))).cast(_INSTANT),
                **predicted,
                ERROR: _named(np.where(answered, 0, errors - 1).astype(np.int8), _ERRORS[1:], answered),
                **dict(self._freshness(reads)),
            }
        )

    def _inputs(self, reads: Mapping[str, ViewColumns]) -> pa.Table:
        columns = {}
        for feature in self.contract.features:
            read = reads[self.release.tables[feature.view]]
            column = read.values[feature.name]
            columns[feature.column] = hidden(column, read.is_stale) if self.policy.stale == "as_missing" else column
        return pa.table(columns)

    def _errors(self, reads: Mapping[str, ViewColumns], inputs: pa.Table) -> NDArray[np.int8]:
        """Return the index in `_ERRORS` for each row; the first reason in the order of the service counts."""
        views = [reads[table] for table in self.release.tables.values()]
        errors = np.where(self.release.bundle.conformance.unfit(inputs), _UNFIT, _NONE).astype(np.int8)
        if self.policy.stale == "refuse":
            errors[np.logical_or.reduce([view.is_stale for view in views])] = _STALE
        if self.policy.missing == "refuse":
            errors[np.logical_or.reduce([view.is_missing for view in views])] = _MISSING
        return errors

    def _predicted(self, outputs: NDArray[np.float64]) -> dict[str, pa.Array]:
        contract, scores = self.contract, score_of(outputs)
        predicted = {SCORE: pa.array(scores), DECISION: self._decisions(outputs, scores)}
        if contract.interval:
            lower, upper = contract.interval.lower, contract.interval.upper
            predicted |= {"interval_lower": pa.array(scores + lower), "interval_upper": pa.array(scores + upper)}
        if contract.classes:
            columns = {name: outputs[:, index] for index, name in enumerate(contract.classes)}
        else:
            columns = {contract.positive: scores, contract.negative: 1 - scores} if contract.negative else {}
        return predicted | {f"probability_{name}": pa.array(column) for name, column in columns.items()}

    def _decisions(self, outputs: NDArray[np.float64], scores: NDArray[np.float64]) -> pa.Array:
        if self.contract.classes:
            return _named(outputs.argmax(axis=1).astype(np.int32), self.contract.classes)
        if self.contract.problem == "regression":
            return pa.nulls(len(scores), pa.string()).dictionary_encode()
        return above_or_below(scores >= self.contract.threshold, self.policy)

    def _freshness(self, reads: Mapping[str, ViewColumns]) -> Iterator[tuple[str, pa.Array]]:
        for view, table in self.release.tables.items():
            yield f"{view}__status", _named(reads[table].statuses, [str(status) for status in STATUSES])
            yield f"{view}__event_time", _without_time_as_null(reads[table].event_times)


def above_or_below(is_above: NDArray[np.bool_], policy: Policy) -> pa.Array:
    """Return the decision `above` or `below` for each row."""
    return _named((~is_above).astype(np.int8), [policy.above, policy.below])


def worst_statuses(table: pa.Table) -> dict[str, int]:
    """Return the number of rows by their worst status over all views."""
    names = [name for name in table.column_names if name.endswith("__status")]
    codes = [np.asarray(table.column(name).combine_chunks().indices) for name in names]
    worst = np.max(codes, axis=0)
    return {str(status): int((worst == code).sum()) for code, status in enumerate(STATUSES)}


def _named(codes: NDArray[Any], names: Sequence[Any], absent: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return a column of text by the index of each row's text; null where `absent`."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=absent), pa.array(names, pa.string()))


def _spread(column: pa.Array, rows: NDArray[np.bool_]) -> pa.Array:
    """Return the values of `column` at the rows of a mask, and null at the others."""
    if rows.all():
        return column
    return column.take(pa.array(np.cumsum(rows) - 1, mask=~rows))


def _finite(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(outputs).all():
        wrong = outputs[~np.isfinite(outputs)][0]
        raise BundleError(f"a model returned the score {wrong}; expected a finite number; promote another release")
    return outputs


def _without_time_as_null(times: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(times, pa.scalar(WITHOUT_TIME, times.type)), pa.scalar(None, times.type), times)
