"""What freshness is worth: the loss of a release if the features of a view are older than they were, on the test rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import PantheraError
from core.json_text import plain
from core.plan.times import in_units
from core.terminal import terminal_table
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, part
from models.evaluation.measure_candidates import observed, part_of_plan, resampling_of, scores_of
from models.measures.intervals import Estimate
from models.releases.checks import gain_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from rich.table import Table

    from core.contracts import ContractFeature
    from core.plan.evaluate import Metric
    from core.plan.plan import Plan
    from models.bundles.bundle import Bundle
    from models.measures.metrics import Observed

    #: Joins features to rows with the entity's key and `as_of`, as columns.
    Join = Callable[[pa.Table, Sequence[ContractFeature]], pa.Table]

#: Name of the row that has the features of all views at once.
ALL_VIEWS = "all views"


@dataclass(frozen=True)
class LagPrice:
    """The loss by features that are older by `lag`, or absent with None; positive is worse, for every metric.

    `money` is the loss of profit per 1,000 decisions; None if the plan has no money.
    """

    lag: timedelta | None
    loss: Estimate
    money: Estimate | None


@dataclass(frozen=True)
class ViewStaleness:
    """The prices of a view's lags, in ascending order, and the price of its absence.

    `ttl`, `every` : of the plan; None of all views at once.
    """

    view: str
    ttl: timedelta | None
    every: str | None
    prices: tuple[LagPrice, ...]
    absent: LagPrice

    @property
    def cadence(self) -> timedelta | None:
        """The longest lag up to which no loss is shown: no interval excludes 0; None if the shortest one shows a loss."""
        free = None
        for price in self.prices:
            if price.loss.lower > 0:
                break
            free = price.lag
        return free

    @property
    def useful_age(self) -> timedelta | None:
        """The longest lag up to which old values lose less than none; None if the shortest lag loses as much.

        Beyond it a row should count as stale and its values as missing. Undefined (None) as well if the absence of the view
        shows no loss.
        """
        if not self.absent.loss.lower > 0:
            return None
        useful = None
        for price in self.prices:
            if not price.loss.value < self.absent.loss.value:
                break
            useful = price.lag
        return useful

    @property
    def advice(self) -> str:
        """One sentence: how often to materialize the view, and from which age its rows should be stale."""
        shortest, longest = self.prices[0].lag, self.prices[-1].lag
        if not self.absent.loss.lower > 0:
            return "no loss is shown even without it: any cadence will do"
        cadence = (
            f"materialize more often than every {_text(shortest)}"
            if self.cadence is None
            else f"every {_text(self.cadence)} is often enough"
        )
        if self.useful_age is None:
            return f"{cadence}; values older by {_text(shortest)} are no better than none: ttl below {_text(shortest)}"
        bound = "at least " if self.useful_age == longest else ""
        return f"{cadence}; ttl {bound}{_text(self.useful_age)}"


@dataclass(frozen=True)
class StalenessResult:
    """The price list of a release: the fresh metric on so many test rows, and the prices by view."""

    release_id: str
    metric: Metric
    fresh: float
    rows: int
    currency: str | None
    views: tuple[ViewStaleness, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types; durations as text such as 7d."""
        return {
            "release_id": self.release_id,
            "metric": self.metric,
            "fresh": plain(self.fresh),
            "rows": self.rows,
            "currency": self.currency,
            "views": {
                view.view: {
                    "ttl": _text(view.ttl),
                    "every": view.every,
                    "prices": [_price(price) for price in view.prices],
                    "absent": _price(view.absent),
                    "cadence": _text(view.cadence),
                    "useful_age": _text(view.useful_age),
                    "advice": view.advice,
                }
                for view in self.views
            },
        }

    def table(self) -> Table:
        """Return a terminal table with a row for each view and lag."""
        money = [f"{self.currency} per 1,000"] if self.currency else []
        measures = (f"loss of {self.metric}", *money)
        table = terminal_table(
            "view",
            "older by",
            *measures,
            numbers=measures,
            title=f"What freshness is worth to {self.release_id}: {self.metric} {self.fresh:.4f} on {self.rows:,} test rows",
            caption="\n".join(f"{view.view}: {view.advice}" for view in self.views),
        )
        for view in self.views:
            for price in (*view.prices, view.absent):
                amounts = [_interval(price.money, 2)] if price.money else []
                table.add_row(view.view, _text(price.lag) or "absent", _interval(price.loss, 4), *amounts)
        return table


def _price(price: LagPrice) -> dict[str, object]:
    return {"lag": _text(price.lag), "loss": plain(price.loss), "money": plain(price.money)}


def _interval(found: Estimate, digits: int) -> str:
    return f"{found.value:+.{digits}f} ({found.lower:+.{digits}f} to {found.upper:+.{digits}f})"


