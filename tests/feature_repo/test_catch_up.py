"""Catching up day by day: the same rows as one run at the end, the same features, and bad rows never taken in."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from core.errors import QualityError, StaleStateError
from core.plan.file import parse_plan
from feature_repo.catch_up import CatchUpResult, catch_up
from feature_repo.files.datasets import accepted_glob, raw_file, rows_ledger, snapshot_glob, snapshots_ledger
from feature_repo.files.duck import literal, open_duckdb
from feature_repo.files.kept_snapshots import kept_files
from feature_repo.ingest import ingest
from feature_repo.online.tables import create
from feature_repo.sources.changes import Changes
from feature_repo.sources.ledger import read_ledger
from feature_repo.validate import Validated, accept, validate
from feature_repo.views.definitions import declared_table

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan
    from core.settings import Settings

PLAN = """
project: {name: kiosk, problem: binary, statement: "Who stays away?"}
entities: {buyer: {key: buyer_id, dtype: string, source: orders}}
ingest:
  orders:
    reader: {kind: jsonl, path: FOLDER/orders.jsonl}
    entity: buyer
    event_time: {column: bought}
    created_time: {column: told}
    observed_until: "2024-03-01"
    later_rows: leave_out
    columns:
      buyer_id: {dtype: string}
      bought: {dtype: timestamp}
      told: {dtype: timestamp}
      number: {dtype: int64, meaning: number of the order}
      price: {dtype: float64, unit: EUR}
validate:
  orders: {not_null: [price], range: {price: [0, 100]}, unique: [number], max_rejected: 0.1}
label: {source: orders, horizon: 10d, value: count(*) = 0}
build_features:
  snapshots: {start: "2024-01-01", end: "2024-03-01"}
  views:
    spending:
      source: orders
      ttl: 10d
      every: 1 week
      features:
        orders: {sql: count(*), dtype: int64, meaning: orders so far}
        spend_10d: {sql: "coalesce(sum(price), 0)", window: 10d, dtype: float64, unit: EUR}
  services: {all_of_it: [spending.*]}
training_set:
  service: all_of_it
  as_of: {start: "2024-01-01", end: "2024-02-19", every: 1 week}
  split: {kind: temporal, validation_from: "2024-01-22", test_from: "2024-02-05", gap: 10d}
train:
  seed: 1
  candidates: {majority: {estimator: majority}, rule: {estimator: single_feature, feature: spending.orders}}
evaluate: {primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}, baseline: rule}
register: {model: kiosk}
materialize: {as_of: "2024-03-01"}
serve:
  {missing: refuse, stale: refuse, experiment: first, salt: pepper, arms: {champion: 1}, decisions: {above: call, below: wait}}
