"""Snapshots on disk: which entities have one at which instant, and what is read for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import PlanError
from core.plan.plan import Entity, View
from core.plan.times import Period
from feature_repo.files.datasets import BUCKETS, bucket_file
from feature_repo.views.snapshots import build_bucket
from tests.feature_repo.accepted_rows import write_accepted

if TYPE_CHECKING:
    from pathlib import Path

TIMES = pa.timestamp("us", tz="UTC")
MEMBER = Entity(key="member", dtype="int64", source="joins", until="leaves")


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


PERIOD = Period(start=day(2), end=day(4))
#: (member, day, day it became known, amount) by source
ROWS = {
    "joins": [(1, 1, 1, 0.0), (2, 1, 3, 0.0), (3, 1, 1, 0.0), (4, 5, 5, 0.0)],
    "leaves": [(3, 2, 3, 0.0), (2, 4, 5, 0.0)],
    "visits": [(1, 1, 1, 0.1), (1, 2, 2, 0.2), (1, 3, 3, 0.3), (3, 2, 2, 5.0)],
}


def view(sql: str = "sum(amount)") -> View:
    return View.model_validate(
        {
            "source": "visits",
            "ttl": "3d",
            "every": "1 day",
            "features": {"fact": {"sql": sql, "window": "2d", "dtype": "float64", "unit": "x"}},
        }
    )


@pytest.fixture
def accepted(tmp_path: Path) -> Path:
    for source, rows in ROWS.items():
        members, happened, known, amounts = zip(*rows, strict=True)
        table = pa.table(
            {
                "member": pa.array(members, pa.int64()),
                "event_timestamp": pa.array(map(day, happened), TIMES),
                "created_timestamp": pa.array(map(day, known), TIMES),
                "amount": amounts,
                "remark": ["-"] * len(rows),
            }
        )
        write_accepted(tmp_path / "accepted", source, "member", table)
    return tmp_path / "accepted"


def built(accepted: Path, found: View) -> list[dict[str, Any]]:
    folder = accepted.parent / "features" / "attendance"
    files = [bucket_file(folder.parent, folder.name, bucket) for bucket in range(BUCKETS)]
    written = sum(build_bucket(found, MEMBER, PERIOD, accepted, bucket, file) for bucket, file in enumerate(files))
    files = sorted(folder.iterdir())
    assert len(files) == BUCKETS
    table = pa.concat_tables(pq.read_table(file) for file in files)
    assert written == len(table)
    rows: list[dict[str, Any]] = table.sort_by([("event_timestamp", "ascending"), ("member", "ascending")]).to_pylist()
    return rows


def test_an_entity_has_snapshots_from_when_it_is_known_until_its_end_is_known(accepted: Path) -> None:
    found = [(row["event_timestamp"].day, row["member"]) for row in built(accepted, view())]
    assert found == [(2, 1), (2, 3), (3, 1), (3, 2), (4, 1), (4, 2)]


def test_snapshots_hold_the_facts_of_each_instant(accepted: Path) -> None:
    found = {(row["event_timestamp"].day, row["member"]): row["fact"] for row in built(accepted, view())}
    assert found == {(2, 1): 0.1 + 0.2, (2, 3): 5.0, (3, 1): 0.2 + 0.3, (3, 2): None, (4, 1): 0.3, (4, 2): None}


def test_a_source_that_no_feature_reads_changes_nothing(accepted: Path) -> None:
    features = {name: feature.model_copy(update={"source": "visits"}) for name, feature in view().features.items()}
    other = view().model_copy(update={"source": "joins", "features": features})
    assert built(accepted, other) == built(accepted, view())


def test_the_same_rows_give_the_same_bytes(accepted: Path) -> None:
    def content() -> list[bytes]:
        built(accepted, view())
        return [file.read_bytes() for file in sorted((accepted.parent / "features" / "attendance").iterdir())]

    assert content() == content()


def test_a_feature_that_fails_is_named_from_whichever_thread(accepted: Path) -> None:
    with pytest.raises(PlanError, match=r"the feature 'fact' over 'visits' has an SQL that fails.*amuont"):
        built(accepted, view("sum(amuont)"))


def test_snapshots_of_hours_hold_what_those_of_days_do_and_more(accepted: Path) -> None:
    daily = built(accepted, view())
    by_join = built(accepted, view().model_copy(update={"every": "1 hour"}))
    assert len(by_join) == 49 + 24 + 25  # member 1 always, 3 until its end is known on day 3, 2 from then on
    assert [row for row in by_join if row["event_timestamp"].hour == 0] == daily


def test_snapshots_of_rows_are_as_of_when_each_became_known(accepted: Path) -> None:
    found = built(accepted, view().model_copy(update={"every": "row"}))
    assert [(row["event_timestamp"].day, row["member"], row["fact"]) for row in found] == [
        (2, 1, 0.1 + 0.2),
        (2, 3, 5.0),
        (3, 1, 0.2 + 0.3),
    ]
