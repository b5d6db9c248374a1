"""The prepared handle: read the online rows of many entities in several views, in one round trip.

It is built once, from what the loaded releases need; a read resolves nothing and builds no message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from core.contracts import Freshness, Key, Value, ViewRead
from feature_repo.online_tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from psycopg import AsyncConnection

_KEY_ARRAYS = {"int64": sql.SQL("int8[]"), "string": sql.SQL("text[]")}


@dataclass(frozen=True)
class HandleView:
    """One view to read: its online table, how long its rows are fresh, and which of its columns, in order."""

    name: str
    online_table: str
    ttl: timedelta
    columns: tuple[str, ...]


class OnlineHandle:
    """Reads the views it was built with; holds no connection."""

    def __init__(self, views: Sequence[HandleView], entity_key: str, entity_dtype: str) -> None:
        self.views = tuple(views)
        self._query = _query(self.views, entity_key, entity_dtype)

    async def read(
        self, connection: AsyncConnection, keys: Sequence[Key], as_of: datetime
    ) -> list[dict[str, ViewRead]]:
        """Read the rows of `keys`, in their order, as they stand for a request as of `as_of`.

        A row whose event time is after `as_of` was not knowable then, so it is MISSING, as is one that is not there. A row
        older than the view's ttl is STALE.

        Raises
        ------
        psycopg.Error
            As the driver does: the caller owns the connection.

        """
        async with connection.cursor(binary=True) as cursor:
            await cursor.execute(self._query, [list(keys)], prepare=True)
            rows = await cursor.fetchall()
        return [self._split(row, as_of) for row in rows]

    def _split(self, row: tuple[Value, ...], as_of: datetime) -> dict[str, ViewRead]:
        reads, place = {}, 0
        for view in self.views:
            event_time, values = row[place], row[place + 1 : place + 1 + len(view.columns)]
            place += 1 + len(view.columns)
            reads[view.name] = judge(event_time, values, view.ttl, as_of)  # type: ignore[arg-type]
        return reads


def judge(event_time: datetime | None, values: tuple[Value, ...], ttl: timedelta, as_of: datetime) -> ViewRead:
    """Say whether a row is FRESH (at most `ttl` old at `as_of`), STALE, or MISSING (absent, or of a later time)."""
    if event_time is None or event_time > as_of:
        return ViewRead(None, Freshness.MISSING, (None,) * len(values))
    fresh = as_of - event_time <= ttl
    return ViewRead(event_time, Freshness.FRESH if fresh else Freshness.STALE, values)


def _query(views: Sequence[HandleView], entity_key: str, entity_dtype: str) -> sql.Composed:
    columns, joins = [], []
    for number, view in enumerate(views):
        alias = sql.Identifier(f"view{number}")
        columns += [
            sql.SQL("{}.{}").format(alias, sql.Identifier(column)) for column in ("event_timestamp", *view.columns)
        ]
        joins.append(
            sql.SQL("LEFT JOIN {} AS {alias} ON {alias}.{key} = asked.key").format(
                sql.Identifier(SCHEMA, view.online_table), alias=alias, key=sql.Identifier(entity_key)
            )
        )
    return sql.SQL("SELECT {} FROM unnest(%s::{}) WITH ORDINALITY AS asked(key, place) {} ORDER BY asked.place").format(
        sql.SQL(", ").join(columns), _KEY_ARRAYS[entity_dtype], sql.SQL(" ").join(joins)
    )
