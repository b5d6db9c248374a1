"""Validation rows choose, test rows only tell, and both are measured on the scores that will be served."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from core.calibration import Calibration, Curve
from core.errors import PlanError, StaleStateError
from core.plan.evaluate import Evaluate
from models.data.rows import Rows
from models.evaluation.evaluation import CandidateResult, Evaluation, read_evaluation
from models.evaluation.measure_candidates import SplitPart, evaluate
from models.scoring.encoding import Inputs
from models.scoring.model_file import Model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Column(Model):
    """A model whose score is one column of its inputs."""

    place: int

    def outputs(self, inputs: Inputs) -> NDArray[np.float64]:
        return inputs.matrix[:, [self.place]]


def section(**settings: Any) -> Evaluate:
    return Evaluate.model_validate(
        {
            "primary": "roc_auc",
            "metrics": ["roc_auc", "log_loss", "recall"],
            "threshold": {"maximise": "f1"},
            "baseline": "one",
            **settings,
        }
    )


def a_part(seed: int, entities: int = 300) -> SplitPart:
    """Make rows whose column 0 is the true probability, column 1 an overconfident one, and column 2 says nothing."""
    chance = np.random.default_rng(seed)
    entity = np.repeat(np.arange(entities), 2)
    true = chance.uniform(0.05, 0.95, len(entity))
    sure = true**3 / (true**3 + (1 - true) ** 3)
    matrix = np.column_stack([true, sure, np.full(len(entity), 0.5)])
    label = (chance.random(len(entity)) < true).astype(np.int32)
    return SplitPart(Rows(Inputs(matrix), label), entity)


VALIDATION, TEST = a_part(1), a_part(2)
MODELS = {"nothing": Column(2), "one": Column(0), "sure": Column(1)}


def test_the_best_on_validation_stands_first_and_equals_keep_the_order_of_the_plan() -> None:
    judged = evaluate(section(), "binary", MODELS, VALIDATION, TEST, 1)
    assert [one.result.candidate for one in judged] == ["one", "sure", "nothing"]
    judged = evaluate(section(primary="log_loss"), "binary", MODELS, VALIDATION, TEST, 1)
    assert judged[0].result.candidate == "one"


def test_every_test_metric_has_its_interval() -> None:
    best = evaluate(section(), "binary", MODELS, VALIDATION, TEST, 1)[0].result
    assert set(best.test) == set(best.test_lower) == set(best.test_upper) == {"roc_auc", "log_loss", "recall"}
    for metric, value in best.test.items():
        assert best.test_lower[metric] < value < best.test_upper[metric]


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_calibrated_scores_are_measured_decided_on_and_kept(kind: str) -> None:
    raw = evaluate(section(), "binary", MODELS, VALIDATION, TEST, 1)
    curved = evaluate(section(calibration=kind), "binary", MODELS, VALIDATION, TEST, 1)
    before, after = (next(one for one in some if one.result.candidate == "sure") for some in (raw, curved))
    assert after.result.calibration.kind == kind
    assert after.result.test["log_loss"] < before.result.test["log_loss"] - 0.05
    assert np.array_equal(after.test.score, after.result.calibration.apply(TEST.rows.inputs.matrix[:, 1]))
    assert after.result.threshold in after.result.calibration.apply(VALIDATION.rows.inputs.matrix[:, 1])


def test_the_validation_rows_are_not_measured_by_the_curve_they_made() -> None:
    judged = evaluate(section(calibration="isotonic"), "binary", {"one": Column(0)}, VALIDATION, TEST, 1)[0]
    label = VALIDATION.rows.label
    flattered = judged.result.calibration.apply(VALIDATION.rows.inputs.matrix[:, 0])
    own = float(-np.log(np.where(label == 1, flattered, 1 - flattered)).mean())
    assert judged.result.validation["log_loss"] > own


def test_a_score_that_is_no_number_is_refused_with_the_candidates_name() -> None:
    matrix = TEST.rows.inputs.matrix.copy()
    matrix[3, 0] = np.nan
    broken = replace(TEST, rows=replace(TEST.rows, inputs=Inputs(matrix)))
    with pytest.raises(PlanError, match="1 test scores of the candidate 'one' are NaN or infinite"):
        evaluate(section(), "binary", MODELS, VALIDATION, broken, 1)


def test_validation_rows_that_do_not_define_the_primary_metric_are_refused() -> None:
    one_class = replace(VALIDATION, rows=replace(VALIDATION.rows, label=np.ones(600, np.int32)))
    with pytest.raises(PlanError, match="roc_auc of 'nothing' is undefined on the validation rows"):
        evaluate(section(), "binary", MODELS, one_class, TEST, 1)


def test_a_test_period_that_does_not_define_a_metric_leaves_it_out() -> None:
    one_class = replace(TEST, rows=replace(TEST.rows, label=np.ones(600, np.int32)))
    assert set(evaluate(section(), "binary", MODELS, VALIDATION, one_class, 1)[0].result.test) == {"log_loss", "recall"}


def test_few_entities_have_values_without_intervals() -> None:
    few = a_part(3, entities=10)
    best = evaluate(section(), "binary", MODELS, VALIDATION, few, 1)[0].result
    assert set(best.test) == {"roc_auc", "log_loss", "recall"}
    assert best.test_lower == {}


def test_classes_have_no_threshold() -> None:
    chance = np.random.default_rng(4)
    label = chance.integers(0, 3, 90).astype(np.int32)

    class Classes(Model):
        def outputs(self, inputs: Inputs) -> NDArray[np.float64]:
            return np.asarray(np.where(inputs.matrix[:, [0]] == np.arange(3), 0.6, 0.2))

    rows = SplitPart(Rows(Inputs(label[:, None].astype(np.float64)), label), np.arange(90))
    several = section(metrics=["roc_auc", "accuracy"], threshold=None, calibration="sigmoid")
    found = evaluate(several, "multiclass", {"one": Classes()}, rows, rows, 1)[0].result
    assert found.test == {"roc_auc": 1, "accuracy": 1}
    assert np.isnan(found.threshold)


def test_numbers_are_measured_as_numbers() -> None:
    chance = np.random.default_rng(5)
    matrix = chance.normal(size=(90, 1))
    rows = SplitPart(Rows(Inputs(matrix), matrix[:, 0] + 1), np.arange(90))
    numbers = section(primary="rmse", metrics=["rmse", "r2"], threshold=None)
    assert evaluate(numbers, "regression", {"one": Column(0)}, rows, rows, 1)[0].result.test["rmse"] == pytest.approx(1)


RESULT = CandidateResult(
    "one",
    {"roc_auc": 0.7},
    {"roc_auc": 0.6},
    0.4,
    {"roc_auc": 0.5},
    {"roc_auc": 0.65},
    Calibration("sigmoid", (Curve(),)),
)


def test_an_evaluation_comes_back_as_it_was(tmp_path: Path) -> None:
    second = replace(RESULT, candidate="another", threshold=0.3)
    stored = Evaluation("roc_auc", "another", (RESULT, second))
    (tmp_path / "evaluation.json").write_text(stored.to_json())
    assert read_evaluation(tmp_path / "evaluation.json") == stored
    assert stored.result("another") is second


def test_no_threshold_comes_back_as_none(tmp_path: Path) -> None:
    stored = Evaluation("roc_auc", "one", (replace(RESULT, threshold=np.nan),))
    (tmp_path / "evaluation.json").write_text(stored.to_json())
    assert np.isnan(read_evaluation(tmp_path / "evaluation.json").results[0].threshold)


def test_another_format_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text('{"results": []}')
    with pytest.raises(StaleStateError, match="run `dvc repro evaluate`"):
        read_evaluation(tmp_path / "evaluation.json")
