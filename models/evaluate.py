"""Stage `evaluate`: measure the candidates, look closer at the best one, and write a report that says what was found."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.entry import run
from core.files import whole_folder, write_whole
from core.plan.file import read_plan
from core.settings import read_settings
from models.bundles.revisions import code_revision, data_revision
from models.candidates.candidates import read_candidate
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, VALIDATION, contract_features, part, read_training_set
from models.evaluation.evaluation import Evaluation
from models.evaluation.explanations import background_rows, contributions, explained_rows, explanation
from models.evaluation.findings import Scored, find
from models.evaluation.measure_candidates import evaluate, part_of, resampling_of
from models.measures import curves
from models.measures.groups import groupings
from models.measures.intervals import difference
from models.reports.curves import Figures
from models.reports.page import Method, report
from models.reports.reasons import Reasons
from models.scoring.encoding import encode_table, vectors_of
from models.scoring.model_file import load_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.evaluate import Evaluate
    from core.plan.plan import Problem
    from models.evaluation.explanations import Explanation
    from models.evaluation.findings import Findings
    from models.evaluation.measure_candidates import Judged, Part
    from models.measures.intervals import Difference
    from models.scoring.model_file import Model


def look_closer(
    section: Evaluate,
    best: Judged,
    validation: Part,
    test: Part,
    test_table: pa.Table,
    features: Sequence[ContractFeature],
    seed: int,
) -> Findings:
    """Look at the best candidate by group, slice, fairness and money; `test_table` has the columns of the groups."""
    return find(
        section,
        best.result.candidate,
        features,
        Scored(best.validation, validation.rows.inputs.matrix),
        Scored(best.test, test.rows.inputs.matrix),
        groupings(section, test_table),
        resampling_of(section, seed),
    )


def over_baseline(section: Evaluate, judged: Sequence[Judged], seed: int) -> Difference | None:
    """Compare the best candidate with the baseline on the test rows; None where it is the baseline."""
    best, baseline = judged[0], next(one for one in judged if one.result.candidate == section.baseline)
    if best is baseline:
        return None
    return difference(section.primary, best.test, baseline.test, resampling_of(section, seed))


def figures_of(problem: Problem, judged: Sequence[Judged]) -> Figures:
    """Compute the curves of all candidates on the test rows; an order has curves where both labels occur."""
    tests = {one.result.candidate: one.test for one in judged}
    calibration = {name: curves.calibration(rows) for name, rows in tests.items()}
    if problem != "binary" or len(np.unique(judged[0].test.label)) < 2:  # noqa: PLR2004 - both labels
        return Figures(calibration)
    return Figures(
        calibration,
        {name: curves.roc(rows) for name, rows in tests.items()},
        {name: curves.precision_recall(rows) for name, rows in tests.items()},
        {name: curves.gains(rows) for name, rows in tests.items()},
    )


def reasons_of(
    model: Model, problem: Problem, features: Sequence[ContractFeature], train: pa.Table, test: pa.Table, seed: int
) -> Reasons:
    """Explain a sample of test rows, and name the reasons of the highest, the middle and the lowest score among them."""
    chance = np.random.default_rng(seed)
    background = encode_table(_some(train, background_rows(len(features)), chance), features)
    explained = _some(test, explained_rows(len(features)), chance)
    found = contributions(model, problem, encode_table(explained, features), background, seed=seed)
    totals = found.base + found.values.sum(axis=1)
    output = totals.argmax(axis=1)
    order = np.argsort(totals.max(axis=1), kind="stable")
    vectors = vectors_of(explained, features)

    def example(place: int) -> Explanation:
        row = int(order[place])
        return explanation(found, row, features, vectors[row], int(output[row]))

    named = [
        ("The highest score of the sample", -1),
        ("A score in the middle", len(order) // 2),
        ("The lowest score", 0),
    ]
    importance = zip((f"{feature.view}.{feature.name}" for feature in features), found.importance.tolist(), strict=True)
    return Reasons(
        importance=sorted(importance, key=lambda one: -one[1]),
        rows=len(order),
        examples=[(title, example(place)) for title, place in named],
    )


def _some(table: pa.Table, rows: int, chance: np.random.Generator) -> pa.Table:
    return table.take(np.sort(chance.choice(len(table), min(rows, len(table)), replace=False)))


def plot_files(figures: Figures, findings: Findings) -> dict[str, str]:
    """Write the best candidate's curves for `dvc plots`, which compares those of revisions; an undefined one has no point."""
    best = findings.candidate
    drawn: Mapping[str, tuple[curves.Axes, NDArray[np.float64] | None]] = {
        "calibration.csv": (curves.CALIBRATION, figures.calibration[best]),
        "gains.csv": (curves.GAINS, figures.gains[best] if figures.gains else None),
        "precision_recall.csv": (
            curves.PRECISION_RECALL,
            figures.precision_recall[best] if figures.precision_recall else None,
        ),
        "profit.csv": (curves.PROFIT, _profit(findings)),
        "roc.csv": (curves.ROC, figures.roc[best] if figures.roc else None),
    }
    return {
        name: curves.to_csv(axes, np.empty((0, 2)) if points is None else points)
        for name, (axes, points) in drawn.items()
    }


