"""The report of an evaluation: one page that holds its figures and says in words what the numbers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from models.measures.metrics import LOWER_IS_BETTER
from models.reports import curves, decisions, groups, html, reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.plan.plan import Project
    from models.evaluation.evaluation import CandidateResult, Evaluation
    from models.evaluation.findings import Findings
    from models.measures.intervals import Difference
    from models.reports.curves import Figures
    from models.reports.reasons import Reasons

#: What a metric is, in the words of someone who has to act on it.
MEANINGS: Mapping[str, str] = {
    "roc_auc": "chance that a positive scores higher than a negative; 0.5 is guessing",
    "pr_auc": "mean precision over all thresholds; guessing gives the rate of positives",
    "log_loss": "mean surprise at what happened; lower is better",
    "brier": "mean squared distance of the probability from what happened; lower is better",
    "ece": "how far probabilities lie from observed rates, on average; lower is better",
    "lift": "rate among the highest scores, over the rate among all",
    "gain": "share of all positives that are among the highest scores",
    "precision": "of those decided as positive, the share that is",
    "recall": "of the positives, the share that is decided as positive",
    "f1": "harmonic mean of precision and recall",
    "accuracy": "share of right decisions",
    "balanced_accuracy": "mean share of right decisions over the classes",
    "profit": "earned for each 1,000 decisions",
    "rmse": "root of the mean squared error; lower is better",
    "mae": "mean absolute error; lower is better",
    "r2": "share of the variance that is explained",
    "pinball": "loss of a predicted quantile; lower is better",
}


#: How the test rows lie to those that candidates were fitted and chosen on.
_SPLITS = {
    "temporal": "later than all that candidates were fitted and chosen on",
    "stratified": "drawn at random from the same time, an entity perhaps on both sides, so they say nothing about later rows",
    "grouped": "of other entities, drawn at random from the same time, so they say nothing about later rows",
}


@dataclass(frozen=True)
class Method:
    """How the numbers came about: parts of the split in words, draws and confidence, and of which data, code and features."""

    split: Literal["temporal", "stratified", "grouped"]
    validation: str
    test: str
    repeats: int
    confidence: float
    calibration: str
    data_revision: str
    code_revision: str
    feature_service: str


def report(
    project: Project,
    evaluation: Evaluation,
    findings: Findings,
    figures: Figures,
    explained: Reasons,
    method: Method,
    over_baseline: Difference | None,
) -> str:
    """Write the page; it needs nothing from anywhere else."""
    best = evaluation.results[0]
    sections = [
        _head(project, evaluation, findings, over_baseline),
        _candidates(evaluation, method),
        curves.order(figures, best),
        curves.probabilities(figures, best, project.problem),
        decisions.decisions(findings, best),
        decisions.earnings(findings.money),
        groups.groups(findings, evaluation.primary, best),
        groups.fairness(findings.fairness),
        groups.worst(findings),
        reasons.reasons(explained, project.problem),
        _method(method, findings),
    ]
    return html.page(f"Evaluation of {project.name}", sections)


def _head(project: Project, evaluation: Evaluation, findings: Findings, over: Difference | None) -> str:
    best, primary = evaluation.results[0], evaluation.primary
    cards = []
    if primary in best.test:
        interval = html.between(best.test_lower.get(primary, math.nan), best.test_upper.get(primary, math.nan))
        cards.append(html.card(html.number(best.test[primary]), f"{primary} on the test rows ({interval})"))
    if over is not None:
        words = f"{primary} over the baseline {escape(evaluation.baseline)} ({html.between(over.lower, over.upper)})"
        cards.append(html.card(html.signed(over.difference), words))
    cards.append(html.card(f"{findings.rows:,}", f"test rows of {findings.entities:,} entities"))
    if findings.money is not None:
        currency = escape(findings.money.currency)
        cards.append(
            html.card(f"{html.number(findings.money.at_threshold.value)} {currency}", "earned for each 1,000 decisions")
        )
    return (
        f"<header>\n<h1>{escape(project.statement)}</h1>\n<p class='soft'>{escape(project.name)}"
        f"{': ' + escape(project.target_outcome) if project.target_outcome else ''}</p>\n"
        f"<p>{_verdict(evaluation, over)}</p>\n<div class='cards'>{''.join(cards)}</div>\n</header>"
    )


def _verdict(evaluation: Evaluation, over: Difference | None) -> str:
    best, primary = evaluation.results[0], evaluation.primary
    chosen = (
        f"Of {len(evaluation.results)} candidates <b>{escape(best.candidate)}</b> was the best on the validation rows by "
        f"{primary}. "
    )
    if over is None or not math.isfinite(over.lower):
        return chosen
    worse, better = (
        (over.upper < 0, over.lower > 0) if primary not in LOWER_IS_BETTER else (over.lower > 0, over.upper < 0)
    )
    baseline = escape(evaluation.baseline)
    if better:
        return chosen + f"On the test rows it is surely better than the baseline {baseline}."
    if worse:
        return chosen + f"On the test rows it is surely <b>worse</b> than the baseline {baseline}: do not release it."
    return chosen + f"On the test rows it cannot be told apart from the baseline {baseline}: the simpler one will do."


def _candidates(evaluation: Evaluation, method: Method) -> str:
    metrics = list(dict.fromkeys(metric for result in evaluation.results for metric in result.test))
    rows = [
        [escape(result.candidate), *(_measured(result, metric) for metric in metrics)] for result in evaluation.results
    ]
    words = html.table(["metric", "says"], [[metric, MEANINGS[metric]] for metric in metrics], words=2)
    return html.section(
        "Candidates on the test rows",
        f"<p>Under each number stands its {method.confidence:.0%} interval: where it would lie with other entities of the "
        "same kind. Candidates stand in the order of the validation rows, so the test rows had no say in it.</p>",
        html.table(["candidate", *metrics], rows, best=0),
        f"<h3>What the metrics say</h3>{words}",
    )


def _measured(result: CandidateResult, metric: str) -> str:
    if metric not in result.test:
        return "&ndash;"
    lower, upper = (bounds.get(metric, math.nan) for bounds in (result.test_lower, result.test_upper))
    return f"{html.number(result.test[metric])}<small>{html.between(lower, upper)}</small>"


def _method(method: Method, findings: Findings) -> str:
    return html.section(
        "How this was measured",
        f"<p>Validation rows are as of {escape(method.validation)}; they chose among candidates, the threshold and the "
        f"calibration ({escape(method.calibration)}). Test rows are as of {escape(method.test)}: {_SPLITS[method.split]}; no "
        f"choice touched them. Intervals are quantiles over {method.repeats:,} draws of the {findings.entities:,} test "
        f"entities, each with all of its rows, at {method.confidence:.0%} confidence (bootstrap by cluster, widened for few "
        "entities). With fewer than 30 entities there is none.</p>",
        html.table(
            ["of", "is"],
            [
                ["data", f"<code>{escape(method.data_revision)}</code>"],
                ["code", f"<code>{escape(method.code_revision)}</code>"],
                ["features", f"the service <code>{escape(method.feature_service)}</code>"],
            ],
            words=2,
        ),
        "<p class='soft'>A release that is made of this training set has the same data: <code>panthera releases</code> lists "
        "them, and <code>panthera release show</code> tells where one came from and whom it answered.</p>",
    )
