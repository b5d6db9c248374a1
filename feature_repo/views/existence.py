"""Who exists when: the entities for which there are facts at an instant, as pairs in SQL or laid out by the instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.files.datasets import MEMBERS, open_rows
from feature_repo.files.duck import fetch, identifier, instant, literal
from feature_repo.join.time_line import INSTANT, microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb
    import numpy.typing as npt

    from core.plan.plan import Entity
    from core.plan.times import Period

    Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """Who is asked for, and when.

    Attributes
    ----------
    key : name of the entity's key column.
    keys : all entities that are asked for at some instant, each once; none is null.
    instants : in order; with each of them, which of `keys` are asked for then.

    """

    key: str
    keys: pa.ChunkedArray
    instants: Sequence[tuple[datetime, Integers]]

    def at(self, as_of: datetime, places: Integers) -> pa.Table:
        """Make the pairs of the keys at `places` and one instant: `key`, `as_of`."""
        times = pa.repeat(pa.scalar(as_of, INSTANT), len(places))
        return pa.table({self.key: self.keys.take(pa.array(places)), "as_of": times})

    def pairs(self) -> pa.Table:
        """Make all pairs."""
        none = pa.table({self.key: self.keys.slice(0, 0), "as_of": pa.array([], INSTANT)})
        return pa.concat_tables([none, *(self.at(*each) for each in self.instants)])


def asked_in(connection: duckdb.DuckDBPyConnection, key: str, grid: str) -> Asked:
    """Read who is asked for from the distinct pairs (`key`, `as_of`) of the relation `grid`."""
    pairs = fetch(connection, f"SELECT {identifier(key)}, as_of FROM {grid} ORDER BY as_of").combine_chunks()
    if not len(pairs):
        return Asked(key, pairs.column(key), ())
    keys, times = pairs.column(key).chunk(0).dictionary_encode(), pairs.column("as_of")
    later = np.flatnonzero(np.diff(microseconds(times, "as_of"))) + 1
    as_ofs = times.take(pa.array([0, *later])).to_pylist()
    places = np.split(keys.indices.to_numpy(), later)
    return Asked(key, pa.chunked_array([keys.dictionary]), tuple(zip(as_ofs, places, strict=True)))


def instants(period: Period, every: str) -> str:
    """Write the SQL of the instants start, start + every, start + 2 every, ... up to and with end.

    Each is counted from the start: months after the 31st end on the last day of shorter months, and on the 31st of longer ones.
    """
    start, end = map(instant, (period.start, period.end))
    most = (period.end - period.start).days + 1  # no step is shorter than a day
    return f"""(SELECT as_of FROM (
        SELECT {start} + step * INTERVAL {literal(every)} AS as_of FROM range({most}) AS steps (step)
    ) WHERE as_of <= {end})"""


def open_grid(
    connection: duckdb.DuckDBPyConnection, relation: str, key: str, rows: str, times: str, ends: str | None = None
) -> str:
    """Make the view `relation` of all pairs (key, as_of) such that the entity existed then.

    That is, it had a knowable row in `rows` by then, and none in `ends`.
    """
    column = identifier(key)
    first = f"SELECT {column}, min(greatest(event_time, created_time)) AS"
    ended = (
        f"({first} _until FROM {ends} GROUP BY 1)" if ends else f"(SELECT NULL AS {column}, NULL AS _until WHERE false)"
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {relation}_lives AS
            SELECT {column}, _since, coalesce(_until, TIMESTAMPTZ 'infinity') AS _until
            FROM ({first} _since FROM {rows} GROUP BY 1) LEFT JOIN {ended} USING ({column})
            ORDER BY {column}"""
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {relation}_times AS SELECT as_of FROM {times}")
    connection.execute(
        f"""CREATE OR REPLACE TEMP VIEW {relation} AS
            SELECT {column}, as_of FROM {relation}_times JOIN {relation}_lives ON _since <= as_of AND _until > as_of"""
    )
    return relation


def open_existence(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    entity: Entity,
    files: Callable[[str], str | Path],
    times: str,
) -> str:
    """Make the view `relation` of all pairs (key, as_of) in which `entity` exists; `files` names a source's files."""
    home = open_rows(connection, f"{relation}_home", files(entity.source or MEMBERS))
    ends = open_rows(connection, f"{relation}_ends", files(entity.until)) if entity.until else None
    return open_grid(connection, relation, entity.key, home, times, ends)


def who_exists(
    connection: duckdb.DuckDBPyConnection, entity: Entity, files: Callable[[str], str | Path], times: str
) -> Asked:
    """Find out which entities exist at each of `times`; `files` names a source's files."""
    grid = open_existence(connection, "grid", entity, files, times)
    lives = fetch(connection, f"FROM {grid}_lives")
    since, until = (microseconds(lives.column(name), name) for name in ("_since", "_until"))
    times_of = fetch(connection, f"FROM {grid}_times ORDER BY as_of").column("as_of")
    found = (
        (as_of, np.flatnonzero((since <= at) & (until > at)))
        for as_of, at in zip(times_of.to_pylist(), microseconds(times_of, "as_of").tolist(), strict=True)
    )
    return Asked(entity.key, lives.column(entity.key), tuple((as_of, places) for as_of, places in found if len(places)))