def _text(duration: timedelta | None) -> str | None:
    return None if duration is None else in_units(duration)


def price_staleness(
    plan: Plan,
    bundle: Bundle,
    release_id: str,
    training_set: pa.Table,
    join: Join,
    lags: Sequence[timedelta],
    rows: int,
) -> StalenessResult:
    """Return the price list of a release.

    The test rows are scored with each view's features as they were known `lag` before the row's instant, all others fresh.
    The differences are paired, and their intervals come from resampling entities (`evaluate.intervals`).

    Parameters
    ----------
    training_set : the table of the stage `training_set`.
    join : the point-in-time join.
    lags : in ascending order, at least one.
    rows : the largest number of test rows, which are drawn with the plan's seed.

    Raises
    ------
    PantheraError
        If the plan's label has no time, so that no feature can be older.

    """
    if not plan.has_time:
        raise PantheraError("the plan's label has no time, so its features have one age; nothing can be older")
    features = bundle.contract.features
    scoring = _Scoring(plan, bundle, training_set)
    test = _drawn(part(training_set, TEST), rows, plan.train.seed)
    missing = [feature for feature in features if feature.column not in test.column_names]
    test = join(test, missing) if missing else test
    older = {lag: join(_shifted(test, plan.unit.key, lag), features) for lag in lags}
    fresh = scoring.observed(test)
    parts = {view: [each for each in features if each.view == view] for view in dict.fromkeys(f.view for f in features)}
    views = [
        _of_view(scoring, fresh, test, older, view, chosen)
        for view, chosen in ({**parts, ALL_VIEWS: list(features)} if len(parts) > 1 else parts).items()
    ]
    metric = plan.evaluate.primary
    money = plan.evaluate.money
    value = gain_of(metric, fresh, fresh, resampling_of(plan.evaluate, plan.train.seed)).challenger
    return StalenessResult(release_id, metric, value, len(test), money.currency if money else None, tuple(views))


@dataclass(frozen=True)
class _Scoring:
    """Scores tables of test rows as the release would."""

    plan: Plan
    bundle: Bundle
    training_set: pa.Table

    def observed(self, table: pa.Table) -> Observed:
        plan, contract = self.plan, self.bundle.contract
        task = task_of(plan.project.problem, part(self.training_set, TRAIN), plan.label.ordered)
        encoded = part_of_plan(plan, table, TEST, contract.features, task)
        scores = scores_of(self.bundle.outputs_of(encoded.rows.inputs))
        return observed(plan.evaluate, plan.project.problem, encoded, scores, contract.threshold, contract.interval)

    def price(self, fresh: Observed, table: pa.Table, lag: timedelta | None) -> LagPrice:
        section, older = self.plan.evaluate, self.observed(table)
        return LagPrice(
            lag,
            self._loss(section.primary, fresh, older),
            self._loss("profit", fresh, older) if section.money else None,
        )

    def _loss(self, metric: Metric, fresh: Observed, older: Observed) -> Estimate:
        gain = gain_of(metric, fresh, older, resampling_of(self.plan.evaluate, self.plan.train.seed))
        return Estimate(gain.gain, gain.lower, gain.upper)


def _of_view(
    scoring: _Scoring,
    fresh: Observed,
    test: pa.Table,
    older: Mapping[timedelta, pa.Table],
    name: str,
    features: Sequence[ContractFeature],
) -> ViewStaleness:
    view = None if name == ALL_VIEWS else scoring.plan.build_features.views.get(name)
    names = [feature.column for feature in features]
    prices = [scoring.price(fresh, _replaced(test, table, names), lag) for lag, table in older.items()]
    absent = scoring.price(fresh, _replaced(test, None, names), None)
    ttl, every = (view.ttl, view.every) if view else (None, None)
    return ViewStaleness(name, ttl, every, tuple(prices), absent)


def _drawn(table: pa.Table, rows: int, seed: int) -> pa.Table:
    if len(table) <= rows:
        return table
    return table.take(np.sort(np.random.default_rng(seed).choice(len(table), rows, replace=False)))


def _shifted(table: pa.Table, key: str, lag: timedelta) -> pa.Table:
    """Return the keys with instants that are earlier by `lag`."""
    earlier = pc.subtract(table.column("as_of"), pa.scalar(lag, pa.duration(table.schema.field("as_of").type.unit)))
    return pa.table({key: table.column(key), "as_of": earlier})


def _replaced(table: pa.Table, older: pa.Table | None, names: Sequence[str]) -> pa.Table:
    """Return the table with the columns `names` of `older`, which has the same rows; with nulls if it is None."""
    for name in names:
        index, dtype = table.schema.get_field_index(name), table.schema.field(name).type
        values = pa.nulls(len(table), dtype) if older is None else older.column(name).cast(dtype)
        table = table.set_column(index, name, values)
    return table
