"""Compare an evaluation of the subscription world with the truth: the world records every customer's true risk."""

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
from models.evaluation.measure_candidates import observed, resampling_of, split_part
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
    """Scored rows, with the true risk of each and whether its customer is protected; all of shape (rows,)."""

    rows: Observed
    hazard: NDArray[np.float64]
    protected: NDArray[np.bool_]

    @property
    def group(self) -> Grouping:
        """The grouping of the rows by whether their customer is protected."""
        return Grouping("protected", _GROUPS, self.protected.astype(np.int64))


@dataclass(frozen=True)
class Measured:
    """A measure with its interval, and its true value."""

    estimate: Estimate
    truth: float

    @property
    def held(self) -> bool:
        """Whether the interval contains the truth."""
        return self.estimate.lower <= self.truth <= self.estimate.upper


def known_rows(project: Path, protected: str) -> tuple[Plan, Known, Known]:
    """Return a project's plan, and its validation and test rows with the best candidate's scores and the true risks."""
    plan = read_plan(project / "params.yaml")
    table = read_training_set(project / "data" / "training_set.parquet")
    best = read_evaluation(project / "data" / "evaluation.json").results[0]
    model = load_model(*read_candidate(project / "data" / "candidates" / best.candidate))
    features = contract_features(plan.build_features, plan.training_set.service, part(table, TRAIN))
    truth = pq.read_table(
        project / "world" / "truth" / "hazard.parquet", columns=["customer_id", "month_start", "hazard"]
    )
    parts = []
    for name in (VALIDATION, TEST):
        chosen = split_part(table, name, features, BINARY, plan.unit.key)
        score = best.calibration.apply(model.outputs(chosen.rows.inputs)[:, 0])
        rows = observed(plan.evaluate, "binary", chosen, score, best.threshold)
        part_rows = part(table, name)
        gender = np.array(part_rows.column("profile__gender").to_pylist())
        parts.append(Known(rows, _hazards(part_rows, truth), gender == protected))
    return plan, parts[0], parts[1]


def _hazards(rows: pa.Table, truth: pa.Table) -> NDArray[np.float64]:
    """Return each row's true risk; zero for customers whose cancellation was not known yet."""
    index = pa.array(np.arange(len(rows)))
    keys = pa.table({"customer_id": rows.column("customer_id"), "month_start": rows.column("as_of"), "index": index})
    instant = truth.schema.field("month_start").type
    keys = keys.set_column(1, "month_start", keys.column("month_start").cast(instant))
    joined = keys.join(truth, ["customer_id", "month_start"]).sort_by("index")
    return np.asarray(joined.column("hazard").fill_null(0.0).to_numpy())


def disparities(known: Known, resampling: Resampling) -> dict[str, Measured]:
    """Return the differences between the protected and the others, in cancellations and in decisions, with their truths.

    For fixed rows, the expected true positive rate is the sum of the risks of the rows with a positive decision, divided by
    the sum of all risks.
    """
    rows, hazard = known.rows, known.hazard
    labels_as_scores = replace(rows, score=rows.label.astype(np.float64), threshold=0.5)
    decided = rows.decided.astype(np.float64)
    cancellations = _difference(labels_as_scores, known, SELECTION, resampling)
    found = {"cancellation rate": Measured(cancellations, _truth(known, hazard))}
    for rate, weight in ((TRUE_POSITIVE, hazard), (FALSE_POSITIVE, 1 - hazard)):
        found[rate] = Measured(_difference(rows, known, rate, resampling), _truth(known, decided, weight))
    return found


def _difference(rows: Observed, known: Known, rate: str, resampling: Resampling) -> Estimate:
    """Return the rate of the protected minus that of the others, whichever group is the reference."""
    parts = fairness(rows, known.group, resampling).parts
    compared = next(part for part in parts if part.from_reference is not None)
    assert compared.from_reference is not None
    difference = compared.from_reference[rate]
    if compared.part == _GROUPS[1]:
        return difference
    return Estimate(-difference.value, -difference.upper, -difference.lower)


def _truth(known: Known, values: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> float:
    """Return the weighted mean of the protected minus that of the others."""
    weights = np.ones(len(values)) if weights is None else weights
    protected, others = known.protected, ~known.protected
    return float(
        np.average(values[protected], weights=weights[protected]) - np.average(values[others], weights=weights[others])
    )


def profit_threshold(plan: Plan, validation: Known, test: Known) -> Measured:
    """Return the most profitable threshold on the validation rows with its range, and the truly best threshold.

    The truly best threshold maximises the expected profit at the true risks over the rows of both periods.
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
