"""The forecast of a plan against the score that its run had on the test rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.plan.file import read_plan
from core.settings import read_settings
from models.data.split import read_training_set
from models.evaluation.evaluation import read_evaluation
from panthera.plan_rows import accepted_rows
from planner.decide.forecast import forecast
from planner.decide.training_rows import training_rows

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from planner.decide.forecast import Interval


def forecast_and_score(data: Path) -> tuple[Interval, float]:
    """Return the forecast from the training set in `data`, and the score of the best candidate on its test rows."""
    plan, evaluation = read_plan(read_settings().plan), read_evaluation(data / "evaluation.json")
    found = forecast(plan, read_training_set(data / "training_set.parquet"))
    assert found.interval is not None, found.why_not
    return found.interval, evaluation.results[0].test[plan.evaluate.primary]


def both_training_sets(data: Path, scratch: Path) -> tuple[pa.Table, pa.Table]:
    """Return the training set of the stages in `data`, and the one made of the sources without a stage; in order."""
    settings = read_settings()
    plan = read_plan(settings.plan)
    with accepted_rows(plan, scratch / "nothing", settings.state / "downloads") as accepted:
        made = training_rows(plan, accepted, scratch)
    order = [(plan.unit.key, "ascending"), ("as_of", "ascending")]
    return read_training_set(data / "training_set.parquet").sort_by(order), made.sort_by(order)
