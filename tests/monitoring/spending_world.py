"""A world of four purchases: accepted rows, their snapshots, and what the service would have logged for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa

from benchmarks.monitoring.parity import APRIL, CUSTOMER, FEATURES, REQUEST, SPENDING, write_accepted, write_snapshots
from monitoring.logged_predictions import LoggedPrediction
from monitoring.offline_values import Pushes, Watermarks, recompute
from monitoring.parity import ParityResult, check_parity

if TYPE_CHECKING:
    from pathlib import Path


PURCHASES: list[tuple[int, float, str, datetime]] = [
    (1, 10.1, "web", datetime(1998, 2, 10, tzinfo=UTC)),
    (1, 20.2, "shop", datetime(1998, 3, 28, tzinfo=UTC)),
    (2, 5.0, "web", datetime(1998, 1, 5, tzinfo=UTC)),
    (3, 7.5, "web", APRIL + timedelta(days=1)),
]


def accept(folder: Path, purchases: list[tuple[int, float, str, datetime]]) -> None:
    """Write accepted rows, each known from its event time on."""
    customers, amounts, channels, times = zip(*purchases, strict=True)
    rows = pa.table(
        {
            "customer_id": pa.array(customers, pa.int64()),
            "amount": amounts,
            "channel": channels,
            "event_timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
            "created_timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
        }
    )
    write_accepted(folder, rows)


class World:
    """Accepted rows and snapshots in a folder, and what the service would log for them."""

    def __init__(self, folder: Path) -> None:
        self.accepted, self.features = folder / "accepted", folder / "features"
        accept(self.accepted, PURCHASES)
        self.build()

    def build(self) -> Path:
        """Write the snapshots; return their file."""
        return write_snapshots(self.accepted, self.features)

    def check(
        self,
        *predictions: LoggedPrediction,
        watermarks: Watermarks | None = None,
        kept: tuple[Path, ...] = (),
        pushes: Pushes | None = None,
    ) -> ParityResult:
        offline = recompute(
            "spending",
            SPENDING,
            CUSTOMER,
            predictions,
            watermarks or Watermarks(),
            accepted=self.accepted,
            features=self.features,
            kept=kept,
            pushes=pushes,
        )
        scores = [logged.score for logged in predictions]
        return check_parity("r1", predictions, FEATURES, {"spending": offline}, scores, stale_is_missing=False)


def served(entity: int, event_time: datetime | None, values: dict[str, Any], status: str = "FRESH") -> LoggedPrediction:
    return LoggedPrediction(
        prediction_id=UUID(int=entity),
        entity=str(entity),
        as_of=REQUEST,
        logged_at=REQUEST,
        score=0.5,
        features={f"spending__{name}": values.get(name) for name in SPENDING.features},
        event_times={"spending": event_time.isoformat() if event_time else None},
        statuses={"spending": status},
    )


def first() -> LoggedPrediction:
    """What customer 1 had on 1 April: two purchases, one of them in the last ten days."""
    return served(
        1,
        APRIL,
        {
            "orders": 2,
            "spend": 10.1 + 20.2,
            "recent": 20.2,
            "channel": "shop",
            "member": True,
            "last": "1998-03-28T00:00:00+00:00",
        },
    )


def second() -> LoggedPrediction:
    """What customer 2 had on 1 April: nothing in the last ten days, so no recent spend."""
    values = {"orders": 1, "spend": 5.0, "channel": "web", "member": False, "last": "1998-01-05T00:00:00Z"}
    return served(2, APRIL, values)


def altered(logged: LoggedPrediction, feature: str, value: Any) -> LoggedPrediction:
    return replace(logged, features={**logged.features, f"spending__{feature}": value})
