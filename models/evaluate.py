"""Stage `evaluate`: measure the candidates, analyse the best one, and write the results and the HTML report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.entry import run
from core.files import whole_folder, write_whole
from core.plan.file import read_plan
from core.plan.times import day_or_time
from core.settings import read_settings
from models.bundles.revisions import code_revision, data_revision
from models.candidates.candidates import read_candidate
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, VALIDATION, contract_features, part, read_training_set
from models.evaluation.evaluation import Evaluation
from models.evaluation.explanations import background_rows, contributions, explained_rows, explanation
from models.evaluation.findings import ScoredFeatures, findings_of
from models.evaluation.measure_candidates import evaluate, part_of_plan, resampling_of
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
    from models.evaluation.measure_candidates import MeasuredCandidate, SplitPart
    from models.measures.intervals import Difference
    from models.scoring.model_file import Model


def analyse_best(
    section: Evaluate,
    best: MeasuredCandidate,
    validation: SplitPart,
    test: SplitPart,
    test_table: pa.Table,
    features: Sequence[ContractFeature],
    seed: int,
) -> Findings:
    """Return the findings about the best candidate; `test_table` has the columns of the groups."""
    return findings_of(
        section,
        best.result.candidate,
        features,
        ScoredFeatures(best.validation, validation.rows.inputs.matrix),
        ScoredFeatures(best.test, test.rows.inputs.matrix),
        groupings(section, test_table),
        resampling_of(section, seed),
    )


def over_baseline(section: Evaluate, measured: Sequence[MeasuredCandidate], seed: int) -> Difference | None:
    """Return the difference between the best candidate and the baseline on the test rows; None if they are the same."""
    best, baseline = measured[0], next(one for one in measured if one.result.candidate == section.baseline)
    if best is baseline:
        return None
    return difference(section.primary, best.test, baseline.test, resampling_of(section, seed))


def figures_of(problem: Problem, measured: Sequence[MeasuredCandidate]) -> Figures:
    """Return the curves of all candidates on the test rows; curves of order need a binary problem with both labels."""
    tests = {one.result.candidate: one.test for one in measured}
    calibration = {name: curves.calibration(rows) for name, rows in tests.items()}
    if problem != "binary" or len(np.unique(measured[0].test.label)) < 2:  # noqa: PLR2004 - both labels
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
    """Return the feature importance on a sample of test rows, and explanations of its highest, middle and lowest score."""
    rng = np.random.default_rng(seed)
    background = encode_table(_sample(train, background_rows(len(features)), rng), features)
    explained = _sample(test, explained_rows(len(features)), rng)
    found = contributions(model, problem, encode_table(explained, features), background, seed=seed)
    totals = found.base + found.values.sum(axis=1)
    output = totals.argmax(axis=1)
    order = np.argsort(totals.max(axis=1), kind="stable")
    vectors = vectors_of(explained, features)

    def example(rank: int) -> Explanation:
        row = int(order[rank])
        return explanation(found, row, features, vectors[row], int(output[row]))

    named = [
        ("The highest score of the sample", -1),
        ("The median score", len(order) // 2),
        ("The lowest score", 0),
    ]
    importance = zip((f"{feature.view}.{feature.name}" for feature in features), found.importance.tolist(), strict=True)
    return Reasons(
        importance=sorted(importance, key=lambda one: -one[1]),
        rows=len(order),
        examples=[(title, example(rank)) for title, rank in named],
    )


def _sample(table: pa.Table, rows: int, rng: np.random.Generator) -> pa.Table:
    return table.take(np.sort(rng.choice(len(table), min(rows, len(table)), replace=False)))


def plot_files(figures: Figures, findings: Findings) -> dict[str, str]:
    """Compose the CSV files of the best candidate's curves for `dvc plots`; an undefined curve has no points."""
    best = findings.candidate
    files: Mapping[str, tuple[curves.Axes, NDArray[np.float64] | None]] = {
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
        for name, (axes, points) in files.items()
    }


def _profit(findings: Findings) -> NDArray[np.float64] | None:
    if findings.money is None:
        return None
    return np.array([[point.share, point.profit.value] for point in findings.money.curve])


def _span(table: pa.Table, has_time: bool) -> str:
    """Return the number of the rows and, if they have instants, their first and last as-of date, as text."""
    if not has_time:
        return f"{len(table):,} rows"
    times = table.column("as_of").unique().to_pylist()
    return f"{len(table):,} rows as of {day_or_time(min(times))} to {day_or_time(max(times))}"


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
    train_rows, validation_rows, test_rows = (part(table, name) for name in (TRAIN, VALIDATION, TEST))
    features = contract_features(plan.build_features, plan.training_set.service, train_rows)
    task = task_of(problem, train_rows, plan.label.ordered)
    models = {name: load_model(*read_candidate(arguments.candidates / name)) for name in plan.train.candidates}
    validation, test = (part_of_plan(plan, table, name, features, task) for name in (VALIDATION, TEST))
    measured = evaluate(section, problem, models, validation, test, seed)
    evaluation = Evaluation(section.primary, section.baseline, tuple(one.result for one in measured))
    findings = analyse_best(section, measured[0], validation, test, test_rows, features, seed)
    figures = figures_of(problem, measured)
    reasons = reasons_of(models[findings.candidate], problem, features, train_rows, test_rows, seed)
    intervals = section.intervals
    method = Method(
        plan.training_set.split.kind,
        _span(validation_rows, plan.has_time),
        _span(test_rows, plan.has_time),
        intervals.repeats,
        intervals.confidence,
        section.calibration,
        data_revision(arguments.training_set),
        code_revision(Path(__file__).resolve().parent.parent),
        plan.training_set.service,
        plan.training_set.split_by,
        plan.has_time,
        plan.training_set.weight,
    )
    baseline = over_baseline(section, measured, seed)
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
