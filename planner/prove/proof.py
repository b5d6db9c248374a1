"""Prove that no feature looks ahead: change all rows that were not knowable at an instant, build again, and compare.

All rows that happened or became known after an instant are removed or filled with random values, and so are cells that were
filled in later (`planner.prove.later_times`). Then no feature of a snapshot at or before the instant may change. A feature that
changes reads the future, or other instants of the same run. The proof needs no model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from core.errors import PlanError
from core.files import require
from core.terminal import terminal_table
from feature_repo.files.datasets import accepted_glob, snapshot_glob
from feature_repo.files.duck import identifier, instant, literal, open_duckdb
from feature_repo.views.snapshots import build_views
from planner.prove.changed_rows import Changeable, write_changed_rows
from planner.prove.later_times import later_times

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import duckdb
    from rich.console import RenderableType

    from core.plan.plan import Plan


#: Relative difference up to which floating-point sums of the same rows in another order are equal.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Leak:
    """A feature that has changed in snapshots at or before `as_of`.

    Attributes
    ----------
    feature : the view and the feature; only the view if its snapshots have other entities.
    changed, compared : the numbers of values.
    example : key, instant, and both values of the first difference.

    """

    feature: str
    as_of: datetime
    changed: int
    compared: int
    example: str


@dataclass(frozen=True)
class InstantProof:
    """What was changed and compared for an instant."""

    as_of: datetime
    rows_changed: int
    values_compared: int


@dataclass(frozen=True)
class Proof:
    """The result for all instants."""

    instants: tuple[InstantProof, ...]
    leaks: tuple[Leak, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""
        instants, leaks = (
            [{**asdict(each), "as_of": each.as_of.isoformat()} for each in several]
            for several in (self.instants, self.leaks)
        )
        return {"proved": not self.leaks, "instants": instants, "leaks": leaks}

    def table(self) -> RenderableType:
        """Return a terminal table of the instants, and one of the leaks if there are any."""
        from rich.console import Group

        numbers = ("rows changed", "values compared", "of them different")
        instants = terminal_table("as of", *numbers, numbers=numbers, title="no look-ahead")
        for each in self.instants:
            different = sum(leak.changed for leak in self.leaks if leak.as_of == each.as_of)
            counts = (each.rows_changed, each.values_compared, different)
            instants.add_row(f"{each.as_of:%Y-%m-%d %H:%M}", *(f"{number:,}" for number in counts))
        if not self.leaks:
            return instants
        leaks = terminal_table(
            "feature", "as of", "values that changed", "for example", title="features that look ahead"
        )
        for leak in self.leaks:
            counted = f"{leak.changed:,} of {leak.compared:,}"
            leaks.add_row(leak.feature, f"{leak.as_of:%Y-%m-%d %H:%M}", counted, leak.example)
        return Group(instants, leaks)


def prove(plan: Plan, accepted: Path, instants: int = 3, seed: int = 0) -> Proof:
    """Return the proof: the features that change when rows that were not knowable are changed.

    Parameters
    ----------
    accepted : folder of the accepted rows.
    instants : the number of instants, spread over those of the snapshots.
    seed : the seed of the random changes.

    Raises
    ------
    PlanError
        If the plan has no times, or a feature's SQL fails.

    """
    if not plan.has_time:
        raise PlanError(
            "the plan has no times: the rows of its sources hold at any time, so there is no later row to change; a column "
            "that was filled in after the outcome can be seen in `data/leakage.json` only"
        )
    for name in plan.ingest:
        require(accepted / name, "validate")
    sources = _changeable(plan, accepted)
    with TemporaryDirectory(dir=accepted.parent) as scratch:
        before = _built(plan, accepted, Path(scratch, "before"))
        proofs, leaks = [], []
        for number, as_of in enumerate(_instants(plan, before, instants)):
            changed, after = Path(scratch, f"rows-{number}"), Path(scratch, f"after-{number}")
            changed.mkdir()
            rng = np.random.default_rng([seed, number])
            rows = write_changed_rows(accepted, sources, as_of, changed, rng)
            _built(plan, changed, after)
            compared, found = _compare(plan, before, after, as_of)
            proofs.append(InstantProof(as_of, rows, compared))
            leaks += found
        return Proof(tuple(proofs), tuple(leaks))


def _changeable(plan: Plan, accepted: Path) -> dict[str, Changeable]:
    """Return what may change in each source."""
    with open_duckdb() as connection:
        return {
            name: Changeable(
                plan.entities[source.entity].key,
                source.event_time is not None,
                later_times(connection, plan, name, accepted_glob(accepted, name)),
            )
            for name, source in plan.ingest.items()
        }


def _built(plan: Plan, accepted: Path, folder: Path) -> Path:
    """Write all views, built from the rows in `accepted`, to `folder`; return `folder`."""
    folder.mkdir()
    for _ in build_views(plan, accepted, folder):
        pass
    return folder


def _instants(plan: Plan, features: Path, number: int) -> list[datetime]:
    """Return at most `number` instants of the snapshots, including the first and the last."""
    files = ", ".join(literal(snapshot_glob(features, name)) for name in plan.build_features.views)
    with open_duckdb() as connection:
        query = f"SELECT DISTINCT event_timestamp FROM read_parquet([{files}], union_by_name = true) ORDER BY 1"
        found = [row[0] for row in connection.execute(query).fetchall()]
    places = sorted({round(place) for place in np.linspace(0, len(found) - 1, min(number, len(found)))})
    return [found[place] for place in places]


def _compare(plan: Plan, before: Path, after: Path, as_of: datetime) -> tuple[int, list[Leak]]:
    """Return the number of compared values, and the features with values at or before `as_of` that changed."""
    compared = 0
    leaks: list[Leak] = []
    with open_duckdb() as connection:
        for name, view in plan.build_features.views.items():
            key, features = plan.entity_of(view).key, list(view.features)
            rows = _open_both(connection, key, before, after, name, as_of)
            compared += rows * len(features)
            leaks += _leaks(connection, name, key, features, as_of, rows)
    return compared, leaks


def _open_both(
    connection: duckdb.DuckDBPyConnection, key: str, before: Path, after: Path, view: str, as_of: datetime
) -> int:
    """Create the view `pairs` of the snapshots up to `as_of` before and after the change; return their number."""
    sides = [
        f"(SELECT *, true AS _there FROM read_parquet({literal(snapshot_glob(folder, view))}) "
        f"WHERE event_timestamp <= {instant(as_of)})"
        for folder in (before, after)
    ]
    connection.execute(
        f"""CREATE OR REPLACE TEMP VIEW pairs AS SELECT one, other, coalesce(one, other) AS either
            FROM {sides[0]} AS one FULL JOIN {sides[1]} AS other
                ON one.{identifier(key)} = other.{identifier(key)} AND one.event_timestamp = other.event_timestamp"""
    )
    return int(connection.execute("SELECT count(*) FROM pairs").fetchall()[0][0])


def _leaks(
    connection: duckdb.DuckDBPyConnection, view: str, key: str, features: Sequence[str], as_of: datetime, rows: int
) -> Iterator[Leak]:
    """Yield a leak for each feature whose values differ, and one for the view if it has other entities."""
    for label, column in [*((f"{view}.{name}", name) for name in features), (view, "_there")]:
        one, other = (f"{side}.{identifier(column)}" for side in ("one", "other"))
        present = "true" if column == "_there" else "one IS NOT NULL AND other IS NOT NULL"
        near = f"abs(TRY_CAST({one} AS DOUBLE) - TRY_CAST({other} AS DOUBLE)) <= {_TOLERANCE} * abs(TRY_CAST({one} AS DOUBLE))"
        is_near = f"coalesce(typeof({one}) IN ('DOUBLE', 'FLOAT') AND {near}, false)"
        differing = f"FROM pairs WHERE {present} AND {one} IS DISTINCT FROM {other} AND NOT {is_near}"
        (changed,) = connection.execute(f"SELECT count(*) {differing}").fetchall()[0]
        if changed:
            example = connection.execute(
                f"""SELECT either.{identifier(key)}, either.event_timestamp, {one}, {other} {differing}
                    ORDER BY 2, 1 LIMIT 1"""
            ).fetchall()[0]
            yield Leak(label, as_of, changed, rows, _example(key, *example))


def _example(key: str, entity: object, at: datetime, one: object, other: object) -> str:
    return f"{key} {entity} at {at:%Y-%m-%d %H:%M}: {one} before, {other} after"
