"""The HTML report of an evaluation: one page with tables, figures and their explanation."""

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
    from core.prediction_interval import PredictionInterval
    from models.evaluation.evaluation import CandidateResult, Evaluation
    from models.evaluation.findings import Findings
    from models.measures.intervals import Difference
    from models.reports.curves import Figures
    from models.reports.reasons import Reasons

#: The meaning of each metric, for readers who act on it.
MEANINGS: Mapping[str, str] = {
    "roc_auc": "probability that a positive scores higher than a negative; 0.5 is guessing",
    "pr_auc": "mean precision over all thresholds; guessing gives the rate of positives",
    "log_loss": "mean negative log-probability of the label; lower is better",
    "brier": "mean squared difference between probability and label; lower is better",
    "ece": "mean absolute difference between probabilities and observed rates; lower is better",
    "lift": "rate of positives among the highest scores, divided by the rate among all",
    "gain": "share of all positives that are among the highest scores",
    "precision": "share of positives among the rows decided as positive",
    "recall": "share of the positives that are decided as positive",
    "f1": "harmonic mean of precision and recall",
    "accuracy": "share of correct decisions",
    "balanced_accuracy": "mean over the classes of the share of correct decisions",
    "profit": "profit per 1,000 decisions",
    "rmse": "root of the mean squared error; lower is better",
    "mae": "mean absolute error; lower is better",
    "r2": "share of the variance that is explained",
    "pinball": "loss of a predicted quantile; lower is better",
    "poisson_deviance": "mean deviance of counts from their predicted means; lower is better",
    "d2_poisson": "share of the deviance of counts that is explained",
    "coverage": "share of the labels inside their prediction intervals; the nominal share is the plan's",
    "interval_score": "mean width of the prediction intervals, plus a penalty for labels outside; lower is better",
    "quadratic_kappa": "agreement of decisions and ordered classes beyond chance, by squared distance; 1 is perfect",
    "ordinal_mae": "mean distance between the decided class and the label in the order of classes; lower is better",
}


#: How the test rows relate to the rows that candidates were fitted and selected on, with times and without.
_SPLITS = {
    "temporal": "later than all rows that candidates were fitted and selected on",
    "stratified": "a random sample of the same period, with entities in several parts; the results do not hold for later rows",
    "random": "a random sample of the same period, with entities in several parts; the results do not hold for later rows",
    "grouped": "a random sample of other {units} in the same period; the results do not hold for later rows",
}
_SPLITS_WITHOUT_TIME = {
    "stratified": "a random sample of the rows, one for each entity",
    "random": "a random sample of the rows, one for each entity",
    "grouped": "a random sample of the {units}",
}


@dataclass(frozen=True)
class Method:
    """How the metrics were computed: parts of the split as text, bootstrap settings, and revisions of data and code.

    Attributes
    ----------
    split_by : `view.feature` whose groups the split and the bootstrap keep together; None if those are the entities.
    has_time : whether the rows have as-of instants.
    weight : `view.feature` with the weight of each row; None if all count alike.

    """

    split: Literal["temporal", "stratified", "grouped", "random"]
    validation: str
    test: str
    repeats: int
    confidence: float
    calibration: str
    data_revision: str
    code_revision: str
    feature_service: str
    split_by: str | None = None
    has_time: bool = True
    weight: str | None = None

    @property
    def units(self) -> str:
        """The units that are split and resampled."""
        return f"groups of {self.split_by}" if self.split_by else "entities"

    @property
    def weighting(self) -> str:
        """How rows are weighted, as a sentence; empty if all count alike."""
        if self.weight is None:
            return ""
        return (
            f" Each row counts by its weight, {escape(self.weight)}, in fitting and in all metrics; numbers of rows, curves "
            "and rates of decisions do not use weights."
        )

    @property
    def sample(self) -> str:
        """How the test rows relate to the others."""
        words = _SPLITS if self.has_time else _SPLITS_WITHOUT_TIME
        return escape(words[self.split].format(units=self.units))


def report(
    project: Project,
    evaluation: Evaluation,
    findings: Findings,
    figures: Figures,
    explained: Reasons,
    method: Method,
    over_baseline: Difference | None,
) -> str:
    """Compose the HTML page, without external resources."""
    best = evaluation.results[0]
    sections = [
        _head(project, evaluation, findings, method, over_baseline),
        _candidates(evaluation, method),
        curves.order_section(figures, best),
        curves.calibration_section(figures, best, project.problem),
        decisions.decisions_section(findings, best),
        decisions.profit_section(findings.money),
        groups.groups_section(findings, evaluation.primary, best),
        groups.fairness_section(findings.fairness),
        groups.slices_section(findings),
        reasons.reasons_section(explained, project.problem),
        _method(method, findings, best.interval),
    ]
    return html.page(f"Evaluation of {project.name}", sections)