monitor: {psi_alarm: 0.1, parity_sample: 0.5}
"""
CUT = datetime(2024, 3, 1, tzinfo=UTC)


def order(
    number: int, day: float, price: float | None = 5.0, late_days: float = 0.0, buyer: str | None = None
) -> dict[str, Any]:
    """Write the order `number`, bought `day` days after the cut, by one of three buyers."""
    bought = CUT + timedelta(days=day)
    told = bought + timedelta(days=late_days, minutes=5)
    return {
        "buyer_id": buyer or f"b{number % 3}",
        "bought": bought.isoformat(),
        "told": told.isoformat(),
        "number": number,
        "price": price,
    }


HISTORY = [order(number, number - 40.0) for number in range(40)]


class Kiosk:
    """The plan's source and tables in a folder, with the stages' work done up to the cut."""

    def __init__(self, folder: Path, settings: Settings, text: str = PLAN) -> None:
        self.plan: Plan = parse_plan(text.replace("FOLDER", str(folder)))
        self.data, self.settings, self._source = folder / "data", settings, folder / "orders.jsonl"
        self.grow(HISTORY)
        self.validated(self.data / "accepted")
        with psycopg.connect(settings.database_url or "") as connection:
            for view in self.plan.build_features.views:
                create(connection, declared_table(self.plan, view))

    def grow(self, orders: list[dict[str, Any]]) -> None:
        with self._source.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in orders)

    def validated(self, accepted: Path, until: datetime = CUT) -> Validated:
        """Run the first two stages over all that the source holds, known by `until`."""
        source = self.plan.ingest["orders"].model_copy(update={"observed_until": until})
        raw = self.data / "raw"
        ingest("orders", source, raw, self.data / "downloads", (self.settings.pii_key or "").encode())
        rules = self.plan.validate_["orders"]
        rejected = raw_file(self.data / "rejected", "orders")
        return validate(source, "buyer_id", rules, raw_file(raw, "orders"), accepted / "orders", rejected)

    def replace(self, orders: list[dict[str, Any]]) -> None:
        self._source.unlink()
        self.grow(orders)

    def stage(self) -> Validated:
        """Run the stage `validate` over what the stage `ingest` read, and the ledger."""
        source, rules = self.plan.ingest["orders"], self.plan.validate_["orders"]
        raw, rejected = (raw_file(self.data / name, "orders") for name in ("raw", "rejected"))
        ledger = read_ledger(rows_ledger(self.data) / "orders")
        shutil.rmtree(self.data / "accepted")
        return accept("orders", source, "buyer_id", rules, ledger, raw, self.data / "accepted" / "orders", rejected)

    def catch_up(self, day: float) -> CatchUpResult:
        return catch_up(self.settings, self.plan, self.data, CUT + timedelta(days=day))

    def accepted(self, folder: Path | None = None) -> list[tuple[Any, ...]]:
        with open_duckdb() as connection:
            files = literal(accepted_glob(folder or self.data / "accepted", "orders"))
            columns = "number, buyer_id, price, event_timestamp, created_timestamp"
            return connection.execute(f"SELECT {columns} FROM read_parquet({files}) ORDER BY ALL").fetchall()

    def online(self) -> list[tuple[Any, ...]]:
        table = declared_table(self.plan, "spending").identifier
        with psycopg.connect(self.settings.database_url or "") as connection:
            query = psycopg.sql.SQL("SELECT buyer_id, event_timestamp, orders, spend_10d FROM {} ORDER BY 1")
            return connection.execute(query.format(table)).fetchall()


@pytest.fixture
def kiosk(tmp_path: Path, settings: Settings) -> Kiosk:
    return Kiosk(tmp_path, settings)


def test_rows_taken_in_day_by_day_are_those_of_one_run_at_the_end(kiosk: Kiosk, tmp_path: Path) -> None:
    # Late ones, one delivered twice, and one that cannot be.
    kiosk.grow([order(100, 0.2), order(101, 0.3, late_days=2), order(102, 0.9), order(102, 0.9)])
    kiosk.grow([order(103, 1.5), order(104, 1.6, price=-1.0), order(105, 2.5), order(106, 2.6, buyer="new")])
    for day in (1, 2, 3):
        kiosk.catch_up(day)
    whole = tmp_path / "whole"
    kiosk.validated(whole, CUT + timedelta(days=3))
    assert kiosk.accepted() == kiosk.accepted(whole)
    assert {row[0] for row in kiosk.accepted()} == {*range(40), 100, 101, 102, 103, 105, 106}


def test_a_row_is_taken_in_when_it_became_known_and_not_before(kiosk: Kiosk) -> None:
    kiosk.grow([order(100, 0.5, late_days=1), order(101, 1.7)])
    assert kiosk.catch_up(1).sources["orders"] == Validated(accepted=0, rejected=0)
    assert kiosk.catch_up(2).sources["orders"].accepted == 2


def test_what_is_online_is_computed_as_of_the_instant(kiosk: Kiosk) -> None:
    kiosk.grow([order(100, 0.5, price=7.0, buyer="new")])
    assert kiosk.catch_up(1).views == {"spending": 4}
    at = CUT + timedelta(days=1)
    # 40 orders before the cut: 14 of b0, 13 of b1 and b2; the last ten days before `at` hold numbers 32 to 39.
    assert kiosk.online() == [("b0", at, 14, 15.0), ("b1", at, 13, 10.0), ("b2", at, 13, 15.0), ("new", at, 1, 7.0)]


def test_rows_that_came_since_are_placed_where_their_buyers_belong_by_now(tmp_path: Path, settings: Settings) -> None:
    """Of the buyers' first 13 orders each is one of a seldom buyer, and from the 14th on of one who buys often."""
    text = PLAN.replace(
        "source: orders}}", "source: orders}, habit: {key: habit_name, dtype: string, of: spending.habit}}", 1
    )
    habit = """        habit: {sql: "if(count(*) > 13, 'often', 'seldom')", dtype: string, meaning: how often the buyer buys}
    habit_orders:
      source: orders
      entity: habit
      ttl: 10d
      every: 1 week
      features:
        placed: {sql: count(*), dtype: int64, meaning: orders so far}
        buyers: {sql: count(DISTINCT buyer_id), dtype: int64, meaning: who ordered}
  services: {all_of_it: [spending.*, habit_orders.*]}
"""
    kiosk = Kiosk(tmp_path, settings, text.replace("  services: {all_of_it: [spending.*]}\n", habit))
    kiosk.grow([order(100, 0.5, buyer="b1")])  # the 14th of b1, as number 39 was of b0
    assert kiosk.catch_up(1).views == {"spending": 3, "habit_orders": 2}
    table = declared_table(kiosk.plan, "habit_orders").identifier
    with psycopg.connect(settings.database_url or "") as connection:
        query = psycopg.sql.SQL("SELECT habit_name, event_timestamp, placed, buyers FROM {} ORDER BY 1")
        found = connection.execute(query.format(table)).fetchall()
    assert found == [("often", CUT + timedelta(days=1), 2, 2), ("seldom", CUT + timedelta(days=1), 39, 3)]


