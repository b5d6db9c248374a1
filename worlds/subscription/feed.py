"""Turn true events into records that may be late, duplicated, incomplete or wrong, with broken feeds."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from worlds.subscription.arrays import Flags, Moments
from worlds.subscription.changes import AnyChange, ColumnMissing, UnitChange
from worlds.subscription.settings import Faults
from worlds.subscription.tables import TABLES, TableSpec, utc_timestamps

#: A record that is not late becomes known within half an hour, on the day of its event.
PROMPT_SECONDS = 1800
DAY_SECONDS = 86_400


def as_recorded(
    table: str, happened: pa.Table, rng: np.random.Generator, faults: Faults, broken: Iterable[AnyChange]
) -> pa.Table:
    """Return the records of a month's true events.

    Parameters
    ----------
    table : name of the table.
    happened : true rows, without `created_time`.
    rng : draws the records that are late, incomplete, wrong or duplicated.
    faults : the rates of these faults.
    broken : the changes that are active in the month; only broken feeds of this table are applied.

    Returns
    -------
    The rows in the table's schema, in the same order, followed by the duplicates.

    """
    spec = TABLES[table]
    late_rate = 0.0 if table == "customers" else faults.late_rate
    created = known_times(happened["event_time"].to_numpy(), rng, late_rate, faults.late_days_max)
    recorded = happened.add_column(2, spec.schema.field("created_time"), utc_timestamps(created))
    for change in broken:
        recorded = _break(recorded, table, change, rng)
    recorded = _damage(recorded, spec, rng, faults)
    twice = np.flatnonzero(rng.random(len(recorded)) < faults.duplicate_rate)
    return pa.concat_tables([recorded, recorded.take(pa.array(twice))]).cast(spec.schema)


def known_times(event_times: Moments, rng: np.random.Generator, late_rate: float, late_days_max: int) -> Moments:
    """Draw and return when each event becomes known: within half an hour, or 1 to `late_days_max` days later if late."""
    size = len(event_times)
    prompt = rng.integers(1, PROMPT_SECONDS + 1, size)
    late = rng.integers(DAY_SECONDS, late_days_max * DAY_SECONDS + 1, size)
    delays = np.where(rng.random(size) < late_rate, late, prompt)
    known: Moments = event_times + (delays * 1_000_000).astype("timedelta64[us]")
    return known


def _break(recorded: pa.Table, table: str, change: AnyChange, rng: np.random.Generator) -> pa.Table:
    """Return the records with a broken feed applied, if `change` is a broken feed of this table."""
    if not isinstance(change, ColumnMissing | UnitChange) or change.table != table:
        return recorded
    if isinstance(change, ColumnMissing):
        return _with_value(recorded, change.column, rng.random(len(recorded)) < change.share, None)
    column = recorded[change.column]
    scaled = pc.multiply(column.cast(pa.float64()), change.factor)
    return _replace(recorded, change.column, scaled.cast(column.type, safe=False))


def _damage(recorded: pa.Table, spec: TableSpec, rng: np.random.Generator, faults: Faults) -> pa.Table:
    """Return the records with a value missing from some and an impossible value in others."""
    draws = rng.random(len(recorded))
    which = rng.integers(0, len(spec.may_be_missing), len(recorded))
    lacking = draws < faults.missing_rate
    wrong = ~lacking & (draws < faults.missing_rate + faults.impossible_rate)
    for number, column in enumerate(spec.may_be_missing):
        recorded = _with_value(recorded, column, lacking & (which == number), None)
    return _with_value(recorded, spec.impossible_column, wrong, spec.impossible_value)


def _with_value(recorded: pa.Table, column: str, chosen: Flags, value: float | None) -> pa.Table:
    """Return the records with one value, or null, in the chosen rows of a column."""
    if not chosen.any():
        return recorded
    kind = recorded.schema.field(column).type
    return _replace(recorded, column, pc.if_else(pa.array(chosen), pa.scalar(value, kind), recorded[column]))


def _replace(recorded: pa.Table, column: str, values: pa.ChunkedArray) -> pa.Table:
    position = recorded.schema.get_field_index(column)
    return recorded.set_column(position, recorded.schema.field(position), values)
