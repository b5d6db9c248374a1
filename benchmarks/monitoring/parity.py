"""Planted defects of each class, and a log without any: what the parity check says of them; the last line is one JSON object.

Run it as `make bench-parity`. Features are computed by the views' real SQL: the served values come from the snapshots, and the
check recomputes them from the accepted rows.

- `values_compared`, `values_differing`: of the log without a defect.
- `planted`: by class, how many predictions with a planted defect there are, and how many were classified right: all of their
  differing values have the expected cause, and at least one differs.
- `values_per_second`: values recomputed, compared and classified in a second of one processor.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.contracts import ContractFeature
from core.plan.plan import Entity, View
from core.plan.times import Period
from feature_repo.files.datasets import bucket_file, write_table
from feature_repo.files.duck import open_duckdb
from feature_repo.views.snapshots import build_bucket
from monitoring.logged_predictions import LoggedPrediction
from monitoring.offline_values import Pushes, Watermarks, recompute
from monitoring.parity import CauseGroup, check_parity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitoring.parity import ParityResult

MARCH, APRIL = datetime(1998, 3, 1, tzinfo=UTC), datetime(1998, 4, 1, tzinfo=UTC)
_BEGIN, REQUEST = datetime(1998, 1, 1, tzinfo=UTC), APRIL + timedelta(days=3)
CUSTOMER = Entity(key="customer_id", dtype="int64", source="purchases")
SPENDING = View.model_validate(
    {
        "source": "purchases",
        "ttl": "40d",
        "every": "1 month",
        "features": {
            "orders": {"sql": "count(*)", "dtype": "int64", "meaning": "purchases"},
            "spend": {"sql": "sum(amount)", "dtype": "float64", "unit": "USD"},
            "recent": {"sql": "sum(amount)", "window": "10d", "dtype": "float32", "unit": "USD"},
            "channel": {"sql": "max_by(channel, event_time)", "dtype": "string", "meaning": "last channel"},
            "member": {"sql": "bool_or(amount > 15)", "dtype": "bool", "meaning": "bought for more than 15"},
            "last": {"sql": "max(event_time)", "dtype": "timestamp", "meaning": "last purchase"},
        },
    }
)
FEATURES = [ContractFeature("spending", name, feature.dtype) for name, feature in SPENDING.features.items()]
_WRONG: dict[str, Callable[[Any], Any]] = {
    "orders": lambda value: value + 1,
    "spend": lambda value: value * 1.0001,
    "recent": lambda value: 0.0 if value is None else None,
    "channel": lambda value: f"{value}s",
    "member": lambda value: not value,
    "last": lambda _: REQUEST.isoformat(),
}
_OF_ANOTHER_TYPE: dict[str, Any] = {
    "orders": "2",
    "spend": "30.3",
    "recent": "1",
    "channel": 4,
    "member": 1,
    "last": "yesterday",
}


def purchases(customers: int, seed: int) -> pa.Table:
    """Return four purchases of each customer from January to March; those of every tenth customer are all in March."""
    rng = np.random.default_rng(seed)
    entity = np.repeat(np.arange(1, customers + 1), 4)
    span = (APRIL - _BEGIN).total_seconds()
    late = (MARCH - _BEGIN).total_seconds()
    seconds = np.where(entity % 10 == 0, rng.uniform(late, span, len(entity)), rng.uniform(0, span, len(entity)))
    # The first purchase of the others is in January.
    seconds[::4] = np.where(entity[::4] % 10 == 0, seconds[::4], rng.uniform(0, late / 2, customers))
    micros = np.datetime64(_BEGIN.replace(tzinfo=None), "us") + (seconds * 1e6).astype("timedelta64[us]")
    times = pa.array(micros, pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    return pa.table(
        {
            "customer_id": entity,
            "amount": np.round(rng.gamma(2.0, 10.0, len(entity)), 2),
            "channel": rng.choice(["web", "shop", "phone"], len(entity)),
            "event_timestamp": times,
            "created_timestamp": times,
        }
    )


def write_accepted(accepted: Path, rows: pa.Table) -> None:
    """Write accepted purchases."""
    with open_duckdb() as connection:
        connection.register("accepted_rows", rows)
        write_table(connection, "FROM accepted_rows", bucket_file(accepted, "purchases", 0))


def write_snapshots(accepted: Path, features: Path) -> Path:
    """Write the snapshots of March and April; return their file."""
    snapshots = bucket_file(features, "spending", 0)
    snapshots.parent.mkdir(parents=True, exist_ok=True)
    build_bucket(SPENDING, CUSTOMER, Period(start=MARCH, end=APRIL), accepted, 0, snapshots)
    return snapshots


class ParityWorld:
    """Accepted purchases, the snapshots of two months, and what the service would log of them."""

    def __init__(self, folder: Path, customers: int, seed: int = 1) -> None:
        self._accepted, self._features = folder / "accepted", folder / "features"
        self.rows = purchases(customers, seed)
        self.accept(self.rows)
        self.snapshots = bucket_file(self._features, "spending", 0)
        self.build()

    def accept(self, rows: pa.Table) -> None:
        """Write the accepted rows."""
        write_accepted(self._accepted, rows)

    def build(self) -> None:
        """Write the snapshots."""
        write_snapshots(self._accepted, self._features)

    def served(self) -> list[LoggedPrediction]:
        """Return a prediction for each customer, with the values of the snapshot of April as the log has them."""
        query = f"FROM '{self.snapshots}' WHERE event_timestamp = '{APRIL.isoformat()}' ORDER BY customer_id"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            rows = connection.sql(query).to_arrow_table().to_pylist()
        return [_logged(row["customer_id"], {name: row[name] for name in SPENDING.features}) for row in rows]

    def check(
        self,
        predictions: Sequence[LoggedPrediction],
        scores: Sequence[float] | None = None,
        watermarks: Watermarks | None = None,
        pushes: Pushes | None = None,
        kept: Sequence[Path] = (),
    ) -> list[ParityResult]:
        """Return the result of each prediction."""
        offline = recompute(
            "spending",
            SPENDING,
            CUSTOMER,
            predictions,
            watermarks or _online(APRIL),
            accepted=self._accepted,
            features=self._features,
            kept=kept,
            pushes=pushes,
        )
        rescored = scores or [each.score for each in predictions]
        return [
            check_parity("r1", [logged], FEATURES, {"spending": [row]}, [score], stale_is_missing=False)
            for logged, row, score in zip(predictions, offline, rescored, strict=True)
        ]


def _online(as_of: datetime) -> Watermarks:
    """Return the materialization of the snapshots up to `as_of`, which finished an hour later."""
    return Watermarks((as_of + timedelta(hours=1),), (as_of,))


def _logged(customer: int, values: dict[str, Any]) -> LoggedPrediction:
    """Return a prediction as it is read from the log: through JSON."""
    features = json.loads(json.dumps({f"spending__{name}": value for name, value in values.items()}, default=str))
    times = {"spending": APRIL.isoformat()}
    identity = (UUID(int=customer), str(customer), REQUEST, REQUEST)
    return LoggedPrediction(*identity, 0.5, features, times, {"spending": "FRESH"})


def _with(logged: LoggedPrediction, name: str, value: Any) -> LoggedPrediction:
    return replace(logged, features={**logged.features, f"spending__{name}": value})


def _without_row(logged: LoggedPrediction, as_of: datetime = REQUEST) -> LoggedPrediction:
    """Return the prediction of a request that read no row of the view."""
    features = dict.fromkeys(logged.features)
    return replace(
        logged, as_of=as_of, features=features, event_times={"spending": None}, statuses={"spending": "MISSING"}
    )


@dataclass(frozen=True)
class Planted:
    """The number of predictions with a planted defect of a class, and of those that were classified right."""

    planted: int
    right: int


def _right(results: Sequence[ParityResult], cause: CauseGroup) -> Planted:
    return Planted(len(results), sum(set(result.mismatches) == {cause} for result in results))


def altered_values(world: ParityWorld, rows: Sequence[LoggedPrediction]) -> Planted:
    """Alter one value of each row, each feature in turn: serving computed something else."""
    names = [list(_WRONG)[number % len(_WRONG)] for number in range(len(rows))]
    wrong = [
        _with(row, name, _WRONG[name](row.features[f"spending__{name}"])) for row, name in zip(rows, names, strict=True)
    ]
    return _right(world.check(wrong), CauseGroup.TRANSFORMATION)


def lost_rows(world: ParityWorld, rows: Sequence[LoggedPrediction]) -> Planted:
    """Serve rows as missing that were online."""
    return _right(world.check([_without_row(row) for row in rows]), CauseGroup.TRANSFORMATION)


def other_types(world: ParityWorld, rows: Sequence[LoggedPrediction]) -> Planted:
    """Log one value of each row as another type."""
    names = [list(_OF_ANOTHER_TYPE)[number % len(_OF_ANOTHER_TYPE)] for number in range(len(rows))]
    wrong = [_with(row, name, _OF_ANOTHER_TYPE[name]) for row, name in zip(rows, names, strict=True)]
    return _right(world.check(wrong), CauseGroup.TYPE)


def pushed_rows(world: ParityWorld, rows: Sequence[LoggedPrediction]) -> Planted:
    """Serve rows whose values had been pushed."""
    pushes = Pushes({row.entity: [(APRIL, REQUEST - timedelta(hours=1))] for row in rows})
    return _right(world.check([_with(row, "orders", 77) for row in rows], pushes=pushes), CauseGroup.PUSHED)


def replayed_requests(world: ParityWorld, rows: Sequence[LoggedPrediction]) -> Planted:
    """Ask as of March, when the store held the rows of April already."""
    asked = [_without_row(row, MARCH + timedelta(days=9)) for row in rows]
    return _right(world.check(asked), CauseGroup.REPLAYED)


def late_rows(world: ParityWorld, rows: Sequence[LoggedPrediction]) -> Planted:
    """Ask before the run that brought the rows of April online."""
    asked = [_without_row(row, APRIL - timedelta(hours=1)) for row in rows]
    asked = [replace(row, logged_at=APRIL - timedelta(minutes=30)) for row in asked]
    return _right(world.check(asked, watermarks=_online(MARCH)), CauseGroup.LATE_OR_RESTATED)


def restated_sources(world: ParityWorld, rows: Sequence[LoggedPrediction]) -> Planted:
    """Restate the purchases after the snapshots were served."""
    world.accept(_restated(world.rows))
    results = world.check(rows)
    world.accept(world.rows)
    return _right(results, CauseGroup.LATE_OR_RESTATED)


def restated_and_built_again(world: ParityWorld, rows: Sequence[LoggedPrediction]) -> Planted:
    """Restate the purchases and build again; the snapshots that were online are kept."""
    kept = world.snapshots.parent.parent / "online.parquet"
    pq.write_table(pq.read_table(world.snapshots), kept)
    world.accept(_restated(world.rows))
    world.build()
    results = world.check(rows, kept=[kept])
    world.accept(world.rows)
    world.build()
    return _right(results, CauseGroup.LATE_OR_RESTATED)


def _restated(rows: pa.Table) -> pa.Table:
    amounts = rows.column("amount").to_numpy() + 1.0
    return rows.set_column(rows.schema.get_field_index("amount"), "amount", pa.array(amounts))


def other_scores(world: ParityWorld, rows: Sequence[LoggedPrediction]) -> Planted:
    """Log scores that the vectors do not have."""
    results = world.check(rows, scores=[row.score + 1e-6 for row in rows])
    return Planted(len(rows), sum(result.score_mismatches == 1 and not result.mismatches for result in results))


#: By name, what plants a class of defects in rows and classifies them. Rows are those of customers known since January,
#: but for `late_rows`, whose customers came in March.
CLASSES: dict[str, Callable[[ParityWorld, Sequence[LoggedPrediction]], Planted]] = {
    "transformation": altered_values,
    "transformation_lost_row": lost_rows,
    "type": other_types,
    "pushed": pushed_rows,
    "replayed": replayed_requests,
    "late": late_rows,
    "restated": restated_sources,
    "restated_and_built_again": restated_and_built_again,
    "score": other_scores,
}


def plant(world: ParityWorld, number: int, seed: int = 2) -> dict[str, Planted]:
    """Plant `number` defects of each class in random rows; return what became of them."""
    rng = np.random.default_rng(seed)
    rows = world.served()
    kinds = {name: [row for row in rows if (int(row.entity) % 10 == 0) == (name == "late")] for name in CLASSES}
    return {
        name: classify(world, [kinds[name][index] for index in rng.choice(len(kinds[name]), number, replace=False)])
        for name, classify in CLASSES.items()
    }


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--planted", type=int, default=100, help="defects of each class")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="panthera-parity-") as folder:
        world = ParityWorld(Path(folder), arguments.customers)
        rows = world.served()
        began = time.process_time()
        results = world.check(rows)
        seconds = time.process_time() - began
        compared = sum(result.values_compared for result in results)
        planted = plant(world, arguments.planted)
    print(
        json.dumps(
            {
                "values_compared": compared,
                "values_differing": sum(sum(result.mismatches.values()) for result in results),
                "values_per_second": round(compared / seconds),
                "planted": {name: [each.planted, each.right] for name, each in planted.items()},
                "planted_right": sum(each.right for each in planted.values()),
                "planted_total": sum(each.planted for each in planted.values()),
            }
        )
    )


if __name__ == "__main__":
    main()