def test_the_snapshots_are_kept_beside_those_of_the_stage(kiosk: Kiosk) -> None:
    for day in (1, 2):
        kiosk.catch_up(day)
    with open_duckdb() as connection:
        files = literal(snapshot_glob(kiosk.data / "features", "spending"))
        found = connection.execute(f"SELECT event_timestamp, count(*) FROM {files} GROUP BY 1 ORDER BY 1").fetchall()
    assert found == [(CUT + timedelta(days=1), 3), (CUT + timedelta(days=2), 3)]


def test_catching_up_twice_changes_nothing(kiosk: Kiosk) -> None:
    kiosk.grow([order(100, 0.5)])
    kiosk.catch_up(1)
    accepted, online = kiosk.accepted(), kiosk.online()
    assert kiosk.catch_up(1).sources["orders"] == Validated(accepted=0, rejected=0)
    assert (kiosk.accepted(), kiosk.online()) == (accepted, online)


def test_a_row_that_was_delivered_on_an_earlier_day_is_not_taken_in_again(kiosk: Kiosk) -> None:
    kiosk.grow([order(100, 0.5)])
    kiosk.catch_up(1)
    again = {**order(100, 0.5), "told": (CUT + timedelta(days=1.5)).isoformat()}
    kiosk.grow([again])
    kiosk.catch_up(2)
    assert [row[0] for row in kiosk.accepted()].count(100) == 1


#: Without a created time and without a number that tells orders apart.
BARE = PLAN.replace("    created_time: {column: told}\n", "").replace(
    "unique: [number], max_rejected: 0.1", "max_rejected: 0"
)


def test_a_late_row_is_taken_in_and_said_and_not_known_before_it_was_there(tmp_path: Path, settings: Settings) -> None:
    kiosk = Kiosk(tmp_path, settings, BARE)
    kiosk.catch_up(2)
    kiosk.grow([order(100, -5.0), order(101, 0.5), order(102, 2.5)])
    found = kiosk.catch_up(3)
    changes = {"known": 40, "new": 3, "late": 2, "corrected": 0, "gone": 0, "later": 0, "unmatched": 0}
    assert found.changes["orders"] == Changes(**changes)
    counted = {"accepted": 3, "rejected": 0, "duplicates": 0, "mended": 0}
    assert found.to_dict()["sources"] == {"orders": {**changes, **counted}}
    assert "3 new rows accepted, 0 rejected, 2 late" in found.text()
    known_from = {row[0]: row[4] - CUT for row in kiosk.accepted() if row[0] >= 100}
    assert known_from == {100: timedelta(days=3), 101: timedelta(days=3), 102: timedelta(days=2.5)}


def test_a_corrected_row_takes_the_place_of_the_wrong_one_also_in_the_stages(
    tmp_path: Path, settings: Settings
) -> None:
    kiosk = Kiosk(tmp_path, settings, BARE)
    kiosk.grow([order(100, 0.5, price=7.0)])
    kiosk.catch_up(1)
    served = kiosk.online()
    # The amount of one row, the time of another, and the rest written in another way.
    corrected = [{**row, "price": 5} for row in HISTORY]
    corrected[3]["bought"] = (CUT - timedelta(days=36.5)).isoformat()
    kiosk.replace([*corrected, order(100, 0.5, price=8.0)])
    found = kiosk.catch_up(2)
    assert (found.changes["orders"].new, found.changes["orders"].corrected) == (0, 2)
    by_number = {row[0]: row for row in kiosk.accepted()}
    assert (len(kiosk.accepted()), by_number[100][2]) == (41, 8.0)
    assert by_number[3][3] == CUT - timedelta(days=36.5)
    accepted = kiosk.accepted()
    assert kiosk.stage().accepted == 41
    assert kiosk.accepted() == accepted
    kept = kept_files(snapshots_ledger(kiosk.data) / declared_table(kiosk.plan, "spending").name)
    with open_duckdb() as connection:
        files = ", ".join(map(literal, kept))
        columns = "buyer_id, event_timestamp, orders, spend_10d"
        rows = connection.execute(f"SELECT {columns} FROM read_parquet([{files}])").fetchall()
    assert set(served) <= set(rows)


