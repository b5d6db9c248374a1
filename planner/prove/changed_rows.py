"""Accepted rows with random changes in all that was not knowable at an instant; everything else is unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.join.time_line import INSTANT, microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    import numpy.typing as npt

    Places = npt.NDArray[np.intp]

#: The columns that stay: by its times a row stays unknown, and its number tells it from others.
_KEPT = frozenset({"event_timestamp", "created_timestamp", "source_row"})
_REMOVED_SHARE = 0.5


def write_changed_rows(
    accepted: Path, keys: Mapping[str, str], as_of: datetime, folder: Path, rng: np.random.Generator
) -> int:
    """Write accepted rows to `folder`, with changes in the rows that were not knowable at `as_of`; return their number.

    Parameters
    ----------
    accepted : folder of the accepted rows.
    keys : the entity's key column of each source to change; the tables of other sources are linked, not copied.

    """
    changed = 0
    for table in sorted(path for path in accepted.iterdir() if path.is_dir()):
        if table.name not in keys:
            (folder / table.name).symlink_to(table.resolve(), target_is_directory=True)
            continue
        (folder / table.name).mkdir()
        for file in sorted(table.glob("*.parquet")):
            rows = pq.read_table(file)
            unknown = _unknown_rows(rows, as_of)
            changed += len(unknown)
            pq.write_table(_with_changes(rows, unknown, keys[table.name], rng), folder / table.name / file.name)
    return changed


def _unknown_rows(rows: pa.Table, as_of: datetime) -> Places:
    """Return the indices of the rows that happened or became known after `as_of`."""
    happened, known = (microseconds(rows.column(name), name) for name in ("event_timestamp", "created_timestamp"))
    (instant,) = microseconds(pa.chunked_array([[as_of]], INSTANT), "as_of")
    return np.flatnonzero(np.maximum(happened, known) > instant)


def _with_changes(rows: pa.Table, unknown: Places, key: str, rng: np.random.Generator) -> pa.Table:
    """Return `rows` with half of the `unknown` rows removed; the others get random values, column by column.

    A key becomes the key of a random row. Any other value becomes that of a random row, moved so that it may exceed their
    range.
    """
    if not len(unknown):
        return rows
    removed = rng.random(len(unknown)) < _REMOVED_SHARE
    removed[0] = True
    kept = np.delete(np.arange(len(rows)), unknown[removed])
    is_changed = np.isin(kept, unknown)

    def column(name: str) -> pa.ChunkedArray:
        whole = rows.column(name)
        if name in _KEPT:
            return whole.take(pa.array(kept))
        places = np.where(is_changed, rng.integers(0, len(rows), len(kept)), kept)
        drawn = whole.take(pa.array(places))
        return drawn if name == key else pc.if_else(pa.array(is_changed), _moved(drawn, whole, rng), drawn)

    return pa.table({name: column(name) for name in rows.column_names})


def _moved(drawn: pa.ChunkedArray, whole: pa.ChunkedArray, rng: np.random.Generator) -> pa.ChunkedArray:
    """Return `drawn` with each value moved; nulls stay, and so do values of types without arithmetic."""
    number, kind = len(drawn), drawn.type
    if pa.types.is_boolean(kind):
        return pc.xor(drawn, pa.array(rng.random(number) < _REMOVED_SHARE))
    if pa.types.is_string(kind):
        return pc.binary_join_element_wise(drawn, pa.array(rng.integers(0, 1000, number)).cast(pa.string()), "~")
    if pa.types.is_temporal(kind):
        plain = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        return _moved(drawn.cast(plain), whole.cast(plain), rng).cast(kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        bounds = pc.min_max(whole.cast(pa.float64())).as_py()
        spread = (bounds["max"] or 0) - (bounds["min"] or 0) + 1
        return pc.add(drawn, pa.array(np.rint(rng.normal(0, spread, number))).cast(kind, safe=False))
    return drawn
