"""What Feast's own monitoring computes through our offline store and keeps in the database."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import feast
import pytest
from feast import types as feast_types
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.monitoring.monitoring_service import MonitoringService

from feature_repo.stores import feast_metrics
from feature_repo.stores.offline_store import PantheraOfflineStore
from tests.feature_repo.stores.feast_shop import CUSTOMER, PROJECT, opened_store, source, view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAST = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[feast.FeatureStore]:
    with opened_store(tmp_path, database_url) as opened:
        times = [LAST - DAY, LAST - DAY, LAST, LAST, LAST]
        rows = source(
            tmp_path,
            "spending",
            {
                "customer_id": [1, 2, 1, 2, 3],
                "paid": [1.0, 2.0, 6.0, math.nan, None],
                "tariff": ["a", "a", "b", None, "a"],
                "event_timestamp": times,
                "created": times,
            },
        )
        rows.field_mapping = {"paid": "spend", "tariff": "plan"}
        fields = {"spend": feast_types.Float64, "plan": feast_types.String}
        opened.apply([CUSTOMER, view("spending", fields, rows)])
        yield opened


def test_statistics_of_every_feature_are_computed_kept_and_read_back(store: feast.FeatureStore) -> None:
    service = MonitoringService(store)
    assert service.auto_compute(PROJECT)["computed_feature_views"] == 1
    spend, plan = (
        service.get_feature_metrics(PROJECT, feature_name=name, granularity="weekly")[-1] for name in ("spend", "plan")
    )
    assert {name: spend[name] for name in ("row_count", "null_count", "mean", "min_val", "max_val", "p50")} == {
        "row_count": 5,
        "null_count": 2,
        "mean": 3.0,
        "min_val": 1.0,
        "max_val": 6.0,
        "p50": 2.0,
    }
    assert plan["histogram"]["values"] == [{"value": "a", "count": 3}, {"value": "b", "count": 1}]
    assert spend["max_event_timestamp"].startswith("2026-03-10T12:00:00")
    (whole,) = service.get_feature_view_metrics(PROJECT, feature_view_name="spending", granularity="weekly")[-1:]
    assert (whole["total_features"], whole["features_with_nulls"], whole["max_null_rate"]) == (2, 2, 0.4)


def test_a_baseline_is_computed_once_and_replaced_on_demand(store: feast.FeatureStore) -> None:
    service = MonitoringService(store)
    assert service.compute_baseline(PROJECT)["computed_features"] == 2
    assert service.compute_baseline(PROJECT)["computed_features"] == 0
    assert {each["feature_name"] for each in service.get_baseline(PROJECT)} == {"spend", "plan"}
    day = LAST.date()
    service.compute_metrics(PROJECT, start_date=day, end_date=day, set_baseline=True)
    assert {each["metric_date"] for each in service.get_baseline(PROJECT)} == {day.isoformat()}


def test_a_job_is_remembered_with_how_it_ended(store: feast.FeatureStore) -> None:
    service = MonitoringService(store)
    job = service.submit_job(PROJECT, "auto_compute")
    assert service.get_job(job)["status"] == "pending"
    service.execute_job(job)
    done = service.get_job(job)
    assert done["status"] == "completed"
    assert done["result_summary"]["computed_feature_views"] == 1


def test_records_of_a_day_take_the_place_of_earlier_ones_about_the_same(store: feast.FeatureStore) -> None:
    record = {
        "project_id": PROJECT,
        "feature_view_name": "spending",
        "metric_date": date(2026, 3, 1),
        "granularity": "daily",
        "data_source_type": "batch",
        "avg_null_rate": math.nan,
    }
    for day, total in ((1, 10), (1, 20), (2, 30)):
        feast_metrics.write_records(
            "feature_view", [{**record, "metric_date": date(2026, 3, day), "total_row_count": total}]
        )
    kept = feast_metrics.fetch_records("feature_view", {"project_id": PROJECT, "granularity": None})
    assert [(each["total_row_count"], each["avg_null_rate"]) for each in kept] == [(20, None), (30, None)]
    assert [
        each["total_row_count"]
        for each in feast_metrics.fetch_records("feature_view", {}, start=date(2026, 3, 2), end=date(2026, 3, 2))
    ] == [30]
    with pytest.raises(TypeError, match="a record of Feast's monitoring holds a object"):
        feast_metrics.write_records("feature_view", [{**record, "total_features": object()}])


def test_every_method_that_feast_asks_of_an_offline_store_is_there() -> None:
    asked = [name for name in vars(OfflineStore) if not name.startswith("_") and callable(getattr(OfflineStore, name))]
    given = {"ensure_filter_by_created_timestamp_supported"}  # Feast's own, over an attribute that ours sets
    assert [name for name in asked if name not in vars(PantheraOfflineStore)] == sorted(given)
