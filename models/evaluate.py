"""Stage `evaluate`: measure every candidate on the validation rows, which choose, and on the test rows, which only tell."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.entry import run
from core.files import require, write_whole
from core.plan_file import read_plan
from core.settings import read_settings
from models.candidates import read_candidate
from models.metrics import LOWER_IS_BETTER, best_threshold, measure
from models.model_file import load_model
from models.rows import task_of
from models.train import contract_features, part, rows_of
from models.training_set import TEST, TRAIN, VALIDATION, read_training_set

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.plan import Evaluate
    from models.model_file import Model
    from models.rows import Rows


@dataclass(frozen=True)
class CandidateResult:
    """What was measured of one candidate: each metric on both parts, and the threshold that validation chose."""

    candidate: str
    validation: dict[str, float]
    test: dict[str, float]
    threshold: float


@dataclass(frozen=True)
class Evaluation:
    """All candidates, the best by the primary metric on the validation rows first."""

    primary: str
    baseline: str
    results: tuple[CandidateResult, ...]

    def result(self, candidate: str) -> CandidateResult:
        """Give the result of one candidate."""
        return next(result for result in self.results if result.candidate == candidate)

    def to_json(self) -> str:
        """Write the evaluation, as `read_evaluation` reads it."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


def read_evaluation(path: Path) -> Evaluation:
    """Read what the stage wrote."""
    stored = json.loads(require(path, "evaluate").read_text())
    results = tuple(CandidateResult(**result) for result in stored["results"])
    return Evaluation(stored["primary"], stored["baseline"], results)


def evaluate(section: Evaluate, models: Mapping[str, Model], validation: Rows, test: Rows) -> Evaluation:
    """Measure `models`; equal candidates keep the plan's order."""
    results = []
    for name, model in models.items():
        on_validation, on_test = model.score(validation.inputs), model.score(test.inputs)
        results.append(
            CandidateResult(
                candidate=name,
                validation={metric: measure(metric, validation.label, on_validation) for metric in section.metrics},
                test={metric: measure(metric, test.label, on_test) for metric in section.metrics},
                threshold=best_threshold(section.threshold, validation.label, on_validation),
            )
        )
    sign = 1 if section.primary in LOWER_IS_BETTER else -1
    results.sort(key=lambda result: sign * result.validation[section.primary])
    return Evaluation(section.primary, section.baseline, tuple(results))


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training-set", type=Path, required=True, help="parquet file of `training_set`")
    parser.add_argument("--candidates", type=Path, required=True, help="folder of the fitted candidates")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    plan = read_plan(read_settings().plan)
    table = read_training_set(arguments.training_set)
    fitting = part(table, TRAIN)
    features = contract_features(plan.build_features, plan.training_set.service, fitting)
    task = task_of(plan.project.problem, fitting)
    models = {name: load_model(*read_candidate(arguments.candidates / name)) for name in plan.train.candidates}
    validation, test = (rows_of(part(table, name), features, task) for name in (VALIDATION, TEST))
    evaluation = evaluate(plan.evaluate, models, validation, test)
    write_whole(arguments.metrics, evaluation.to_json())
    for result in evaluation.results:
        shown = ", ".join(f"{metric} {value:.4f}" for metric, value in result.test.items())
        print(f"evaluate: {result.candidate}: {shown} (test)")


if __name__ == "__main__":
    run(main)
