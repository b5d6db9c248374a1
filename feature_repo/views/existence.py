"""The entities that exist at each instant, as (key, as_of) pairs in SQL or as arrays of keys by instant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.files.datasets import MEMBERS, open_rows
from feature_repo.files.duck import fetch, identifier, instant, literal
from feature_repo.join.time_line import INSTANT, microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb
    import numpy.typing as npt

    from core.plan.plan import Entity
    from core.plan.times import Period

    Integers = npt.NDArray[np.int64]

_DAY = timedelta(days=1)
#: The length of the units of a cadence that are shorter than a day.
_SHORTEST_STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}


@dataclass(frozen=True)
class PairsByInstant:
    """Pairs (key, as_of), grouped by instant.

    Attributes
    ----------
    key : name of the entity's key column.
    keys : the distinct keys of all instants; none is null.
    instants : each instant, in order, with the indices in `keys` of its pairs.

    """

    key: str
    keys: pa.ChunkedArray
    instants: Sequence[tuple[datetime, Integers]]

    def at(self, as_of: datetime, index: Integers) -> pa.Table:
        """Return the pairs of one instant and the keys at `index`, with the columns `key` and `as_of`."""
        times = pa.repeat(pa.scalar(as_of, INSTANT), len(index))
        return pa.table({self.key: self.keys.take(pa.array(index)), "as_of": times})

    def slices(self, most: int) -> Iterator[PairsByInstant]:
        """Yield the pairs in slices of whole instants, of at most `most` pairs unless one instant has more."""
        begin, count = 0, 0
        for number, (_, index) in enumerate(self.instants):
            if count and count + len(index) > most:
                yield replace(self, instants=self.instants[begin:number])
                begin, count = number, 0
            count += len(index)
        yield replace(self, instants=self.instants[begin:])

    def table(self) -> pa.Table:
        """Return all pairs, with the columns `key` and `as_of`."""
        empty = pa.table({self.key: self.keys.slice(0, 0), "as_of": pa.array([], INSTANT)})
        return pa.concat_tables([empty, *(self.at(*each) for each in self.instants)])


def asked_in(connection: duckdb.DuckDBPyConnection, key: str, grid: str) -> PairsByInstant:
    """Return the distinct pairs (`key`, `as_of`) of the relation `grid`, by instant."""
    pairs = fetch(connection, f"SELECT {identifier(key)}, as_of FROM {grid} ORDER BY as_of").combine_chunks()
    if not len(pairs):
        return PairsByInstant(key, pairs.column(key), ())
    keys, times = pairs.column(key).chunk(0).dictionary_encode(), pairs.column("as_of")
    begins = np.flatnonzero(np.diff(microseconds(times, "as_of"))) + 1
    as_ofs = times.take(pa.array([0, *begins])).to_pylist()
    index = np.split(keys.indices.to_numpy(), begins)
    return PairsByInstant(key, pa.chunked_array([keys.dictionary]), tuple(zip(as_ofs, index, strict=True)))


def instants(period: Period, every: str) -> str:
    """Compose the relation of the instants start, start + every, start + 2 every, ..., at most end.

    Each is computed from the start. So monthly steps from a 31st fall on the last day of every month.
    """
    start, end = map(instant, (period.start, period.end))
    most_steps = (period.end - period.start) // _least_step(every) + 1
    return f"""(SELECT as_of FROM (
        SELECT {start} + step * INTERVAL {literal(every)} AS as_of FROM range({most_steps}) AS steps (step)
    ) WHERE as_of <= {end})"""


def _least_step(every: str) -> timedelta:
    """Return the length of the unit of a cadence, or a day if that is shorter."""
    return _SHORTEST_STEPS.get(every.split()[1].removesuffix("s"), _DAY)


def within_days(every: str) -> bool:
    """Return whether a cadence has units shorter than a day, so that a period has many instants."""
    return _least_step(every) < _DAY


def open_lives(
    connection: duckdb.DuckDBPyConnection, relation: str, key: str, rows: str, ends: str | None = None
) -> str:
    """Create the table `relation`_lives of when each entity exists, from `_since` and before `_until`; return its name.

    An entity exists from when a row of it is known in `rows`, and until one is in `ends`.
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
    return f"{relation}_lives"


def open_grid(
    connection: duckdb.DuckDBPyConnection, relation: str, key: str, rows: str, times: str, ends: str | None = None
) -> str:
    """Create the view `relation` of all pairs (key, as_of) in which the entity exists; return its name.

    `rows` and `ends` are as for `open_lives`.
    """
    column, lives = identifier(key), open_lives(connection, relation, key, rows, ends)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {relation}_times AS SELECT as_of FROM {times}")
    connection.execute(
        f"""CREATE OR REPLACE TEMP VIEW {relation} AS
            SELECT {column}, as_of FROM {relation}_times JOIN {lives} ON _since <= as_of AND _until > as_of"""
    )
    return relation


def open_row_instants(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    entity: Entity,
    files: Callable[[str], str | Path],
    rows: str,
    period: Period,
) -> str:
    """Create the table `relation` of the pairs (key, as_of) at which `rows` became known within `period`; return its name.

    Pairs in which the entity does not exist are left out. `files` returns the files of a source.
    """
    home, ends = _lives_of(connection, relation, entity, files)
    lives, key = open_lives(connection, relation, entity.key, home, ends), identifier(entity.key)
    start, end = map(instant, (period.start, period.end))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {relation} AS SELECT DISTINCT {key}, as_of
            FROM (SELECT {key}, greatest(event_time, created_time) AS as_of FROM {rows}) JOIN {lives} USING ({key})
            WHERE as_of BETWEEN {start} AND {end} AND _since <= as_of AND _until > as_of"""
    )
    return relation


def open_existence(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    entity: Entity,
    files: Callable[[str], str | Path],
    times: str,
) -> str:
    """Create the view `relation` of all pairs (key, as_of) in which `entity` exists; return its name.

    `files` returns the files of a source.
    """
    home, ends = _lives_of(connection, relation, entity, files)
    return open_grid(connection, relation, entity.key, home, times, ends)


def _lives_of(
    connection: duckdb.DuckDBPyConnection, relation: str, entity: Entity, files: Callable[[str], str | Path]
) -> tuple[str, str | None]:
    """Open the rows that begin and end the existence of entities; return their relations."""
    home = open_rows(connection, f"{relation}_home", files(entity.source or MEMBERS))
    return home, open_rows(connection, f"{relation}_ends", files(entity.until)) if entity.until else None


def existing_entities(
    connection: duckdb.DuckDBPyConnection, entity: Entity, files: Callable[[str], str | Path], times: str
) -> PairsByInstant:
    """Return the entities that exist at each of `times`; `files` returns the files of a source."""
    grid = open_existence(connection, "grid", entity, files, times)
    lives = fetch(connection, f"FROM {grid}_lives")
    since, until = (microseconds(lives.column(name), name) for name in ("_since", "_until"))
    as_ofs = fetch(connection, f"FROM {grid}_times ORDER BY as_of").column("as_of")
    existing = (
        (as_of, np.flatnonzero((since <= at) & (until > at)))
        for as_of, at in zip(as_ofs.to_pylist(), microseconds(as_ofs, "as_of").tolist(), strict=True)
    )
    instants_with_keys = tuple((as_of, index) for as_of, index in existing if len(index))
    return PairsByInstant(entity.key, lives.column(entity.key), instants_with_keys)