def _profit(findings: Findings) -> NDArray[np.float64] | None:
    if findings.money is None:
        return None
    return np.array([[point.share, point.profit.value] for point in findings.money.curve])


def _span(table: pa.Table) -> str:
    """Say of which instants rows are."""
    times = table.column("as_of").unique().to_pylist()
    return f"{min(times):%Y-%m-%d} to {max(times):%Y-%m-%d} ({len(table):,} rows)"


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training-set", type=Path, required=True, help="parquet file of `training_set`")
    parser.add_argument("--candidates", type=Path, required=True, help="folder of the fitted candidates")
    parser.add_argument("--evaluation", type=Path, required=True, help="JSON file to write, about all candidates")
    parser.add_argument("--findings", type=Path, required=True, help="JSON file to write, about the best candidate")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write, for `dvc metrics`")
    parser.add_argument("--plots", type=Path, required=True, help="folder to write curves to, for `dvc plots`")
    parser.add_argument("--report", type=Path, required=True, help="HTML file to write")
    arguments = parser.parse_args()
    plan = read_plan(read_settings().plan)
    section, problem, seed = plan.evaluate, plan.project.problem, plan.train.seed
    table = read_training_set(arguments.training_set)
    fitting, checking, later = (part(table, name) for name in (TRAIN, VALIDATION, TEST))
    features = contract_features(plan.build_features, plan.training_set.service, fitting)
    task = task_of(problem, fitting)
    models = {name: load_model(*read_candidate(arguments.candidates / name)) for name in plan.train.candidates}
    validation, test = (part_of(table, name, features, task, plan.unit.key) for name in (VALIDATION, TEST))
    judged = evaluate(section, problem, models, validation, test, seed)
    evaluation = Evaluation(section.primary, section.baseline, tuple(one.result for one in judged))
    findings = look_closer(section, judged[0], validation, test, later, features, seed)
    figures = figures_of(problem, judged)
    reasons = reasons_of(models[findings.candidate], problem, features, fitting, later, seed)
    intervals = section.intervals
    method = Method(
        plan.training_set.split.kind,
        _span(checking),
        _span(later),
        intervals.repeats,
        intervals.confidence,
        section.calibration,
        data_revision(arguments.training_set),
        code_revision(Path(__file__).resolve().parent.parent),
        plan.training_set.service,
    )
    baseline = over_baseline(section, judged, seed)
    write_whole(arguments.evaluation, evaluation.to_json())
    write_whole(arguments.findings, findings.to_json())
    write_whole(arguments.metrics, json.dumps(evaluation.metrics(), indent=2, sort_keys=True) + "\n")
    with whole_folder(arguments.plots) as fresh:
        for name, text in plot_files(figures, findings).items():
            (fresh / name).write_text(text)
    page = report(plan.project, evaluation, findings, figures, reasons, method, baseline)
    write_whole(arguments.report, page)
    for result in evaluation.results:
        shown = ", ".join(f"{metric} {value:.4f}" for metric, value in result.test.items())
        print(f"evaluate: {result.candidate}: {shown} (test)")


if __name__ == "__main__":
    run(main)
