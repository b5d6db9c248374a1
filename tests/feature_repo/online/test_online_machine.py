"""Whatever happens, and in whatever order, the online tables are what an oracle of ten lines says they are.

Rows arrive late, twice and shuffled; tables are made anew as of any instant, together or one alone; entities are deleted;
connections break; and in between somebody reads. A row never goes back in time, what is read is FRESH, STALE or MISSING as
its age says, and the joint table holds what its members hold.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from core.contracts import Freshness
from core.postgres.database import connect
from core.postgres.pool import blocking_pool, with_connection
from feature_repo.online import joint_tables
from feature_repo.online.erasure import delete_entity
from feature_repo.online.handle import HandleView, OnlineHandle
from feature_repo.online.joint_tables import JointTable
from feature_repo.online.refresh import Load, refresh
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create, exists, merge, merge_values
from tests.feature_repo.online.online_rows import SPENDING, Row, arrow, at, joint_rows, row, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.contracts import ViewRead
    from core.postgres.pool import BlockingPool

TTL = timedelta(days=4)
CUSTOMERS, DAYS = st.integers(1, 4), st.integers(0, 12)
NAMES = ("calls", "spending")
VIEWS = st.sampled_from(NAMES)
#: A spend never repeats within a machine, so that a row is known by it.
ROWS = st.lists(st.tuples(CUSTOMERS, DAYS, DAYS), min_size=1, max_size=6)


class OnlineMachine(RuleBasedStateMachine):
    """Two tables of one key, and what they must hold."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        suffix = uuid4().hex[:12]
        self.tables = {name: OnlineTable(f"{name}__{suffix}", SPENDING.keys, SPENDING.features) for name in NAMES}
        self.joint = JointTable(tuple(self.tables.values()))
        self.online: dict[str, dict[int, Row]] = {name: {} for name in NAMES}
        self.offline: dict[str, list[Row]] = {name: [] for name in NAMES}
        self.latest: dict[tuple[str, int], tuple[datetime, datetime]] = {}
        self.happened = 0
        self.is_joined = False
        with connect(self.url) as connection:
            for table in self.tables.values():
                create(connection, table)
        self.pool: BlockingPool = blocking_pool(self.url)
        self.handle = OnlineHandle(
            [HandleView(name, table.name, TTL, ("spend", "plan")) for name, table in self.tables.items()],
            "customer",
            "int64",
        )

    def teardown(self) -> None:
        self.pool.close()

    def _happen(self, view: str, drawn: list[tuple[int, int, int]]) -> list[Row]:
        rows = []
        for customer, event, delay in drawn:
            self.happened += 1
            spend = float(self.happened)
            rows.append(row(customer, event, spend, f"plan {spend}", created=event + delay / 10))
            self.offline[view].append(rows[-1])
        return rows

    def _arrive(self, view: str, rows: list[Row]) -> None:
        online = self.online[view]
        for each in rows:
            present = online.get(each[0])
            if present is None or each[1:3] >= present[1:3]:
                online[each[0]] = each

    @rule(view=VIEWS, drawn=ROWS)
    def values_are_merged(self, view: str, drawn: list[tuple[int, int, int]]) -> None:
        rows = self._happen(view, drawn)
        self._change(lambda connection: merge_values(connection, self.tables[view], rows))
        self._arrive(view, rows)

    @rule(view=VIEWS, drawn=ROWS)
    def columns_are_merged(self, view: str, drawn: list[tuple[int, int, int]]) -> None:
        # One row for a place in time: of two alike, a table of columns has no order that says which is the later.
        rows = list({each[:3]: each for each in self._happen(view, drawn)}.values())
        self._change(lambda connection: merge(connection, self.tables[view], arrow(rows)))
        self._arrive(view, rows)

    @precondition(lambda self: any(self.offline.values()))
    @rule(data=st.data())
    def an_old_row_arrives_again(self, data: st.DataObject) -> None:
        view = data.draw(st.sampled_from([view for view, rows in self.offline.items() if rows]))
        again = data.draw(st.sampled_from(self.offline[view]))
        self._change(lambda connection: merge_values(connection, self.tables[view], [again]))
        self._arrive(view, [again])

    @rule(day=DAYS)
    def the_tables_are_made_anew(self, day: int) -> None:
        self._make_anew(NAMES, day)

    @rule(view=VIEWS, day=DAYS)
    def a_table_is_made_anew(self, view: str, day: int) -> None:
        self._make_anew((view,), day)

    def _make_anew(self, views: tuple[str, ...], day: int) -> None:
        known = {view: self._known(view, day) for view in views}
        loads = [Load(self.tables[view], arrow(list(rows.values()))) for view, rows in known.items()]
        self._change(lambda connection: refresh(connection, loads, at(day)))
        self.is_joined = len(views) > 1
        for view, rows in known.items():
            for customer, live in self.online[view].items():
                if (customer in rows and live[1:3] > rows[customer][1:3]) or (
                    customer not in rows and max(live[1:3]) > at(day)
                ):
                    rows[customer] = live
            for customer in self.online[view].keys() - rows.keys():
                self.latest.pop((view, customer), None)
            self.online[view] = rows

    def _known(self, view: str, day: int) -> dict[int, Row]:
        known: dict[int, Row] = {}
        for each in self.offline[view]:
            if max(each[1:3]) <= at(day) and (each[0] not in known or each[1:3] >= known[each[0]][1:3]):
                known[each[0]] = each
        return known

    @rule(customer=CUSTOMERS)
    def an_entity_is_erased(self, customer: int) -> None:
        deleted: list[dict[str, int]] = []
        self._change(lambda connection: deleted.append(delete_entity(connection, "customer", customer)))
        own = [table.name for table in self.tables.values()]
        assert [deleted[-1][name] for name in own] == [customer in self.online[view] for view in NAMES]
        assert self.joint.name not in deleted[-1]
        for view in NAMES:
            self.offline[view] = [each for each in self.offline[view] if each[0] != customer]
            self.online[view].pop(customer, None)
            self.latest.pop((view, customer), None)

    @rule(view=VIEWS)
    def a_table_is_emptied(self, view: str) -> None:
        self._change(lambda connection: connection.execute(f"TRUNCATE online.{self.tables[view].name}"))
        for customer in self.online[view]:
            self.latest.pop((view, customer), None)
        self.online[view] = {}

    @precondition(lambda self: self.is_joined)
    @rule()
    def the_joint_table_is_dropped(self) -> None:
        self._change(lambda connection: joint_tables.drop(connection, self.joint.name))
        self.is_joined = False

    @rule()
    def a_minute_passes(self) -> None:
        self.handle._next_look = -math.inf

    @rule()
    def connections_break(self) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    @rule(day=DAYS)
    def somebody_reads(self, day: int) -> None:
        customers, now = [3, 1, 2, 4, 1, 99], at(day)
        reads = self._read(customers, now)
        assert [self._read([customer], now) for customer in customers] == [[found] for found in reads]
        for customer, found in zip(customers, reads, strict=True):
            for view, read in found.items():
                present = self.online[view].get(customer)
                if present is None or present[1] > now:
                    assert (read.status, read.values) == (Freshness.MISSING, (None, None))
                else:
                    assert (read.event_time, read.values) == (present[1], present[3:])
                    assert read.status is (Freshness.FRESH if now - present[1] <= TTL else Freshness.STALE)

    def _read(self, customers: list[int], now: datetime) -> list[dict[str, ViewRead]]:
        return with_connection(self.pool, lambda connection: self.handle.read_blocking(connection, customers, now))

    @invariant()
    def the_tables_are_what_they_must_be(self) -> None:
        with connect(self.url) as connection:
            for view, online in self.online.items():
                assert stored(connection, self.tables[view]) == [online[customer] for customer in sorted(online)]
            assert exists(connection, self.joint.name) == self.is_joined
            if self.is_joined:
                assert joint_rows(connection, self.joint) == self._expected_joint_rows()

    def _expected_joint_rows(self) -> list[tuple[object, ...]]:
        rows = []
        for customer in sorted({customer for online in self.online.values() for customer in online}):
            values: list[object] = [customer]
            for online in self.online.values():
                present = online.get(customer)
                values += (present[1], *present[3:]) if present else (None, None, None)
            rows.append(tuple(values))
        return rows

    @invariant()
    def no_row_goes_back_in_time(self) -> None:
        for view, online in self.online.items():
            for customer, present in online.items():
                assert present[1:3] >= self.latest.get((view, customer), (datetime.min.replace(tzinfo=UTC),) * 2)
                self.latest[view, customer] = present[1:3]

    def _change(self, work: Callable[[psycopg.Connection], object]) -> None:
        def once(connection: psycopg.Connection) -> None:
            with connection.transaction():
                work(connection)

        with_connection(self.pool, once)


def test_the_online_tables_are_what_the_oracle_says(module_database_url: str) -> None:
    OnlineMachine.url = module_database_url
    run_state_machine_as_test(OnlineMachine, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))