def _head(project: Project, evaluation: Evaluation, findings: Findings, method: Method, over: Difference | None) -> str:
    best, primary = evaluation.results[0], evaluation.primary
    cards = []
    if primary in best.test:
        interval = html.between(best.test_lower.get(primary, math.nan), best.test_upper.get(primary, math.nan))
        cards.append(html.card(html.number(best.test[primary]), f"{primary} on the test rows ({interval})"))
    if over is not None:
        words = f"{primary} minus the baseline {escape(evaluation.baseline)} ({html.between(over.lower, over.upper)})"
        cards.append(html.card(html.signed(over.difference), words))
    cards.append(html.card(f"{findings.rows:,}", f"test rows of {findings.entities:,} {escape(method.units)}"))
    if findings.money is not None:
        currency = escape(findings.money.currency)
        cards.append(
            html.card(f"{html.number(findings.money.at_threshold.value)} {currency}", "profit per 1,000 decisions")
        )
    return (
        f"<header>\n<h1>{escape(project.statement)}</h1>\n<p class='soft'>{escape(project.name)}"
        f"{': ' + escape(project.target_outcome) if project.target_outcome else ''}</p>\n"
        f"<p>{_verdict(evaluation, over)}</p>\n<div class='cards'>{''.join(cards)}</div>\n</header>"
    )


def _verdict(evaluation: Evaluation, over: Difference | None) -> str:
    best, primary = evaluation.results[0], evaluation.primary
    chosen = (
        f"Of {len(evaluation.results)} candidates <b>{escape(best.candidate)}</b> is the best on the validation rows by "
        f"{primary}. "
    )
    if over is None or not math.isfinite(over.lower):
        return chosen
    worse, better = (
        (over.upper < 0, over.lower > 0) if primary not in LOWER_IS_BETTER else (over.lower > 0, over.upper < 0)
    )
    baseline = escape(evaluation.baseline)
    if better:
        return chosen + f"On the test rows it is significantly better than the baseline {baseline}."
    if worse:
        return (
            chosen
            + f"On the test rows it is significantly <b>worse</b> than the baseline {baseline}: do not release it."
        )
    return (
        chosen
        + f"On the test rows it does not differ significantly from the baseline {baseline}: prefer the simpler one."
    )


def _candidates(evaluation: Evaluation, method: Method) -> str:
    metrics = list(dict.fromkeys(metric for result in evaluation.results for metric in result.test))
    rows = [
        [escape(result.candidate), *(_measured(result, metric) for metric in metrics)] for result in evaluation.results
    ]
    words = html.table(["metric", "meaning"], [[metric, MEANINGS[metric]] for metric in metrics], words=2)
    return html.section(
        "Candidates on the test rows",
        f"<p>Below each number is its {method.confidence:.0%} interval, by resampling {escape(method.units)}. Candidates are "
        "ordered by their results on the validation rows; the test rows do not influence the order.</p>",
        html.table(["candidate", *metrics], rows, best=0),
        f"<h3>Meaning of the metrics</h3>{words}",
    )


def _measured(result: CandidateResult, metric: str) -> str:
    if metric not in result.test:
        return "&ndash;"
    lower, upper = (bounds.get(metric, math.nan) for bounds in (result.test_lower, result.test_upper))
    return f"{html.number(result.test[metric])}<small>{html.between(lower, upper)}</small>"


def _interval_sentence(interval: PredictionInterval | None) -> str:
    if interval is None:
        return ""
    return (
        f" The interval of a prediction is meant to hold {interval.coverage:.0%} of the labels. It reaches from "
        f"{html.signed(interval.lower)} to {html.signed(interval.upper)} around the predicted number, by the errors on the "
        "validation rows (split conformal prediction)."
    )


def _method(method: Method, findings: Findings, interval: PredictionInterval | None) -> str:
    return html.section(
        "How this was measured",
        f"<p>The validation part has {escape(method.validation)}; they select the candidate, the threshold and the "
        f"calibration ({escape(method.calibration)}). The test part has {escape(method.test)}: {method.sample}; "
        f"they select nothing. Intervals are bootstrap quantiles over {method.repeats:,} draws of the {findings.entities:,} "
        f"test {escape(method.units)}, each with all of its rows, at {method.confidence:.0%} confidence (cluster bootstrap, "
        f"widened for few {escape(method.units)}). With fewer than 30 there is no interval."
        f"{method.weighting}{_interval_sentence(interval)}</p>",
        html.table(
            ["input", "revision"],
            [
                ["data", f"<code>{escape(method.data_revision)}</code>"],
                ["code", f"<code>{escape(method.code_revision)}</code>"],
                ["features", f"feature service <code>{escape(method.feature_service)}</code>"],
            ],
            words=2,
        ),
        "<p class='soft'>Releases from this training set have the same data revision: <code>panthera releases</code> lists "
        "them, and <code>panthera release show</code> shows the origin of one and the predictions it made.</p>",
    )
