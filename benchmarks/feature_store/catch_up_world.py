"""A growing source, a project's tables that are computed from it, and an oracle in plain Python of the ingested rows."""

from __future__ import annotations

import csv
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from psycopg import sql

from benchmarks.feature_store.held import holds
from core.files import whole_folder
from core.plan.file import parse_plan
from core.plan.ingest import QualityRules
from core.postgres.database import connect
from core.settings import Settings
from feature_repo.catch_up import catch_up
from feature_repo.files.datasets import raw_file, rows_ledger, snapshots_ledger
from feature_repo.files.duck import literal, open_duckdb
from feature_repo.files.kept_snapshots import add_kept, kept_files
from feature_repo.ingest import ingest
from feature_repo.online.tables import create
from feature_repo.sources.ledger import changing_ledger, read_ledger
from feature_repo.validate import accept
from feature_repo.views.definitions import declared_table
from feature_repo.views.snapshots import build_views

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan
    from feature_repo.catch_up import CatchUpResult

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CUSTOMERS = 5
_EXTRACT_MINUTES = 30
PLAN = """
project: {name: soak, problem: binary, statement: "Who stays away?"}
entities: {customer: {key: customer_id, dtype: int64, source: orders}}
ingest:
  orders:
    reader: {kind: csv, path: SOURCE}
    entity: customer
    event_time: {column: bought}
    observed_until: "2026-03-01T00:30:00Z"
    later_rows: leave_out
    columns: {customer_id: {dtype: int64}, bought: {dtype: timestamp}, cents: {dtype: int64, unit: cents}}
label: {source: orders, horizon: 10d, value: count(*) = 0}
build_features:
  snapshots: {start: "2026-01-01", end: "2026-03-01"}
  views:
    history:
      source: orders
      ttl: 10d
      every: 1 week
      features:
        orders: {sql: count(*), dtype: int64, meaning: orders so far}
        spend: {sql: sum(cents), dtype: int64, unit: cents}
  services: {everything: [history.*]}
training_set:
  service: everything
  as_of: {start: "2026-01-01", end: "2026-02-19", every: 1 week}
  split: {kind: temporal, validation_from: "2026-01-22", test_from: "2026-02-05", gap: 10d}
train:
  seed: 1
  candidates: {majority: {estimator: majority}, rule: {estimator: single_feature, feature: history.orders}}
evaluate: {primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}, baseline: rule}
register: {model: soak}
materialize: {as_of: "2026-03-01"}
serve:
  {missing: refuse, stale: refuse, experiment: soak, salt: soak, arms: {champion: 1}, decisions: {above: call, below: wait}}
monitor: {psi_alarm: 0.1, parity_sample: 0.5}
"""


@dataclass(frozen=True)
class Order:
    """A row of the source; a row without an amount must be rejected."""

    customer: int
    minute: int
    cents: int | None

    @property
    def time(self) -> datetime:
        """The event time."""
        return START + self.minute * MINUTE


@dataclass
class Ingested:
    """The oracle's record of an ingested row: its content, and the instants from which it may count as known."""

    order: Order
    known_from: set[datetime] = field(default_factory=set)


@dataclass
class Oracle:
    """The expected accepted rows, in plain Python.

    Attributes
    ----------
    ingested : the ingested rows by number.
    caught_up : possible instants of the last catch-up; several after one was killed.
    pending : rows that a killed run may have ingested, with the instants from which they may count as known.

    """

    ingested: dict[int, Ingested] = field(default_factory=dict)
    caught_up: set[datetime | None] = field(default_factory=lambda: {None})
    pending: dict[int, set[datetime]] = field(default_factory=dict)

    def new_rows(self, orders: dict[int, Order], as_of: datetime) -> dict[int, set[datetime]]:
        """Return the rows that a catch-up ingests, with the instants from which they may count as known."""
        return {
            number: {_known_from(order, as_of, last) for last in self.caught_up} | self.pending.get(number, set())
            for number, order in orders.items()
            if number not in self.ingested and order.time <= as_of
        }

    def corrections(self, orders: dict[int, Order], as_of: datetime) -> list[int]:
        """Return the rows that a catch-up corrects."""
        return [
            number
            for number, order in orders.items()
            if number in self.ingested and order != self.ingested[number].order and order.time <= as_of
        ]

    def ingest(self, orders: dict[int, Order], as_of: datetime) -> None:
        """Record a finished catch-up."""
        for number, known_from in self.new_rows(orders, as_of).items():
            self.ingested[number] = Ingested(orders[number], known_from)
        for number in self.corrections(orders, as_of):
            self.ingested[number].order = orders[number]
        self.caught_up = {max(filter(None, (last, as_of))) for last in self.caught_up}
        self.pending = {}

    def maybe_ingest(self, orders: dict[int, Order], as_of: datetime) -> None:
        """Record a killed catch-up, which may or may not have ingested its rows."""
        self.pending.update(self.new_rows(orders, as_of))
        self.caught_up |= {max(filter(None, (last, as_of))) for last in self.caught_up}

    def ingest_extract(self, orders: dict[int, Order]) -> None:
        """Record a run of the stage `ingest`: its rows are known from their event times on."""
        until = _seen_until(*self.caught_up)
        for number, order in orders.items():
            if order.time <= until:
                self.ingested.setdefault(number, Ingested(order, {order.time})).order = order

    def ingest_in_any_order(self, orders: dict[int, Order], instants: tuple[datetime, datetime]) -> None:
        """Record two concurrent catch-ups, either of which may have been the first."""
        first, second = deepcopy(self), deepcopy(self)
        for as_of in instants:
            first.ingest(orders, as_of)
        for as_of in reversed(instants):
            second.ingest(orders, as_of)
        for number, row in first.ingested.items():
            row.known_from |= second.ingested[number].known_from
        self.ingested, self.caught_up, self.pending = first.ingested, first.caught_up, {}

    def accepted(self) -> Counter[tuple[int, datetime, int]]:
        """Return the number of expected accepted rows, by content."""
        orders = (row.order for row in self.ingested.values())
        return Counter((order.customer, order.time, order.cents) for order in orders if order.cents is not None)


