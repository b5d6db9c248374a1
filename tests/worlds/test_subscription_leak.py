"""The leak that the world can have is caught by the feature's name, and is none where the records say when they came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from core.plan.file import read_plan
from core.plan.leakage import Leakage
from feature_repo.files.duck import open_duckdb
from feature_repo.views.rows import compute_view
from models.data.labels import label_rows
from models.data.rows import BINARY, entity_codes
from models.data.split import contract_features, rows_of
from models.evaluation.leak_scores import leak_scores, suspicion
from tests.worlds.test_subscription_plan import PLAN
from worlds.subscription.backdated import TICKET_NUMBER
from worlds.subscription.changes import BackdatedTickets
from worlds.subscription.generate import generate
from worlds.subscription.settings import SubscriptionSettings

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

Dated = Literal["back", "as_written"]
CUSTOMERS = 1_500
TEXTLESS = tuple(
    name
    for name, feature in read_plan(PLAN).build_features.views["support"].features.items()
    if feature.dtype != "text"
)
LEAKY = ("cancellation_90d", "cancellation_share_90d")


def write(folder: Path, dated: Dated | None, share: float = 1.0) -> Path:
    changes = [BackdatedTickets(start_month=0, dated=dated, share=share)] if dated else []
    generate(SubscriptionSettings(customers=CUSTOMERS, months=10, changes=tuple(changes)), folder)
    return folder


def named(world: Path) -> dict[str, str]:
    """Say which features of the tickets seem to know who will cancel, and why: those of the world's plan, as it trains."""
    plan = read_plan(PLAN)
    view = plan.build_features.views["support"]
    with open_duckdb() as connection:
        for table in ("customers", "tickets", "cancellations"):
            source = f"(SELECT *, event_time AS happened_at FROM read_parquet('{world / table}/*.parquet'))"
            connection.execute(f"CREATE VIEW {table} AS SELECT DISTINCT * FROM {source}")
        connection.execute(
            """CREATE TABLE grid AS SELECT customer_id, as_of FROM (SELECT DISTINCT customer_id, event_time FROM customers)
            JOIN (SELECT unnest(generate_series(TIMESTAMPTZ '2023-04-01', '2023-09-01', INTERVAL 1 MONTH)) AS as_of)
            ON event_time < as_of"""
        )
        labelled = label_rows(connection, plan.label, "customer_id", "cancellations", "grid")
        found = compute_view(connection, view, "customer_id", {"tickets": "tickets"}, "grid")
        columns = ", ".join(f"{name} AS support__{name}" for name in TEXTLESS)
        connection.register("labelled", labelled)
        connection.register("found", found.rename_columns({"event_timestamp": "as_of"}))
        joined: pa.Table = connection.sql(
            f"SELECT customer_id, label, {columns} FROM labelled JOIN found USING (customer_id, as_of)"
        ).to_arrow_table()
    section = plan.build_features.model_copy(
        update={"services": {"tickets": tuple(f"support.{name}" for name in TEXTLESS)}}
    )
    features = contract_features(section, "tickets", joined)
    rows, entity = rows_of(joined, features), entity_codes(joined.column("customer_id"))
    told = leak_scores(features, rows, entity, BINARY, Leakage().surely)
    return {one.feature: reason for one in told if (reason := suspicion(one, Leakage(), BINARY))}


@pytest.mark.parametrize("dated", [None, "as_written"])
def test_an_honest_world_has_no_feature_that_knows(tmp_path: Path, dated: Dated | None) -> None:
    assert named(write(tmp_path / "world", dated)) == {}


def test_tickets_that_are_dated_back_are_caught(tmp_path: Path) -> None:
    found = named(write(tmp_path / "world", "back"))
    assert {f"support.{name}" for name in LEAKY} <= set(found)
    assert "alone it reaches" in found["support.cancellation_90d"]


def test_the_leak_changes_nothing_but_the_tickets_that_it_adds(tmp_path: Path) -> None:
    honest, leaky = write(tmp_path / "honest", None), write(tmp_path / "leaky", "back", share=0.5)
    for table in ("customers", "usage_daily", "payments", "cancellations"):
        assert pq.read_table(honest / table).equals(pq.read_table(leaky / table)), table
    connection = duckdb.connect()
    added = connection.execute(
        f"""SELECT count(*), min(date_diff('day', created_time, month_start)), max(date_diff('day', event_time, month_start)),
            bool_and(created_time - event_time <= INTERVAL 30 MINUTE)
        FROM '{leaky}/tickets/*.parquet' JOIN '{leaky}/truth/hazard.parquet' USING (customer_id)
        WHERE cancelled AND ticket_id % 1000 = {TICKET_NUMBER}"""
    ).fetchone()
    cancelled = (
        pq.read_table(leaky / "truth" / "hazard.parquet").column("cancelled").to_numpy(zero_copy_only=False).sum()
    )
    before = pq.read_table(honest / "tickets")
    assert added is not None
    assert len(pq.read_table(leaky / "tickets")) == len(before) + added[0]
    assert abs(added[0] - cancelled / 2) < 4.9 * np.sqrt(cancelled / 4)
    assert added[1] >= 0
    assert added[2] <= 28
    assert added[3]
