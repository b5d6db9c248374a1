"""Columns and times that stand in another table: joined by key, counted where the key is not there, caught up with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow.parquet as pq
import pytest

from core.errors import QualityError, SourceError
from core.plan.text import parse_sections
from feature_repo.catch_up import CatchUpResult, catch_up
from feature_repo.files.datasets import raw_file
from feature_repo.files.duck import fetch, open_duckdb
from feature_repo.ingest import Ingested, ingest_joined
from feature_repo.online.tables import create
from feature_repo.sources.ledger import Ledger
from feature_repo.validate import Validated, accept
from feature_repo.views.definitions import declared_table, view_definition

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan
    from core.settings import Settings

PLAN = """
project: {name: races, problem: binary, statement: "Who wins?"}
entities:
  driver: {key: driver, dtype: string, source: results}
  race: {key: race, dtype: int64, source: races}
  circuit: {key: circuit, dtype: string, source: circuits}
ingest:
  races:
    reader: {kind: csv, path: FOLDER/races.csv}
    entity: race
    event_time: {column: day, format: "%d.%m.%Y", at: end_of_day}
    observed_until: "2024-03-01"
    later_rows: leave_out
    columns: {race: {dtype: int64}, day: {dtype: date}, circuit: {dtype: string}}
  circuits:
    reader: {kind: csv, path: FOLDER/circuits.csv, missing: ["-"]}
    entity: circuit
    columns: {circuit: {dtype: string}, length: {dtype: float64, unit: km}}
  results:
    reader: {kind: csv, path: FOLDER/results.csv}
    entity: driver
    event_time: {through: races.day, key: race}
    observed_until: "2024-03-01"
    later_rows: leave_out
    join:
      races: race
      at: {source: circuits, key: {races_circuit: circuit}}
    columns: {driver: {dtype: string}, race: {dtype: int64}, points: {dtype: float64}}
validate:
  results: {unique: [driver, race], max_rejected: 0.5}
label: {source: results, horizon: 10d, value: count(*) = 0}
build_features:
  snapshots: {start: "2024-01-01", end: "2024-03-01"}
  views:
    form:
      source: results
      ttl: 100d
      every: 1 week
      features:
        races: {sql: count(*), dtype: int64, meaning: races so far}
        longest: {sql: max(at_length), dtype: float64, unit: km}
  services: {everything: [form.*]}
training_set:
  service: everything
  as_of: {start: "2024-01-01", end: "2024-02-19", every: 1 week}
  split: {kind: temporal, validation_from: "2024-01-22", test_from: "2024-02-05", gap: 10d}
train:
  seed: 1
  candidates: {majority: {estimator: majority}, rule: {estimator: single_feature, feature: form.races}}
evaluate: {primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}, baseline: rule}
register: {model: races}
materialize: {as_of: "2024-03-01"}
serve:
  {missing: refuse, stale: refuse, experiment: first, salt: pepper, arms: {champion: 1}, decisions: {above: call, below: wait}}
monitor: {psi_alarm: 0.1, parity_sample: 0.5}
"""
RACES = "race,day,circuit\n1,05.01.2024,spa\n02,12.02.2024,monza\n3,20.02.2024,oval\n"
CIRCUITS = "circuit,length\nspa,7.0\nmonza,5.8\nimola,-\n"
#: The race 1 is written as 01 by one of its results, and 9 is no race yet.
RESULTS = "driver,race,points\nann,01,10\nbob,1,8\nann,2,0\nbob,3,6\nann,9,25\n"


@dataclass
class Season:
    """The plan's three files in a folder, and what the stages make of them."""

    folder: Path
    plan: Plan

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.csv").write_text(text)

    def ingested(self, name: str = "results") -> Ingested:
        return ingest_joined(name, self.plan.ingest, self.data / "raw", self.folder / "downloads")

    def accepted(self, name: str = "results") -> tuple[Validated, list[dict[str, Any]]]:
        """Run the first two stages over a source; return the counts and the accepted rows, in their order."""
        self.ingested(name)
        source = self.plan.ingest[name]
        key, rules = self.plan.entities[source.entity].key, self.plan.validate_.get(name)
        assert rules or name == "races"
        rejected, raw = raw_file(self.data / "rejected", name), raw_file(self.data / "raw", name)
        folder = self.data / "accepted" / name
        counts = accept(
            name, source, key, rules or type(self.plan.validate_["results"])(), Ledger(folder), raw, folder, rejected
        )
        return counts, self.rows(name)

    def rows(self, name: str = "results") -> list[dict[str, Any]]:
        with open_duckdb() as connection:
            files = self.data / "accepted" / name / "*.parquet"
            rows: list[dict[str, Any]] = fetch(
                connection, f"FROM read_parquet('{files}') ORDER BY source_row"
            ).to_pylist()
        return rows


@pytest.fixture
def season(tmp_path: Path) -> Season:
    season = Season(tmp_path, parse_sections(PLAN.replace("FOLDER", str(tmp_path))))
    season.write(races=RACES, circuits=CIRCUITS, results=RESULTS)
    return season