def _known_from(order: Order, as_of: datetime, last: datetime | None) -> datetime:
    """Return when a row became known: at its event time, or, if an earlier read should have found it, at the catch-up."""
    return order.time if order.time > _seen_until(last) else max(filter(None, (as_of, last)))


def _seen_until(*catch_ups: datetime | None) -> datetime:
    """Return the instant up to which the source has been read, by the extract or a catch-up."""
    return max(filter(None, (START + _EXTRACT_MINUTES * MINUTE, *catch_ups)))


class World:
    """A source file, the tables of a project that are computed from it, and the oracle."""

    def __init__(self, url: str, folder: Path) -> None:
        self.file, self.data = folder / "orders.csv", folder / "data"
        self.settings = Settings(plan=folder / "plan.yaml", state=folder / "state", database_url=url, mlflow_url=None)
        folder.mkdir(parents=True)
        self.settings.plan.write_text(PLAN.replace("SOURCE", str(self.file)))
        self.plan: Plan = parse_plan(self.settings.plan.read_text())
        self.table = declared_table(self.plan, "history")
        self.numbers, self.minute = count(), _EXTRACT_MINUTES
        self.orders: dict[int, Order] = {}
        self.in_file: list[int] = []
        self.oracle, self.latest = Oracle(), START
        self.served: set[tuple[Any, ...]] = set()
        for minute in range(1, 20):
            self.add(Order(minute % CUSTOMERS, minute, 100 + minute))
        self.deliver()
        self.read_again()
        self.oracle.ingested = {number: Ingested(order, {order.time}) for number, order in self.orders.items()}
        self.run_stages()
        with connect(url) as connection:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self.table.identifier))
            create(connection, self.table)
            connection.execute("DELETE FROM panthera.materialization")

    @property
    def now(self) -> datetime:
        """The world's present instant."""
        return START + self.minute * MINUTE

    @property
    def is_whole(self) -> bool:
        """Whether the source has all rows, not only the newest ones."""
        return len(self.in_file) == len(self.orders)

    @property
    def is_sure(self) -> bool:
        """Whether the ingested rows are certain: no run was killed since the last catch-up."""
        return not self.oracle.pending and len(self.oracle.caught_up) == 1

    @property
    def pending_bad_rows(self) -> list[Order]:
        """The bad rows that have not been ingested as such."""
        ingested = {number for number, each in self.oracle.ingested.items() if each.order.cents is None}
        return [order for number, order in self.orders.items() if order.cents is None and number not in ingested]

    @property
    def present(self) -> dict[int, Order]:
        """The present rows of the source by number, in its order."""
        return {number: self.orders[number] for number in self.in_file}

    def add(self, order: Order) -> int:
        """Append a row to the source; return its number."""
        number = next(self.numbers)
        self.orders[number] = order
        self.in_file.append(number)
        return number

    def would_restate(self, order: Order) -> bool:
        """Return whether `order` would correct a row that the source no longer has: one of its customer and time."""
        gone = (each for number, each in self.orders.items() if number not in self.in_file)
        return any((each.customer, each.minute) == (order.customer, order.minute) for each in gone)

    def would_confuse(self, shown: list[int]) -> bool:
        """Return whether one of the rows `shown` is new, and a row of its customer and time would no longer be there.

        Nothing tells the new row from that one: it would count as the known row, or as its correction.
        """
        events = {(order.customer, order.minute) for number, order in self.orders.items() if number not in shown}
        new = (self.orders[number] for number in shown if number not in self.oracle.ingested)
        return any((order.customer, order.minute) in events for order in new)

    def deliver(self, zone: str = "Z") -> None:
        """Write the source's file anew."""
        fresh = self.file.with_suffix(".fresh")
        with fresh.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["customer_id", "bought", "cents"])
            for order in self.present.values():
                time = f"{order.time:%Y-%m-%dT%H:%M:%S}{zone}"
                writer.writerow([order.customer, time, "none" if order.cents is None else order.cents])
        fresh.replace(self.file)

    def read_again(self) -> None:
        """Run the stage `ingest`."""
        ingest("orders", self.plan.ingest["orders"], self.data / "raw", self.settings.state / "downloads")

    def run_stages(self) -> None:
        """Run the stages `validate` and `build_features`."""
        source, ledgers = self.plan.ingest["orders"], rows_ledger(self.data)
        raw, rejected = raw_file(self.data / "raw", "orders"), raw_file(self.data / "rejected", "orders")
        with changing_ledger(ledgers), whole_folder(self.data / "accepted") as fresh:
            ledger = read_ledger(ledgers / "orders")
            accept("orders", source, "customer_id", QualityRules(), ledger, raw, fresh / "orders", rejected)
        kept = snapshots_ledger(self.data)
        with changing_ledger(kept), whole_folder(self.data / "features") as fresh:
            for name, _ in build_views(self.plan, self.data / "accepted", fresh):
                add_kept(kept / self.table.name, fresh / name)

    def catch_up(self, as_of: datetime) -> CatchUpResult:
        """Catch up, and check the result and the tables."""
        new = self.oracle.new_rows(self.present, as_of)
        corrected = self.oracle.corrections(self.present, as_of)
        is_sure = not self.oracle.pending
        result = catch_up(self.settings, self.plan, self.data, as_of)
        self.oracle.ingest(self.present, as_of)
        if is_sure:
            counts = result.changes["orders"]
            holds(
                (counts.new, counts.corrected) == (len(new), len(corrected)), f"{counts}: {len(new)}, {len(corrected)}"
            )
            bad = sum(self.orders[number].cents is None for number in (*new, *corrected))
            validated = result.sources["orders"]
            expected = (len(new) + len(corrected) - bad, bad)
            holds((validated.accepted, validated.rejected) == expected, f"{validated}, expected {expected}")
        self.check_rows()
        self.check_online(as_of)
        return result

    def check_rows(self) -> None:
        """Compare the accepted rows with those of the oracle."""
        rows = self.accepted()
        found, expected = Counter(row[:3] for row in rows), self.oracle.accepted()
        holds(found == expected, f"lost: {expected - found}, too many: {found - expected}")
        known = {row[:3]: row[3] for row in rows if found[row[:3]] == 1}
        for row in self.oracle.ingested.values():
            content = (row.order.customer, row.order.time, row.order.cents)
            if content in known:
                allowed = {max(time, row.order.time) for time in row.known_from}
                holds(known[content] in allowed, f"{content} is known from {known[content]}, expected {allowed}")

    def accepted(self) -> list[tuple[Any, ...]]:
        """Read the accepted rows, each with the instant from which it is known."""
        columns = ["customer_id", "event_timestamp", "cents", "created_timestamp"]
        files = sorted((self.data / "accepted" / "orders").glob("*.parquet"))
        tables = [pq.read_table(file, columns=columns) for file in files]
        return [row for table in tables for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]

    def online(self) -> list[tuple[Any, ...]]:
        """Read the online table."""
        columns = "customer_id, event_timestamp, orders, spend"
        with connect(self.settings.database_url or "") as connection:
            query = sql.SQL("SELECT {} FROM {} ORDER BY 1").format(sql.SQL(columns), self.table.identifier)
            return connection.execute(query).fetchall()

    def check_online(self, as_of: datetime) -> None:
        """Compare the online table, which is as of the latest instant, with the accepted rows."""
        if as_of < self.latest:
            return
        self.latest = as_of
        expected: dict[int, tuple[int, int]] = {}
        for customer, happened, cents, known_from in self.accepted():
            if max(happened, known_from) <= as_of:
                orders, spend = expected.get(customer, (0, 0))
                expected[customer] = (orders + 1, spend + cents)
        online = self.online()
        holds(
            online == [(customer, as_of, *expected[customer]) for customer in sorted(expected)],
            f"online {online}, expected {expected} as of {as_of}",
        )
        self.served.update(online)

    def check_served(self) -> None:
        """Check that all rows that were online are kept."""
        with open_duckdb() as connection:
            files = ", ".join(map(literal, kept_files(snapshots_ledger(self.data) / self.table.name)))
            columns = "customer_id, event_timestamp, orders, spend"
            kept = set(connection.execute(f"SELECT {columns} FROM read_parquet([{files}])").fetchall())
        holds(self.served <= kept, f"not kept: {self.served - kept}")
