"""What an evaluation of the subscription world says, against what is true there: who is at which risk is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.plan.file import read_plan
from models.candidates.candidates import read_candidate
from models.data.rows import BINARY
from models.data.split import TEST, TRAIN, VALIDATION, contract_features, part, read_training_set
from models.evaluation.evaluation import read_evaluation
from models.evaluation.measure_candidates import observed, part_of, resampling_of
from models.measures.fairness import FALSE_POSITIVE, SELECTION, TRUE_POSITIVE, fairness
from models.measures.groups import Grouping
from models.measures.intervals import Estimate
from models.measures.money import best_threshold
from models.measures.thresholds import choose_threshold
from models.scoring.model_file import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from core.plan.plan import Plan
    from models.measures.intervals import Resampling
    from models.measures.metrics import Observed

_GROUPS = ("not protected", "protected")


@dataclass(frozen=True)
class Known:
    """Rows that were scored, with each row's true risk, and whether its customer is protected; all of shape (rows,)."""

    rows: Observed
    hazard: NDArray[np.float64]
    protected: NDArray[np.bool_]

    @property
    def group(self) -> Grouping:
        """The rows by whether their customer is protected."""
        return Grouping("protected", _GROUPS, self.protected.astype(np.int64))


@dataclass(frozen=True)
class Measured:
    """A measure with its interval, and the truth."""

    estimate: Estimate
    truth: float

    @property
    def held(self) -> bool:
        """Whether the interval holds the truth."""
        return self.estimate.lower <= self.truth <= self.estimate.upper


def known_rows(project: Path, protected: str) -> tuple[Plan, Known, Known]:
    """Score the validation and test rows of a project's best candidate, and join the truth of its world to them."""
    plan = read_plan(project / "params.yaml")
    table = read_training_set(project / "data" / "training_set.parquet")
    best = read_evaluation(project / "data" / "evaluation.json").results[0]
    model = load_model(*read_candidate(project / "data" / "candidates" / best.candidate))
    features = contract_features(plan.build_features, plan.training_set.service, part(table, TRAIN))
    truth = pq.read_table(
        project / "world" / "truth" / "hazard.parquet", columns=["customer_id", "month_start", "hazard"]
    )
    found = []
    for name in (VALIDATION, TEST):
        chosen = part_of(table, name, features, BINARY, plan.unit.key)
        score = best.calibration.apply(model.outputs(chosen.rows.inputs)[:, 0])
        rows = observed(plan.evaluate, "binary", chosen, score, best.threshold)
        here = part(table, name)
        gender = np.array(here.column("profile__gender").to_pylist())
        found.append(Known(rows, _hazards(here, truth), gender == protected))
    return plan, found[0], found[1]


def _hazards(rows: pa.Table, truth: pa.Table) -> NDArray[np.float64]:
    """Give each row's risk; who had cancelled, and was not known to have, runs none any more."""
    place = pa.array(np.arange(len(rows)))
    keys = pa.table({"customer_id": rows.column("customer_id"), "month_start": rows.column("as_of"), "place": place})
    instant = truth.schema.field("month_start").type
    keys = keys.set_column(1, "month_start", keys.column("month_start").cast(instant))
    joined = keys.join(truth, ["customer_id", "month_start"]).sort_by("place")
    return np.asarray(joined.column("hazard").fill_null(0.0).to_numpy())


def disparities(known: Known, resampling: Resampling) -> dict[str, Measured]:
    """Compare the protected with the others: how many cancel, and how decisions fall, with the truth of each.

    Given who is asked, the expected share of decisions among those who leave is the sum of the risks of those decided on,
    over the sum of all risks.
    """
    rows, hazard = known.rows, known.hazard
    happened = replace(rows, score=rows.label.astype(np.float64), threshold=0.5)
    decided = rows.decided.astype(np.float64)
    found = {"cancellation rate": Measured(_apart(happened, known, SELECTION, resampling), _truth(known, hazard))}
    for rate, weight in ((TRUE_POSITIVE, hazard), (FALSE_POSITIVE, 1 - hazard)):
        found[rate] = Measured(_apart(rows, known, rate, resampling), _truth(known, decided, weight))
    return found


def _apart(rows: Observed, known: Known, rate: str, resampling: Resampling) -> Estimate:
    """Give the rate of the protected less that of the others, whichever of them the reference is."""
    parts = fairness(rows, known.group, resampling).parts
    one = next(part for part in parts if part.from_reference is not None)
    assert one.from_reference is not None
    apart = one.from_reference[rate]
    return apart if one.part == _GROUPS[1] else Estimate(-apart.value, -apart.upper, -apart.lower)


def _truth(known: Known, values: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> float:
    every = np.ones(len(values)) if weights is None else weights
    inside, outside = known.protected, ~known.protected
    return float(
        np.average(values[inside], weights=every[inside]) - np.average(values[outside], weights=every[outside])
    )


def profit_threshold(plan: Plan, validation: Known, test: Known) -> Measured:
    """Give the threshold that earned most on the validation rows with its range, and the one that is best in truth.

    In truth is over the rows of both periods, with what each earns on average at its true risk.
    """
    section = plan.evaluate
    assert section.money is not None
    rows = validation.rows
    chosen = choose_threshold(section.threshold, section.money, rows.label.astype(np.int32), rows.score)
    best = best_threshold(rows, chosen, section.money.capacity, resampling_of(section, plan.train.seed))
    score, hazard = (np.concatenate(both) for both in ((rows.score, test.rows.score), (validation.hazard, test.hazard)))
    order = np.argsort(-score, kind="stable")
    lost, staying = section.money.earned_of_lost, section.money.earned_of_staying
    earned = np.cumsum(hazard[order] * lost + (1 - hazard[order]) * staying)
    return Measured(Estimate(best.value, best.lower, best.upper), float(score[order][int(np.argmax(earned))]))
