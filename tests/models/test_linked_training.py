"""Training rows with what is known of a second entity: the link as of the row's instant, then what it names as of the same."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from core.contracts import ContractFeature, Freshness
from core.plan.training_set import TemporalSplit
from core.postgres.database import connect
from feature_repo.materialize import materialize
from feature_repo.online.handle import HandleLink, HandleView, OnlineHandle
from feature_repo.online.history import watermark
from feature_repo.online.tables import create
from feature_repo.stores.definitions import define
from feature_repo.upkeep.diff import diff_view
from feature_repo.views.definitions import declared_table
from feature_repo.views.snapshots import build_views
from models.data.attributes import join_features
from models.training_set import training_set
from tests.feature_repo.stores.feast_shop import opened_store
from tests.feature_repo.views.clubs import CLUBS, accept, clubs_plan, day

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import feast

PLAN = clubs_plan()
NAMES = tuple(PLAN.build_features.views["club"].features)
#: Member, instant, the club that the link names then; None where there is none.
ASKED = [
    (1, 6, "red"),
    (1, 9.5, "red"),  # the move of the 10th lies ahead
    (1, 12, "blue"),
    (1, 13, "blue"),
    (1, 18, "blue"),  # the last snapshot, of the 14th, is just within its 4 days
    (1, 18.5, None),  # and now it is not
    (2, 3, None),  # its club becomes known on the 4th
    (2, 4, "red"),
    (3, 8, "blue"),  # nothing is known of blue before the 11th
    (4, 12, None),  # a member of no club
    (9, 12, None),  # nobody
]


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder = tmp_path / "features"
    folder.mkdir()
    assert {name for name, _ in build_views(PLAN, accept(tmp_path), folder)} == {"club", "membership"}
    return folder


@pytest.fixture
def store(tmp_path: Path, features: Path, database_url: str) -> Iterator[feast.FeatureStore]:
    with opened_store(tmp_path, database_url) as opened:
        opened.apply(define(PLAN, features).all())
        yield opened


def labelled() -> pa.Table:
    return pa.table(
        {
            "member_id": [member for member, _, _ in ASKED],
            "as_of": pa.array([day(number) for _, number, _ in ASKED], pa.timestamp("us", tz="UTC")),
            "label": [0] * len(ASKED),
        }
    )


def expected(club: str | None, number: float) -> dict[str, Any]:
    """Say what is known of a club as of a day: by the snapshot of the even day by then."""
    values = CLUBS.get((min(int(number) // 2 * 2, 14), club or ""), (None,) * len(NAMES))
    return dict(zip(NAMES, values, strict=True))


def known(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[f"club__{name}"] for name in NAMES}


def test_a_row_has_what_was_known_of_the_club_that_the_link_named_then(store: feast.FeatureStore) -> None:
    split = TemporalSplit.model_validate(
        {"kind": "temporal", "validation_from": "2024-01-04", "test_from": "2024-01-08", "gap": "1d"}
    )
    table = training_set(store, labelled(), "both", split, attributes=["membership.club"])
    assert table.column_names[:4] == ["member_id", "as_of", "label", "split"]
    joined = {"membership__moves", "membership__club", *(f"club__{name}" for name in NAMES)}
    assert set(table.column_names[4:]) == joined  # and not the key by which they were joined
    found = {(row["member_id"], row["as_of"]): row for row in table.to_pylist()}
    asked = {(member, day(number)): (club, number) for member, number, club in ASKED}
    assert found.keys() == asked.keys()
    for key, (club, number) in asked.items():
        assert found[key]["membership__club"] == club
        assert known(found[key]) == pytest.approx(expected(club, number), nan_ok=True), key


def test_features_that_a_service_lacks_are_joined_by_their_link(store: feast.FeatureStore) -> None:
    rows = labelled().take(list(reversed(range(len(ASKED)))))
    joined = join_features(store, rows, "member_id", [ContractFeature("club", name, "") for name in NAMES])
    assert joined.column_names == ["member_id", "as_of", "label", *(f"club__{name}" for name in NAMES)]
    for row, (_, number, club) in zip(joined.to_pylist(), reversed(ASKED), strict=True):
        assert known(row) == pytest.approx(expected(club, number), nan_ok=True)


def test_the_service_reads_what_was_trained_on(store: feast.FeatureStore, features: Path, database_url: str) -> None:
    tables = {name: declared_table(PLAN, name) for name in PLAN.build_features.views}
    with connect(database_url) as connection:
        for table in tables.values():
            create(connection, table)
    assert materialize(database_url, tables, features, day(12)) == {"club": 2, "membership": 4}
    link = PLAN.link_of(PLAN.build_features.views["club"])
    assert link is not None
    handle = OnlineHandle(
        [
            HandleView(
                "club", tables["club"].name, timedelta(days=4), NAMES, HandleLink(link.view, link.feature, link.key)
            ),
            HandleView("membership", tables["membership"].name, timedelta(days=4), ("club",)),
        ],
        "member_id",
        "int64",
    )
    members = [4, 2, 9, 1, 3]
    rows = pa.table({"member_id": members, "as_of": pa.array([day(13)] * len(members), pa.timestamp("us", tz="UTC"))})
    offline = join_features(store, rows, "member_id", [ContractFeature("club", name, "") for name in NAMES]).to_pylist()
    with connect(database_url) as connection:
        reads = handle.read_blocking(connection, members, day(13))
    assert [read["club"].status is Freshness.FRESH for read in reads] == [False, True, False, True, True]
    for read, row in zip(reads, offline, strict=True):
        assert dict(zip(NAMES, read["club"].values, strict=True)) == known(row)


def test_what_is_online_of_clubs_is_compared_with_their_snapshots(features: Path, database_url: str) -> None:
    tables = {name: declared_table(PLAN, name) for name in PLAN.build_features.views}
    with connect(database_url) as connection:
        for table in tables.values():
            create(connection, table)
    materialize(database_url, tables, features, day(12))
    club = tables["club"]
    with connect(database_url) as connection:
        connection.execute(f"UPDATE online.{club.name} SET minutes = 1 WHERE club_name = 'red'")
        mark = watermark(connection, club.name)
    found = diff_view(database_url, "club", club, str(features / "club" / "*.parquet"), mark, day(12), day(12))
    assert (found.entities, found.equal, found.defects, found.features) == (2, 1, 1, {"minutes": 1})
