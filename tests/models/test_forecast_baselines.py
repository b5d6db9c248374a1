"""The last value and the seasonal naive forecast are features: windows with a lag that follows from the horizon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from core.plan.plan import View
from core.plan.training_set import Label
from feature_repo.files.duck import open_duckdb
from feature_repo.views.rows import compute_view
from models.data.labels import label_rows

if TYPE_CHECKING:
    import duckdb

_DAYS, _SEASON = 60, 14
_START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def series() -> duckdb.DuckDBPyConnection:
    """Open a series that repeats every 14 days, as the relation `sales`, and `grid` with ten instants."""
    connection = open_duckdb()
    times = [_START + timedelta(days=number) for number in range(_DAYS)]
    amounts = [float((number % _SEASON) ** 2) for number in range(_DAYS)]
    rows = {"shop": [1] * _DAYS, "event_time": times, "created_time": times, "amount": amounts}
    connection.register("sales", pa.table(rows))
    connection.register("grid", pa.table({"shop": [1] * 10, "as_of": times[30:40]}))
    return connection


@pytest.mark.parametrize("lead", [0, 1, 6])
def test_the_value_of_a_season_ago_is_a_window_whose_lag_is_the_season_less_lead_and_horizon(
    series: duckdb.DuckDBPyConnection, lead: int
) -> None:
    horizon = 3
    sql = "sum(amount)"
    ahead = {"lead": f"{lead}d"} if lead else {}
    label = Label.model_validate({"source": "sales", "horizon": f"{horizon}d", "value": sql, **ahead})
    described = {
        "season_ago": {"sql": sql, "window": f"{horizon}d", "lag": f"{_SEASON - lead - horizon}d"},
        "last": {"sql": sql, "window": f"{horizon}d"},
    }
    features = {name: {"dtype": "float64", "unit": "EUR", **each} for name, each in described.items()}
    view = View.model_validate({"source": "sales", "ttl": "9d", "every": "1 day", "features": features})
    with series as connection:
        forecast = compute_view(connection, view, "shop", {"sales": "sales"}, "grid")
        labels = label_rows(connection, label, "shop", "sales", "grid", "regression").column("label").to_pylist()
    assert forecast.column("season_ago").to_pylist() == labels
    # As of the 31st day, the 30th of the series counted from 0: days 28, 29, 30 of it, which are 0, 1, 2 of the season.
    assert forecast.column("last").to_pylist()[0] == 0 + 1 + 4
