"""Whatever happens, and in whatever order, the online table is what an oracle of ten lines says it is.

Rows arrive late, twice and shuffled; tables are made anew as of any instant; entities are deleted; connections break; and in
between somebody reads. A row never goes back in time, and what is read is FRESH, STALE or MISSING as its age says.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from core.connection_pool import blocking_pool, with_connection
from core.contracts import Freshness
from core.database import connect
from feature_repo.online_handle import HandleView, OnlineHandle
from feature_repo.online_refresh import Load, refresh
from feature_repo.online_tables import OnlineTable, create, delete_entity, merge, merge_values
from tests.feature_repo.online_rows import SPENDING, Row, arrow, at, row, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.connection_pool import BlockingPool

TTL = timedelta(days=4)
CUSTOMERS, DAYS = st.integers(1, 4), st.integers(0, 12)
#: A spend never repeats within a machine, so that a row is known by it.
ROWS = st.lists(st.tuples(CUSTOMERS, DAYS, DAYS), min_size=1, max_size=6)


class OnlineMachine(RuleBasedStateMachine):
    """The table, and what it must hold."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.table = OnlineTable(f"machine__{uuid4().hex[:12]}", SPENDING.keys, SPENDING.features)
        self.online: dict[int, Row] = {}
        self.offline: list[Row] = []
        self.happened = 0
        self.latest: dict[int, tuple[datetime, datetime]] = {}
        with connect(self.url) as connection:
            create(connection, self.table)
        self.pool: BlockingPool = blocking_pool(self.url)
        self.handle = OnlineHandle(
            [HandleView("spending", self.table.name, TTL, ("spend", "plan"))], "customer", "int64"
        )

    def teardown(self) -> None:
        self.pool.close()

    def _happen(self, drawn: list[tuple[int, int, int]]) -> list[Row]:
        rows = []
        for customer, event, delay in drawn:
            self.happened += 1
            spend = float(self.happened)
            rows.append(row(customer, event, spend, f"plan {spend}", created=event + delay / 10))
            self.offline.append(rows[-1])
        return rows

    def _arrive(self, rows: list[Row]) -> None:
        for each in rows:
            present = self.online.get(each[0])
            if present is None or each[1:3] >= present[1:3]:
                self.online[each[0]] = each

    @rule(drawn=ROWS)
    def values_are_merged(self, drawn: list[tuple[int, int, int]]) -> None:
        rows = self._happen(drawn)
        self._change(lambda connection: merge_values(connection, self.table, rows))
        self._arrive(rows)

    @rule(drawn=ROWS)
    def columns_are_merged(self, drawn: list[tuple[int, int, int]]) -> None:
        # One row for a place in time: of two alike, a table of columns has no order that says which is the later.
        rows = list({each[:3]: each for each in self._happen(drawn)}.values())
        self._change(lambda connection: merge(connection, self.table, arrow(rows)))
        self._arrive(rows)

    @precondition(lambda self: self.offline)
    @rule(data=st.data())
    def an_old_row_arrives_again(self, data: st.DataObject) -> None:
        again = data.draw(st.sampled_from(self.offline))
        self._change(lambda connection: merge_values(connection, self.table, [again]))
        self._arrive([again])

    @rule(day=DAYS)
    def the_table_is_made_anew(self, day: int) -> None:
        known: dict[int, Row] = {}
        for each in self.offline:
            if max(each[1:3]) <= at(day) and (each[0] not in known or each[1:3] >= known[each[0]][1:3]):
                known[each[0]] = each
        loads = [Load(self.table, arrow(list(known.values())))]
        self._change(lambda connection: refresh(connection, loads, at(day)))
        for customer, live in self.online.items():
            if (customer in known and live[1:3] > known[customer][1:3]) or (
                customer not in known and max(live[1:3]) > at(day)
            ):
                known[customer] = live
        for customer in self.online.keys() - known.keys():
            self.latest.pop(customer, None)
        self.online = known

    @rule(customer=CUSTOMERS)
    def an_entity_is_erased(self, customer: int) -> None:
        self._change(lambda connection: delete_entity(connection, "customer", customer))
        self.offline = [each for each in self.offline if each[0] != customer]
        self.online.pop(customer, None)
        self.latest.pop(customer, None)

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
        reads = with_connection(self.pool, lambda connection: self.handle.read_blocking(connection, customers, now))
        for customer, found in zip(customers, reads, strict=True):
            read, present = found["spending"], self.online.get(customer)
            if present is None or present[1] > now:
                assert (read.status, read.values) == (Freshness.MISSING, (None, None))
            else:
                assert (read.event_time, read.values) == (present[1], present[3:])
                assert read.status is (Freshness.FRESH if now - present[1] <= TTL else Freshness.STALE)

    @invariant()
    def the_table_is_what_it_must_be(self) -> None:
        with connect(self.url) as connection:
            assert stored(connection, self.table) == [self.online[customer] for customer in sorted(self.online)]

    @invariant()
    def no_row_goes_back_in_time(self) -> None:
        for customer, present in self.online.items():
            assert present[1:3] >= self.latest.get(customer, (datetime.min.replace(tzinfo=UTC),) * 2)
            self.latest[customer] = present[1:3]

    def _change(self, work: Callable[[psycopg.Connection], object]) -> None:
        def once(connection: psycopg.Connection) -> None:
            with connection.transaction():
                work(connection)

        with_connection(self.pool, once)


def test_the_online_table_is_what_the_oracle_says(module_database_url: str) -> None:
    OnlineMachine.url = module_database_url
    run_state_machine_as_test(OnlineMachine, settings=settings(max_examples=15, stateful_step_count=20, deadline=None))
