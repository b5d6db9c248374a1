"""An example for each payment as of its own time, from a csv file to answers and parity."""

from __future__ import annotations

import csv
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.stages import run_stages
from models.data.split import read_training_set
from tests.e2e.test_flat_table import ask, parity, unequal_online
from tests.planner.decide.forecasted import both_training_sets, forecast_and_score

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fix_project import Project

#: A stage leaves its connections to the end of its process, which is not the end of this one.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

PLAN = Path(__file__).with_name("cards.yaml")
CARDS, FIRST = 12, datetime(2024, 1, 1, tzinfo=UTC)


def payments() -> list[dict[str, Any]]:
    """Four payments a day by each card, one of six a fraud of a large amount."""
    rng = random.Random(1)  # noqa: S311
    rows = []
    for step in range(29 * 4):
        for card in range(CARDS):
            paid = FIRST + timedelta(hours=6 * step, minutes=rng.randrange(300))
            fraud = rng.random() < 1 / 6
            amount = round(rng.uniform(40, 90) if fraud else rng.uniform(5, 60), 2)
            rows.append({"card": f"c{card:02d}", "paid": paid.isoformat(), "amount": amount, "fraud": fraud})
    return sorted(rows, key=lambda row: str(row["paid"]))


@pytest.fixture(scope="module")
def cards(project: Project) -> Iterator[list[dict[str, Any]]]:
    """The plan, run through every stage; the process stands in its folder. The payments."""
    (project.folder / "params.yaml").write_text(PLAN.read_text())
    rows = payments()
    with (project.folder / "payments.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    arguments = list(sys.argv)
    with project.entered():
        run_stages()
        yield rows
    sys.argv[:] = arguments


def test_every_payment_is_an_example_with_what_was_known_when_it_was_paid(cards: list[dict[str, Any]]) -> None:
    examples = {
        (row["card"], row["as_of"]): row for row in read_training_set(Path("data/training_set.parquet")).to_pylist()
    }
    split = {
        "train": ("2024-01-03", "2024-01-14"),
        "validation": ("2024-01-16", "2024-01-21"),
        "test": ("2024-01-23", "2024-01-30"),
    }
    for payment in cards:
        paid = datetime.fromisoformat(payment["paid"])
        part = next((name for name, (first, last) in split.items() if first <= paid.isoformat() <= last), None)
        example = examples.pop((payment["card"], paid), None)
        assert (example["split"] if example else None) == part
        if example is None:
            continue
        before = [each for each in cards if each["card"] == payment["card"] and each["paid"] <= payment["paid"]]
        lately = [each for each in before if datetime.fromisoformat(each["paid"]) > paid - timedelta(days=1)]
        known = [each for each in before if datetime.fromisoformat(each["paid"]) <= paid - timedelta(days=2)]
        on_the_hour = paid.replace(minute=0)
        week = [
            each["amount"]
            for each in before
            if on_the_hour - timedelta(days=7) < datetime.fromisoformat(each["paid"]) <= on_the_hour
        ]
        assert example["label"] == payment["fraud"]
        assert (example["payment__amount"], example["payment__hour"]) == (payment["amount"], paid.hour)
        assert example["payment__payments_1d"] == len(lately)
        assert example["payment__frauds_known"] == sum(each["fraud"] for each in known)
        assert example["habit__mean_7d"] == pytest.approx(sum(week) / len(week))
    assert examples == {}


def test_a_card_is_answered_by_its_latest_payment_and_parity_finds_no_difference(cards: list[dict[str, Any]]) -> None:
    (answer,) = ask({"entities": [{"card": "c00"}, {"card": "c01"}, {"card": "nobody"}]})
    first = answer["predictions"][0]
    latest = max(row["paid"] for row in cards if row["card"] == "c00")
    assert datetime.fromisoformat(first["features"]["payment"]["event_time"]) == datetime.fromisoformat(latest)
    assert datetime.fromisoformat(first["features"]["habit"]["event_time"]) == datetime(2024, 1, 30, tzinfo=UTC)
    found = parity()
    assert (found["predictions_checked"], found["defects"]) == (3, 0)
    assert sum(found["mismatches"].values()) == 0
    assert unequal_online() == 0


def test_the_forecast_before_training_holds_the_score_of_the_run(cards: list[dict[str, Any]], tmp_path: Path) -> None:
    assert cards
    interval, score = forecast_and_score(Path("data"))
    assert interval.lower <= score <= interval.upper
    of_stages, made = both_training_sets(Path("data"), tmp_path)
    assert made.equals(of_stages.select(made.column_names))
