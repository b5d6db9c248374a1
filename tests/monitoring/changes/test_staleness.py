"""The price of older features, on a world whose values a month ago were the opposite of today's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.small_release import PLAN, enter
from core.errors import PantheraError
from models.bundles.bundle import load_bundle
from models.bundles.signing import read_trusted
from models.measures.intervals import Estimate
from monitoring.changes.staleness import LagPrice, ViewStaleness, price_staleness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import ContractFeature
    from core.settings import Settings

DAY, MARCH = timedelta(days=1), datetime(2026, 3, 1, tzinfo=UTC)
ACCOUNTS = np.arange(400)
ORDERS = ACCOUNTS % 40


def join(rows: pa.Table, features: Sequence[ContractFeature]) -> pa.Table:
    """Join the orders of now, which are those of yesterday; a month ago, those with many orders had few."""
    assert [feature.column for feature in features] == ["history__orders"]
    accounts, instants = rows.column("account_id").to_numpy(), rows.column("as_of").to_pylist()
    is_old = np.array([instant < MARCH - 7 * DAY for instant in instants])
    return rows.append_column("history__orders", pa.array(np.where(is_old, 39 - accounts % 40, accounts % 40)))


def training_set() -> pa.Table:
    """Return accounts in both parts; those with fewer than ten orders leave."""
    half = pa.table(
        {
            "account_id": ACCOUNTS,
            "as_of": pa.array([MARCH] * len(ACCOUNTS), pa.timestamp("us", "UTC")),
            "label": pa.array((ORDERS < 10).astype(np.int32)),
            "history__orders": ORDERS,
        }
    )
    parts = [half.add_column(3, "split", pa.array([name] * len(half))) for name in ("train", "test")]
    return pa.concat_tables(parts)


def test_the_loss_by_lag_is_that_of_the_world_and_the_advice_follows_from_it(settings: Settings) -> None:
    release = enter(settings, "r1")
    bundle = load_bundle(settings.bundles / release.bundle_digest, read_trusted(settings))
    found = price_staleness(PLAN, bundle, "r1", training_set(), join, [DAY, 30 * DAY], 10_000)
    assert (found.fresh, found.rows, found.currency) == (1.0, 400, None)
    (view,) = found.views
    assert (view.view, view.ttl, view.every) == ("history", 10 * DAY, "1 day")
    losses = [price.loss.value for price in (*view.prices, view.absent)]
    assert losses[0] == 0
    assert losses[1] > losses[2] == pytest.approx(0.5)  # the opposite order is worse than none
    assert view.prices[0].loss.lower <= 0 < view.prices[1].loss.lower
    assert view.advice == "every 1 day is often enough; ttl 1 day"
    assert found.to_dict()["views"]["history"]["cadence"] == "1 day"  # type: ignore[index]
    assert found.table().row_count == 3
    drawn = price_staleness(PLAN, bundle, "r1", training_set(), join, [DAY], 100)
    assert drawn.rows == 100


def prices(*lower: float, absent: float) -> ViewStaleness:
    """Return the prices of 1, 7 and 30 days with these lower bounds, each 0.01 below its loss."""
    estimates = [Estimate(bound + 0.01, bound, bound + 0.02) for bound in (*lower, absent)]
    lags = [LagPrice(days * DAY, each, None) for days, each in zip((1, 7, 30), estimates, strict=False)]
    return ViewStaleness("v", None, None, tuple(lags), LagPrice(None, estimates[-1], None))


@pytest.mark.parametrize(
    ("view", "advice"),
    [
        (prices(0.1, 0.2, 0.3, absent=0.4), "materialize more often than every 1 day; ttl at least 30 days"),
        (prices(-0.01, -0.01, 0.1, absent=0.4), "every 7 days is often enough; ttl at least 30 days"),
        (prices(-0.01, 0.1, 0.3, absent=0.2), "every 1 day is often enough; ttl 7 days"),
        (
            prices(0.3, 0.3, 0.3, absent=0.2),
            "materialize more often than every 1 day; values older by 1 day are no better than none: ttl below 1 day",
        ),
        (prices(-0.01, -0.01, -0.01, absent=-0.01), "no loss is shown even without it: any cadence will do"),
    ],
)
def test_the_advice_is_the_longest_lag_without_a_shown_loss_and_the_longest_better_than_none(
    view: ViewStaleness, advice: str
) -> None:
    assert view.advice == advice


def test_a_plan_without_time_has_no_older_features(settings: Settings) -> None:
    bundle = load_bundle(settings.bundles / enter(settings, "r1").bundle_digest, read_trusted(settings))
    timeless = PLAN.model_copy(
        update={"ingest": {"visits": PLAN.ingest["visits"].model_copy(update={"event_time": None})}}
    )
    with pytest.raises(PantheraError, match="nothing can be older"):
        price_staleness(timeless, bundle, "r1", training_set(), join, [DAY], 10)
