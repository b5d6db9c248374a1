"""Drafts over several tables, hours and lead times, and rows that belong together."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from planner.verbs import check_sources

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.planner.drafted import Drafted

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def trips(lorries: int = 30, days: int = 60) -> dict[str, str]:
    """Trips of lorries, their delays without a time, and the lorries without a time, under other names."""
    rng = random.Random(2)  # noqa: S311 - a fixed example
    trip, delay = ["Trip ID,Lorry No.,Planned"], ["trip;late"]
    for number in range(lorries * days):
        lorry, at = number % lorries, BEGIN + timedelta(days=number // lorries, minutes=rng.randrange(1400))
        trip.append(f"{number:05d},L{lorry:03d}X,{at:%d/%m/%Y %H.%M}")
        delay.append(f"{number:05d};{'cancelled' if number % 50 == 7 else rng.randrange(40)}")
    lorry_rows = ["plate,maker", *(f"L{n:03d}X,{'MAN' if n % 3 else 'DAF'}" for n in range(lorries))]
    return {"trips.csv": "\n".join(trip), "delays.csv": "\n".join(delay), "lorries.csv": "\n".join(lorry_rows)}


def test_rows_get_their_key_and_their_time_from_the_table_that_they_are_linked_to(
    drafted: Drafted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "count(delays where late >= 30) > 0 in 3d for each lorry_no"
    plan, _ = drafted(trips(), line, answers={"zone": "Europe/Berlin"})
    delays, time = plan.ingest["delays"], plan.ingest["trips"].event_time
    assert delays.event_time is not None
    assert (delays.event_time.through, delays.event_time.key) == ("trips.planned", {"trip": "trip_id"})
    assert delays.columns["late"].missing == ("cancelled",)
    assert time is not None
    assert (time.format, time.zone) == ("%d/%m/%Y %H.%M", "Europe/Berlin")
    assert plan.label.value == "count(*) FILTER (late >= 30) > 0"
    monkeypatch.chdir(tmp_path)
    assert [one for one in check_sources(plan).findings if one.level == "refuse"] == []


def test_an_hourly_series_is_predicted_with_a_lead_from_the_same_hour_of_the_days_before(drafted: Drafted) -> None:
    hours = [BEGIN + timedelta(hours=n) for n in range(24 * 14)]
    rows = [f"{at:%Y-%m-%d %H:%M},{name},{at.hour + place}" for at in hours for place, name in enumerate("abc")]
    plan, _ = drafted(
        {"hours.csv": "\n".join(["at,station,degrees", *rows])}, "avg(hours.degrees) in 1h after 5h for each station"
    )
    assert (plan.label.lead, plan.label.horizon) == (timedelta(hours=5), timedelta(hours=1))
    assert plan.training_set.as_of.every == "1 hour"
    features = plan.build_features.views["hours_rows"].features
    assert features["label_1_days_before"].lag == timedelta(hours=18)
    assert "rows_so_far" not in features


def test_rows_of_one_person_are_kept_together_and_a_count_is_predicted_as_one(drafted: Drafted) -> None:
    rows = [f"P{n // 4:04d},{n},{'F' if n // 4 % 2 else 'M'},{n % 7},{(n * n) % 11 // 4}" for n in range(240)]
    plan, draft = drafted({"stays.csv": "\n".join(["patient,stay_id,sex,ward,visits", *rows])}, "visits")
    split = plan.training_set.split
    assert split.kind == "grouped"
    assert split.by == "together.patient"
    assert [one.name for one in draft.sheet.open_questions] == ["group"]
    assert "patient" not in (plan.build_features.views["row"].columns or ())


def test_the_files_of_a_folder_with_the_same_header_are_one_table(drafted: Drafted, tmp_path: Path) -> None:
    (tmp_path / "homes").mkdir()
    for part in range(2):
        rows = [f"{n},{n % 5},{1000 + n % 5 * 10}" for n in range(part * 40, part * 40 + 40)]
        (tmp_path / "homes" / f"{part}.csv").write_text("\n".join(["home_id,rooms,price", *rows]))
    plan, _ = drafted({"homes/2.csv": "home_id,rooms,price\n80,1,900.5\n"}, "price", data=["homes"])
    assert list(plan.ingest) == ["homes"]