def test_the_position_of_a_row_in_another_order_corrects_nothing(tmp_path: Path, settings: Settings) -> None:
    kiosk = Kiosk(tmp_path, settings, BARE)
    newest = HISTORY[:9:-1]
    # The first ten rows have left the source, and the new row stands where one of them stood.
    kiosk.replace([*newest[:5], order(100, 0.5), *newest[5:]])
    found = kiosk.catch_up(1)
    assert (found.changes["orders"].new, found.changes["orders"].corrected, found.changes["orders"].gone) == (1, 0, 10)
    assert len(kiosk.accepted()) == 41


def test_rows_at_fault_and_duplicates_are_counted_once_and_not_again_by_the_stages(
    tmp_path: Path, settings: Settings
) -> None:
    kiosk = Kiosk(tmp_path, settings, PLAN.replace("max_rejected: 0.1", "max_rejected: 0"))
    again = [{**row, "told": (CUT + timedelta(days=0.2)).isoformat()} for row in HISTORY[:20]]
    kiosk.grow([*again, order(100, 0.5, price=-1.0), order(101, 0.6)])
    rows = kiosk.catch_up(1).sources["orders"]
    assert (rows.accepted, rows.rejected, rows.duplicates) == (1, 21, 20)
    # The one at fault is delivered again, in order: it is no duplicate of the one that was refused.
    kiosk.grow([order(100, 1.5, price=3.0)])
    rows = kiosk.catch_up(2).sources["orders"]
    assert (rows.accepted, rows.rejected) == (1, 0)
    accepted = kiosk.accepted()
    assert (len(accepted), kiosk.stage().accepted) == (42, 42)
    assert kiosk.accepted() == accepted


def test_a_source_that_is_read_again_by_another_plan_brings_nothing_twice(tmp_path: Path, settings: Settings) -> None:
    kiosk = Kiosk(tmp_path, settings, BARE)
    kiosk.grow([order(100, 0.5), order(101, 1.5)])
    kiosk.catch_up(1)
    number = "number: {dtype: int64, meaning: number of the order}"
    text = BARE.replace(number, f"{number}\n      shop: {{dtype: string}}").replace('"2024-03-01"\n', '"2024-03-03"\n')
    kiosk.plan = parse_plan(text.replace("FOLDER", str(tmp_path)))
    kiosk.replace([{**row, "shop": "north"} for row in [*HISTORY, order(100, 0.5), order(101, 1.5)]])
    ingest("orders", kiosk.plan.ingest["orders"], kiosk.data / "raw", kiosk.data / "downloads")
    assert kiosk.stage().accepted == 42
    with open_duckdb() as connection:
        files = literal(accepted_glob(kiosk.data / "accepted", "orders"))
        assert connection.execute(f"SELECT DISTINCT shop FROM read_parquet({files})").fetchall() == [("north",)]


def test_pseudonyms_of_another_key_are_refused(tmp_path: Path, settings: Settings) -> None:
    hashed = BARE.replace("number: {dtype: int64,", "number: {dtype: string, pii: hash,")
    kiosk = Kiosk(tmp_path, replace(settings, pii_key="a" * 32), hashed)
    kiosk.catch_up(1)
    kiosk.settings = replace(settings, pii_key="b" * 32)
    with pytest.raises(StaleStateError, match=r"ingest.orders: the pseudonyms .* bring the key back"):
        kiosk.catch_up(2)
    assert len(kiosk.accepted()) == 40


def test_a_broken_feed_is_refused_and_nothing_of_it_is_taken_in(kiosk: Kiosk) -> None:
    kiosk.grow([order(100 + number, 0.5, price=-1.0) for number in range(20)])
    with pytest.raises(
        QualityError, match=r"20 of 20 new rows were rejected or mended, more than max_rejected \(10.00%\)"
    ):
        kiosk.catch_up(1)
    assert len(kiosk.accepted()) == 40
    assert kiosk.online() == []


def test_a_single_bad_row_among_few_is_set_aside_with_its_reason(kiosk: Kiosk) -> None:
    kiosk.grow([order(100, 0.4), order(101, 0.5, price=None)])
    assert kiosk.catch_up(1).sources["orders"] == Validated(accepted=1, rejected=1)
    with open_duckdb() as connection:
        (file,) = (kiosk.data / "rejected").glob("orders-known-*.parquet")
        assert connection.execute(f"SELECT number, reasons FROM {literal(file)}").fetchall() == [
            ("101", ["price: null"])
        ]


def test_without_the_stages_it_says_what_to_run(kiosk: Kiosk, tmp_path: Path) -> None:
    with pytest.raises(StaleStateError, match="run `dvc repro validate`"):
        catch_up(replace(kiosk.settings, state=tmp_path), kiosk.plan, tmp_path / "nowhere", CUT)
