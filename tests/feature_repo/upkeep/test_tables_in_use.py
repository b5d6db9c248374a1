"""What releases read is filled when the plan has moved on, and named where nobody can fill it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from core.plan.file import parse_plan
from core.postgres.database import connect
from feature_repo.online.history import record_run
from feature_repo.online.tables import create
from feature_repo.upkeep.tables_in_use import Upkeep, record_definitions, upkeep
from feature_repo.views.definitions import declared_table, earlier_name
from tests.feature_repo.test_catch_up import CUT, PLAN, Kiosk, order

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan
    from core.settings import Settings


class Shop(Kiosk):
    """A kiosk whose plan may change while the champion `r1` reads the tables of the first one."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        super().__init__(folder, settings)
        self.url = settings.database_url or ""
        self.first = declared_table(self.plan, "spending")

    def champion_reads(self, table: str) -> None:
        with connect(self.url) as connection:
            connection.execute(
                "INSERT INTO panthera.release VALUES ('r1', 1, 'kiosk', 'rule', 'b', 's', 'd', 'c', '1', '{}')"
            )
            connection.execute(
                "INSERT INTO panthera.release_role (model, role, release_id, reason, cause, actor) "
                "VALUES ('kiosk', 'champion', 'r1', 'first', 'register', 'somebody')"
            )
            connection.execute("INSERT INTO panthera.release_table VALUES ('r1', 'spending', %s)", [table])

    def change(self, old: str, new: str) -> Plan:
        """Change the plan, as `apply` would find it."""
        text = PLAN.replace("FOLDER", str(self.data.parent))
        assert old in text
        self.plan = parse_plan(text.replace(old, new))
        with connect(self.url) as connection:
            create(connection, declared_table(self.plan, "spending"))
            record_definitions(connection, self.plan)
        return self.plan

    def rows_of(self, name: str) -> list[tuple[Any, ...]]:
        query = sql.SQL("SELECT buyer_id, event_timestamp, orders, spend_10d FROM {} ORDER BY 1")
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.format(sql.Identifier("online", name))).fetchall()

    def upkeep(self) -> Upkeep:
        with connect(self.url) as connection:
            return upkeep(connection, self.plan, "kiosk")


@pytest.fixture
def shop(tmp_path: Path, settings: Settings) -> Shop:
    made = Shop(tmp_path, settings)
    made.champion_reads(made.first.name)
    made.catch_up(1)
    return made


def test_a_correction_of_words_changes_nothing_online(shop: Shop) -> None:
    shop.change("meaning: orders so far", "meaning: number of orders, unit: orders")
    assert declared_table(shop.plan, "spending") == shop.first
    shop.catch_up(2)
    assert {row[1] for row in shop.rows_of(shop.first.name)} == {CUT + timedelta(days=2)}
    assert shop.upkeep() == Upkeep()


def test_a_table_that_the_champion_reads_is_filled_by_its_own_definition_after_the_view_moved_on(shop: Shop) -> None:
    shop.change("sql: count(*)", "sql: 2 * count(*)")
    second = declared_table(shop.plan, "spending").name
    shop.grow([order(100, 1.5, price=7.0, buyer="new")])
    shop.catch_up(2)
    orders = {name: {row[0]: row[2] for row in shop.rows_of(name)} for name in (shop.first.name, second)}
    assert orders == {
        shop.first.name: {"b0": 14, "b1": 13, "b2": 13, "new": 1},
        second: {"b0": 28, "b1": 26, "b2": 26, "new": 2},
    }
    assert shop.upkeep().unfilled == ()


def test_a_table_that_an_earlier_version_named_is_filled_with_the_plans_own(tmp_path: Path, settings: Settings) -> None:
    shop = Shop(tmp_path, settings)
    old = replace(shop.first, name=earlier_name(shop.plan, "spending"))
    with connect(shop.url) as connection:
        create(connection, old)
    shop.champion_reads(old.name)
    shop.catch_up(1)
    assert shop.rows_of(old.name) == shop.online()
    shop.change("meaning: orders so far", "meaning: number of orders")
    shop.catch_up(2)
    assert shop.rows_of(old.name) == shop.online()
    assert {row[1] for row in shop.online()} == {CUT + timedelta(days=2)}
    assert [table.name for table in shop.upkeep().beside("spending")] == [old.name]


def test_a_table_whose_sources_mean_something_else_since_is_named(shop: Shop) -> None:
    shop.change("event_time: {column: bought}", "event_time: {column: bought, zone: Europe/Berlin}")
    shop.catch_up(2)
    (lost,) = shop.upkeep().unfilled
    assert (lost.role, lost.release_id, lost.online_table, lost.watermark) == (
        "champion",
        "r1",
        shop.first.name,
        CUT + timedelta(days=1),
    )
    assert f"no run fills online.{shop.first.name}, which the champion r1 reads for the view 'spending'" in str(lost)
    assert {row[1] for row in shop.rows_of(shop.first.name)} == {CUT + timedelta(days=1)}


def test_a_table_whose_definition_nobody_recorded_is_named(tmp_path: Path, settings: Settings) -> None:
    shop = Shop(tmp_path, settings)
    shop.champion_reads("spending__of_long_ago")
    shop.catch_up(1)
    (lost,) = shop.upkeep().unfilled
    assert "the definition of this table is not recorded" in lost.reason


def test_a_table_that_runs_left_behind_is_named(shop: Shop) -> None:
    shop.change("sql: count(*)", "sql: 2 * count(*)")
    with connect(shop.url) as connection:
        record_run(connection, "spending", declared_table(shop.plan, "spending"), CUT + timedelta(days=2), 3)
    (lost,) = shop.upkeep().unfilled
    assert lost.reason.startswith("it was filled as of 2024-03-02 00:00, the plan's own table as of 2024-03-03 00:00")
    shop.catch_up(3)
    assert shop.upkeep().unfilled == ()


def test_a_table_that_was_dropped_is_made_and_filled_again(shop: Shop) -> None:
    shop.change("sql: count(*)", "sql: 2 * count(*)")
    with connect(shop.url) as connection:
        connection.execute(sql.SQL("DROP TABLE {}").format(shop.first.identifier))
    shop.catch_up(2)
    assert len(shop.rows_of(shop.first.name)) == 3