def test_a_row_gets_its_time_and_the_columns_of_its_keys_in_the_order_of_its_source(season: Season) -> None:
    assert season.ingested() == Ingested(5, {"races": 1, "at": 2})
    counts, rows = season.accepted()
    assert (counts.accepted, counts.rejected) == (4, 1)
    found = [(row["driver"], row["race"], row["races_circuit"], row["at_length"]) for row in rows]
    assert found == [("ann", 1, "spa", 7.0), ("bob", 1, "spa", 7.0), ("ann", 2, "monza", 5.8), ("bob", 3, "oval", None)]
    last_of_the_day = datetime(2024, 1, 5, 23, 59, 59, 999_999, tzinfo=UTC)
    assert [row["event_timestamp"] for row in rows[:2]] == [last_of_the_day, last_of_the_day]


def test_a_row_without_a_time_is_rejected_with_the_source_that_lacks_it(season: Season) -> None:
    season.accepted()
    (rejected,) = pq.read_table(season.data / "rejected" / "results.parquet").to_pylist()
    assert (rejected["race"], rejected["reasons"][-1]) == ("9", "races_day: null, since the row has no match in races")
    rules = season.plan.validate_["results"].model_copy(update={"max_rejected": 0.1})
    season.plan = season.plan.model_copy(update={"validate_": {**season.plan.validate_, "results": rules}})
    with pytest.raises(QualityError, match=r"1 of 5 rows were rejected .* no match in races \(1\)"):
        season.accepted()


def test_a_key_of_several_rows_is_refused(season: Season) -> None:
    season.write(races=RACES + "1,06.01.2024,imola\n")
    with pytest.raises(
        SourceError, match=r"ingest\.results\.join\.races: 1 keys \(race\) have several rows in 'races'"
    ):
        season.ingested()


def test_what_a_look_up_means_is_part_of_the_views_that_read_it(season: Season) -> None:
    text = PLAN.replace("FOLDER", "somewhere")
    before = view_definition(parse_sections(text), "form").fingerprint
    assert before == view_definition(season.plan, "form").fingerprint
    for old, new in ((', missing: ["-"]', ""), ("length: {dtype: float64", "length: {rename_from: km, dtype: float64")):
        assert view_definition(parse_sections(text.replace(old, new)), "form").fingerprint != before
    other = text.replace("max(at_length)", "max(points)")
    assert view_definition(parse_sections(other), "form").sources["results"].get("joins", {}).keys() == {"races"}


def test_the_key_of_the_entity_may_stand_in_the_other_table(tmp_path: Path) -> None:
    text = PLAN.replace("FOLDER", str(tmp_path)).replace(
        "driver: {dtype: string}, race: {dtype: int64}, points", "race: {dtype: int64}, points"
    )
    text = text.replace(
        "circuit: {dtype: string}}\n  circuits", "circuit: {dtype: string}, driver: {dtype: string}}\n  circuits"
    )
    season = Season(tmp_path, parse_sections(text))
    season.write(
        races="race,day,circuit,driver\n1,05.01.2024,spa,ann\n", circuits=CIRCUITS, results="race,points\n1,10\n1,8\n"
    )
    rules = season.plan.validate_["results"].model_copy(update={"unique": ()})
    season.plan = season.plan.model_copy(update={"validate_": {"results": rules}})
    assert [(row["driver"], row["points"]) for row in season.accepted()[1]] == [("ann", 10.0), ("ann", 8.0)]


def caught_up(season: Season, settings: Settings, day: int) -> CatchUpResult:
    return catch_up(settings, season.plan, season.data, datetime(2024, 3, day, tzinfo=UTC))


def test_a_catch_up_waits_for_the_row_with_the_time_and_knows_a_row_no_earlier(
    season: Season, settings: Settings
) -> None:
    for name in season.plan.ingest:
        season.accepted(name)
    with psycopg.connect(settings.database_url or "") as connection:
        create(connection, declared_table(season.plan, "form"))
    # A new result of a race that is not there, and the length of a circuit corrected.
    season.write(results=RESULTS + "cat,10,4\n", circuits=CIRCUITS.replace("7.0", "7.5"))
    first = caught_up(season, settings, 2).changes["results"]
    assert (first.new, first.corrected, first.gone, first.unmatched, first.known) == (0, 2, 0, 1, 3)
    assert [row["at_length"] for row in season.rows()][:2] != [7.0, 7.0]
    # Now both races are told, long after they were held.
    season.write(races=RACES + "9,10.01.2024,spa\n10,11.01.2024,monza\n")
    second = caught_up(season, settings, 4).changes["results"]
    assert (second.new, second.corrected, second.late, second.unmatched) == (1, 1, 2, 0)
    rows = {(row["driver"], row["race"]): row for row in season.rows()}
    for key, day in ((("ann", 9), 10), (("cat", 10), 11)):
        assert rows[key]["event_timestamp"].date() == datetime(2024, 1, day, tzinfo=UTC).date()
        assert rows[key]["created_timestamp"] == datetime(2024, 3, 4, tzinfo=UTC)
    assert len(rows) == 6
    assert caught_up(season, settings, 5).changes["results"].known == 6
