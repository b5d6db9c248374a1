"""Views of a second entity: what belongs to it, as it stood when each row became known, on rows that are counted by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import PlanError
from core.plan.file import parse_plan
from feature_repo.files.datasets import BUCKETS, bucket_file, bucket_of
from feature_repo.files.duck import open_duckdb
from feature_repo.views.definitions import declared_definition, declared_table
from feature_repo.views.linked_rows import linked_by
from feature_repo.views.look_ahead import look_ahead
from feature_repo.views.rows import compute_view
from feature_repo.views.snapshots import build_views
from feature_repo.views.sources import open_view
from tests.feature_repo.accepted_rows import write_accepted
from tests.feature_repo.views.clubs import CLUBS, TEXT, accept, clubs_plan, day

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan

PLAN = clubs_plan()


@pytest.fixture
def accepted(tmp_path: Path) -> Path:
    return accept(tmp_path)


def built(plan: Plan, accepted: Path) -> dict[tuple[int, Any], tuple[Any, ...]]:
    """Build all views and give the rows of the clubs by day and name."""
    folder = accepted.parent / "features"
    folder.mkdir(exist_ok=True)
    counts = dict(build_views(plan, accepted, folder))
    rows = pq.read_table(folder / "club").to_pylist()
    assert counts["club"] == len(rows)
    assert {path.name for path in folder.iterdir()} == {"club", "membership"}
    return {(row["event_timestamp"].day, row["club_name"]): tuple(list(row.values())[3:]) for row in rows}


def test_rows_belong_where_the_link_said_when_they_became_known(accepted: Path) -> None:
    assert built(PLAN, accepted) == {key: pytest.approx(values) for key, values in CLUBS.items()}


def test_the_rows_of_a_linked_entity_lie_in_the_buckets_of_its_own_key(accepted: Path) -> None:
    built(PLAN, accepted)
    with open_duckdb() as connection:
        for name in ("red", "blue"):
            connection.register("names", pa.table({"club_name": [name]}))
            ((bucket,),) = connection.execute(f"SELECT {bucket_of('club_name')} FROM names").fetchall()
            found = {
                number
                for number in range(BUCKETS)
                if name
                in pq.read_table(bucket_file(accepted.parent / "features", "club", number))["club_name"].to_pylist()
            }
            assert found == {bucket}


def test_one_instant_and_scattered_pairs_give_the_same_values(accepted: Path) -> None:
    view = PLAN.build_features.views["club"]
    entity = PLAN.entity_of(view)
    times = pa.table({"as_of": [day(number) for number, _ in CLUBS]})
    with open_duckdb() as connection:
        connection.register("times", times)
        asked = "(SELECT DISTINCT as_of FROM times)"
        rows = open_view(connection, view, entity, linked_by(PLAN, view), accepted, asked)
        found = compute_view(connection, view, entity.key, rows, "grid").to_pylist()
    values = {(row["event_timestamp"].day, row["club_name"]): tuple(list(row.values())[3:]) for row in found}
    assert values == {key: pytest.approx(value) for key, value in CLUBS.items()}


def test_a_linked_entity_with_a_source_of_its_own_exists_by_that(accepted: Path) -> None:
    text = TEXT.replace("of: membership.club}", "of: membership.club, source: openings, until: closings}")
    of_clubs = "entity: club, event_time: *time, created_time: *known, observed_until: *cut"
    columns = "columns: {club_name: *club, day: *day, told: *told}"
    opened = "".join(
        f"  {source}: {{reader: {{kind: csv, path: x.csv}}, {of_clubs}, {columns}}}\n"
        for source in ("openings", "closings")
    )
    for source, number in (("openings", 6), ("closings", 11)):
        times = [day(number)]
        rows = {"club_name": ["red"], "event_timestamp": times, "created_timestamp": times, "source_row": [1]}
        write_accepted(accepted, source, "club_name", pa.table(rows))
    plan = parse_plan(text.replace("label:", f"{opened}label:", 1))
    assert list(built(plan, accepted)) == [(6, "red"), (8, "red"), (10, "red")]


def test_without_a_source_of_its_own_it_exists_from_the_first_row_of_the_views_source(accepted: Path) -> None:
    """The first member of red is known on the 1st, and of blue on the 3rd; the visits are the same."""
    text = TEXT.replace("source: visits\n      entity: club", "source: moves\n      entity: club")
    text = text.replace("minutes: {sql:", "minutes: {source: visits, sql:").replace(
        "4d: {sql:", "4d: {source: visits, sql:"
    )
    found = built(parse_plan(text), accepted)
    early = {(number, "blue"): (None, 0, 0.0, None) for number in (4,)}
    early |= {(number, "blue"): (None, 0, 4.0, None) for number in (6, 8, 10)}
    assert found == {key: pytest.approx(values) for key, values in (CLUBS | early).items()}


def test_a_link_over_features_is_computed_with_those_that_it_rests_on(accepted: Path) -> None:
    text = TEXT.replace("of: membership.club}", "of: membership.club_now}").replace(
        "meaning: club now}\n",
        'meaning: club now}\n        club_now: {over: features, sql: "lower(club)", dtype: string, meaning: club now}\n',
    )
    assert built(parse_plan(text), accepted) == {key: pytest.approx(values) for key, values in CLUBS.items()}


def test_a_link_whose_sql_fails_is_told_with_its_view_and_feature(accepted: Path) -> None:
    text = TEXT.replace("arg_max(club, event_time)", "arg_max(clubb, event_time)")
    with pytest.raises(
        PlanError, match=r"build_features\.views\.club: the feature 'club' over 'moves' has an SQL that fails"
    ):
        built(parse_plan(text), accepted)


def test_a_sound_linked_view_does_not_look_ahead_and_another_is_found(accepted: Path) -> None:
    view = PLAN.build_features.views["club"]
    linked, entity = linked_by(PLAN, view), PLAN.entity_of(view)
    assert list(look_ahead(accepted, view, entity, linked, day(11))) == []
    ahead = view.features["minutes"].model_copy(update={"sql": "(SELECT sum(minutes) FROM rows_of_visits)"})
    unsound = view.model_copy(update={"features": {**view.features, "minutes": ahead}})
    found = {feature for feature, _ in look_ahead(accepted, unsound, entity, linked, day(11))}
    assert found == {"minutes", "paid_a_minute"}


def test_a_view_of_another_link_is_another_version(accepted: Path) -> None:
    del accepted
    other = parse_plan(TEXT.replace("arg_max(club, event_time)", "arg_min(club, event_time)"))
    assert declared_definition(other, "club") != declared_definition(PLAN, "club")
    assert declared_table(other, "club").name != declared_table(PLAN, "club").name
    counted = parse_plan(
        TEXT.replace("sql: count(*), dtype: int64, meaning: clubs so far", "sql: count(club), dtype: int64, meaning: x")
    )
    assert declared_table(counted, "membership").name != declared_table(PLAN, "membership").name
