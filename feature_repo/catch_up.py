"""Catch up with sources that grow: take in what became known since, and bring the features of an instant online.

The stages make everything anew from the sources up to the plan's instants; this goes on from there, day by day, between two
runs of them. What it adds lies beside what the stages wrote, in files of its own, so parity recomputes from it too.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from core.database import ensure_database
from core.errors import QualityError, SourceError
from core.files import private_folder, require, unfinished
from core.plan_sources import QualityRules
from feature_repo.datasets import accepted_glob, files_of, raw_file, write_table
from feature_repo.duck import identifier, literal, open_duckdb
from feature_repo.ingest import key_for, with_pseudonyms
from feature_repo.materialize import bring_online, kept_loads
from feature_repo.online_refresh import Load
from feature_repo.quality import known_time
from feature_repo.readers import read_source, scratch_folder, without_rows
from feature_repo.registry import changing_features
from feature_repo.rows_at import rows_at
from feature_repo.validate import Validated, validate
from feature_repo.view_definitions import view_definition

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

    from core.plan import Plan
    from core.plan_sources import Source
    from core.settings import Settings

#: Standard errors by which the rejected share of new rows may exceed the plan's limit: few rows exceed it by chance.
_TOLERATED = 4.0


@dataclass(frozen=True)
class CaughtUp:
    """What was taken in and brought online: rows by source, and rows by view as of an instant."""

    as_of: datetime
    sources: Mapping[str, Validated]
    views: Mapping[str, int]


def catch_up(settings: Settings, plan: Plan, data: Path, as_of: datetime) -> CaughtUp:
    """Take in every row that became known by `as_of`, compute all views as of then, and bring them online as one.

    A row that a source delivers with a created time before its newest accepted one is not seen; the next run of the stages
    sees it.

    Parameters
    ----------
    data : folder of the stages' tables, which have run.

    Raises
    ------
    StaleStateError
        If a stage has not run, or the views were applied in another version.
    SourceError, QualityError
        If a source cannot be read, or more of its new rows are rejected than the plan allows.

    """
    for name in plan.ingest:
        require(data / "accepted" / name, "validate")
    key = key_for(settings, plan.ingest.values())
    taken = {name: _take_in(plan, name, data, settings.state / "downloads", key, as_of) for name in plan.ingest}
    loads = {}
    for name in plan.build_features.views:
        definition = view_definition(plan, name)
        rows = rows_at(definition, data / "accepted", as_of)
        _keep(data / "features" / name, rows, as_of)
        loads[name] = Load(definition.table, rows)
    url, tables = ensure_database(settings), {name: load.table for name, load in loads.items()}
    with changing_features(url):
        kept = kept_loads(url, plan, data / "accepted", as_of, lambda name, _: loads[name].rows)
        return CaughtUp(as_of, taken, bring_online(url, tables, loads.values(), as_of, kept=kept))


def _stamp(instant: datetime) -> str:
    return f"{instant:%Y%m%dT%H%M%S}"


def _take_in(plan: Plan, name: str, data: Path, downloads: Path, key: bytes | None, as_of: datetime) -> Validated:
    """Validate the rows of a source that became known since its newest accepted one, and add the good ones."""
    # The plan's end of the extract is passed; what is later than `as_of` is left for its own day.
    source = plan.ingest[name].model_copy(update={"observed_until": as_of, "later_rows": "leave_out"})
    rules = plan.validate_.get(name, QualityRules())
    rejected = data / "rejected" / f"{name}-known-{_stamp(as_of)}.parquet"
    with private_folder(downloads / "catch-up") as scratch:
        raw, accepted = raw_file(scratch, name), scratch / "accepted" / name
        if not _write_new_rows(name, source, data / "accepted", raw, downloads, key):
            return Validated(accepted=0, rejected=0)
        # Judged below, since a few new rows exceed any share by chance.
        lenient = rules.model_copy(update={"max_rejected": 1.0})
        result = validate(source.ingested(), plan.entities[source.entity].key, lenient, raw, accepted, rejected)
        if not result.rejected:
            rejected.unlink()
        _refuse_too_many(name, result, rules, rejected)
        _add(rules, accepted, data / "accepted" / name, as_of)
    return result


def _write_new_rows(name: str, source: Source, accepted: Path, raw: Path, downloads: Path, key: bytes | None) -> int:
    """Write the rows of `source` that became known after those in `accepted` to the file `raw`; return their number."""
    try:
        with open_duckdb() as connection:
            newest = connection.execute(
                "SELECT max(greatest(event_timestamp, created_timestamp)) FROM "
                f"read_parquet({literal(accepted_glob(accepted, name))})"
            ).fetchone()
            query = with_pseudonyms(connection, source, read_source(connection, name, source, downloads), key)
            found = {row[0]: str(row[1]) for row in connection.execute(f"DESCRIBE {query}").fetchall()}
            since = newest[0].isoformat() if newest and newest[0] else "-infinity"
            until = source.observed_until.isoformat()
            new = f"""SELECT * EXCLUDE (created_timestamp)
                FROM (SELECT *, {known_time(source, found)} AS created_timestamp FROM ({query}) AS raw)
                WHERE created_timestamp > TIMESTAMPTZ {literal(since)} AND created_timestamp <= TIMESTAMPTZ {literal(until)}"""
            return write_table(connection, f"SELECT row_number() OVER () AS source_row, * FROM ({new})", raw)
    except duckdb.Error as error:
        raise SourceError(f"ingest.{name}: the source cannot be read: {without_rows(error)}") from None
    finally:
        shutil.rmtree(scratch_folder(downloads), ignore_errors=True)


def _refuse_too_many(name: str, result: Validated, rules: QualityRules, rejected: Path) -> None:
    rows, limit = result.accepted + result.rejected, rules.max_rejected
    faulty = result.rejected + result.mended
    if faulty > rows * limit + _TOLERATED * math.sqrt(rows * limit * (1 - limit)) + 1:
        raise QualityError(
            f"validate.{name}: {faulty:,} of {rows:,} new rows were rejected or mended, more than max_rejected "
            f"({limit:.2%}) allows even by chance; none was taken in, all of the rejected are in {rejected}: correct the "
            "source or the rules, and catch up again"
        )


def _add(rules: QualityRules, fresh: Path, accepted: Path, as_of: datetime) -> None:
    """Add the rows in the folder `fresh` to those in `accepted`, but for those that are there already."""
    new = f"SELECT * FROM read_parquet({literal(files_of(fresh))}) AS new"
    if rules.unique:
        same = " AND ".join(
            f"known.{column} IS NOT DISTINCT FROM new.{column}" for column in map(identifier, rules.unique)
        )
        new += f" ANTI JOIN read_parquet({literal(files_of(accepted))}) AS known ON {same}"
    with open_duckdb() as connection:
        _write_beside(connection, accepted, f"known-{_stamp(as_of)}", new)


def _write_beside(connection: duckdb.DuckDBPyConnection, folder: Path, name: str, query: str) -> None:
    """Write the rows of `query`, if there are any, as another file of the table in `folder`, whole or not at all."""
    partial = unfinished(folder / name)
    if write_table(connection, query, partial):
        partial.replace(folder / f"{name}.parquet")
    partial.unlink(missing_ok=True)


def _keep(features: Path, rows: pa.Table, as_of: datetime) -> None:
    with open_duckdb() as connection:
        connection.register("snapshots", rows)
        _write_beside(connection, features, f"as-of-{_stamp(as_of)}", "FROM snapshots")
