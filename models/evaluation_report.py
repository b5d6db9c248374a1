"""The report of an evaluation: one page that holds its figures and says in words what the numbers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from models import pages, plots
from models.metrics import LOWER_IS_BETTER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from core.plan import Project
    from core.plan_evaluation import Metric
    from models.evaluation import CandidateResult, Evaluation
    from models.explanations import Explanation
    from models.fairness import Fairness
    from models.findings import Findings
    from models.intervals import Difference
    from models.money import MoneyResult

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


@dataclass(frozen=True)
class Figures:
    """The curves of the candidates on the test rows, the best first; those that the problem does not have are None."""

    calibration: Mapping[str, NDArray[np.float64]]
    roc: Mapping[str, NDArray[np.float64]] | None = None
    precision_recall: Mapping[str, NDArray[np.float64]] | None = None
    gains: Mapping[str, NDArray[np.float64]] | None = None


@dataclass(frozen=True)
class Reasons:
    """Why the best candidate says what it says: (feature, mean absolute contribution), and some predictions explained."""

    importance: Sequence[tuple[str, float]]
    rows: int
    examples: Sequence[tuple[str, Explanation]]


@dataclass(frozen=True)
class Method:
    """How the numbers came about: parts of the split in words, draws and confidence, and of which data, code and features."""

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
    reasons: Reasons,
    method: Method,
    over_baseline: Difference | None,
) -> str:
    """Write the page; it needs nothing from anywhere else."""
    best = evaluation.results[0]
    sections = [
        _head(project, evaluation, findings, over_baseline),
        _candidates(evaluation, method),
        _order(figures, best),
        _probabilities(figures, best, project.problem),
        _decisions(findings, best),
        _money(findings.money),
        _groups(findings, evaluation.primary, best),
        _fairness(findings.fairness),
        _worst(findings),
        _reasons(reasons, project.problem),
        _method(method, findings),
    ]
    return pages.page(f"Evaluation of {project.name}", sections)


def _head(project: Project, evaluation: Evaluation, findings: Findings, over: Difference | None) -> str:
    best, primary = evaluation.results[0], evaluation.primary
    cards = []
    if primary in best.test:
        interval = pages.between(best.test_lower.get(primary, math.nan), best.test_upper.get(primary, math.nan))
        cards.append(pages.card(pages.number(best.test[primary]), f"{primary} on the test rows ({interval})"))
    if over is not None:
        words = f"{primary} over the baseline {escape(evaluation.baseline)} ({pages.between(over.lower, over.upper)})"
        cards.append(pages.card(pages.signed(over.difference), words))
    cards.append(pages.card(f"{findings.rows:,}", f"test rows of {findings.entities:,} entities"))
    if findings.money is not None:
        currency = escape(findings.money.currency)
        cards.append(
            pages.card(
                f"{pages.number(findings.money.at_threshold.value)} {currency}", "earned for each 1,000 decisions"
            )
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
        return chosen + f"On later rows it is surely better than the baseline {baseline}."
    if worse:
        return chosen + f"On later rows it is surely <b>worse</b> than the baseline {baseline}: do not release it."
    return chosen + f"On later rows it cannot be told apart from the baseline {baseline}: the simpler one will do."


def _candidates(evaluation: Evaluation, method: Method) -> str:
    metrics = list(dict.fromkeys(metric for result in evaluation.results for metric in result.test))
    rows = [
        [escape(result.candidate), *(_measured(result, metric) for metric in metrics)] for result in evaluation.results
    ]
    words = pages.table(["metric", "says"], [[metric, MEANINGS[metric]] for metric in metrics], words=2)
    return pages.section(
        "Candidates on the test rows",
        f"<p>Under each number stands its {method.confidence:.0%} interval: where it would lie with other entities of the "
        "same kind. Candidates stand in the order of the validation rows, so the test rows had no say in it.</p>",
        pages.table(["candidate", *metrics], rows, best=0),
        f"<h3>What the metrics say</h3>{words}",
    )


def _measured(result: CandidateResult, metric: str) -> str:
    if metric not in result.test:
        return "&ndash;"
    lower, upper = (bounds.get(metric, math.nan) for bounds in (result.test_lower, result.test_upper))
    return f"{pages.number(result.test[metric])}<small>{pages.between(lower, upper)}</small>"


def _order(figures: Figures, best: CandidateResult) -> str:
    if figures.roc is None or figures.precision_recall is None or figures.gains is None:
        return ""
    roc = plots.curves(figures.roc, ("false positive rate", "true positive rate"), diagonal=True)
    gains = plots.curves(
        figures.gains, ("share of rows, highest scores first", "share of positives found"), diagonal=True
    )
    recall = plots.curves(figures.precision_recall, ("recall", "precision"))
    tenth = _at(figures.gains[best.candidate], 0.1)
    return pages.section(
        "Who comes first",
        f"<p>The {pages.share(0.1)} of rows with the highest scores hold {pages.share(tenth)} of all positives.</p>",
        '<div class="row">',
        pages.figure(roc, "ROC: positives found against negatives taken along. Guessing is the dashed line."),
        pages.figure(gains, "Gains: positives found against rows taken. Guessing is the dashed line."),
        pages.figure(recall, "Precision against recall: how many of those taken are positives, as more are found."),
        "</div>",
    )


def _at(points: NDArray[np.float64], share: float) -> float:
    import numpy as np

    return float(np.interp(share, *points.T))


def _probabilities(figures: Figures, best: CandidateResult, problem: str) -> str:
    plain = problem == "regression"
    labels = ("mean prediction", "mean label") if plain else ("mean score", "observed rate")
    drawn = plots.curves(figures.calibration, labels, diagonal=True, marks=True, ranges=False)
    said = "numbers" if plain else "probabilities"
    words = f"<p>Where points lie on the dashed line the {said} can be taken at their word; below it too much is said. "
    if "ece" in best.test:
        words += (
            f"The {said} of {escape(best.candidate)} are off by {pages.share(best.test['ece'])} on average (chance "
            "alone gives a little more than 0; the interval leaves that out, and may lie below). "
        )
    curve = best.calibration.kind
    words += (
        "No calibration was fitted.</p>"
        if curve == "none"
        else f"A calibration ({curve}), fitted on the validation rows, is part of what is measured and served.</p>"
    )
    return pages.section(
        "Can the numbers be believed" if plain else "Can the probabilities be believed",
        words,
        pages.figure(drawn, "Each point is a fifteenth of the test rows, ordered by score."),
    )


def _decisions(findings: Findings, best: CandidateResult) -> str:
    if len(findings.confusion) != 2:  # noqa: PLR2004 - two classes
        return _many_classes(findings)
    (right_no, wrong_yes), (wrong_no, right_yes) = findings.confusion
    chosen = right_yes + wrong_yes
    table = pages.table(
        ["", "decided 1", "decided 0"],
        [["label 1", f"{right_yes:,}", f"{wrong_no:,}"], ["label 0", f"{wrong_yes:,}", f"{right_no:,}"]],
    )
    precision = right_yes / chosen if chosen else math.nan
    recall = right_yes / (right_yes + wrong_no) if right_yes + wrong_no else math.nan
    return pages.section(
        "Decisions at the threshold",
        f"<p>A score of {pages.number(best.threshold)} and more is decided as 1: {chosen:,} of {findings.rows:,} rows "
        f"({pages.share(chosen / findings.rows)}). {pages.share(precision)} of those were right, and "
        f"{pages.share(recall)} of the rows with label 1 are among them.</p>",
        table,
    )


def _many_classes(findings: Findings) -> str:
    if not findings.confusion:
        return ""
    head = ["label", *(f"decided {place}" for place in range(len(findings.confusion)))]
    rows = [[str(place), *(f"{count:,}" for count in line)] for place, line in enumerate(findings.confusion)]
    return pages.section(
        "Decisions", "<p>The likeliest class is decided; classes by their codes.</p>", pages.table(head, rows)
    )


def _money(money: MoneyResult | None) -> str:
    if money is None:
        return ""
    unit = escape(money.currency)
    rows = [
        ["the threshold in force", pages.share(money.share), pages.estimate(money.at_threshold)],
        ["approach everybody", pages.share(1), pages.estimate(money.treat_all)],
        ["approach nobody", pages.share(0), pages.estimate(money.treat_none)],
    ]
    over = money.over_treating_all
    surely = "surely " if over.lower > 0 or over.upper < 0 else ""
    return pages.section(
        "What it earns",
        f"<p>At the threshold in force, {pages.number(money.threshold)}, each 1,000 decisions earn "
        f"{pages.number(money.at_threshold.value)} {unit}: {surely}{pages.number(abs(over.value))} {unit} "
        f"{'more' if over.value >= 0 else 'less'} than approaching everybody ({pages.between(over.lower, over.upper)}). "
        f"The validation rows earned most at {pages.number(money.best.value)}, and do not show any threshold from "
        f"{pages.number(money.best.lower)} to {pages.number(money.best.upper)} to earn less. With true probabilities "
        f"an offer pays from {pages.number(money.break_even)} on.</p>",
        pages.figure(plots.profit(money), "Profit on the test rows; the band is the interval of each point."),
        pages.table(["policy", "approached", f"profit per 1,000 ({unit})"], rows),
        '<p class="soft">The same acceptance is assumed of everybody who would be lost. Who is likeliest to leave need not be '
        "whom an offer moves most; a randomised offer would tell.</p>",
    )


def _groups(findings: Findings, primary: Metric, best: CandidateResult) -> str:
    if not findings.parts:
        return ""
    known = [part for part in findings.parts if primary in part.measured]
    metrics = list(dict.fromkeys(metric for part in findings.parts for metric in part.measured))
    shown = [primary, *(metric for metric in metrics if metric != primary)][:5]
    rows = [
        [
            f"{escape(part.group)}: {escape(part.part)}",
            f"{part.rows:,}<small>{part.entities:,} entities</small>",
            pages.number(part.label_mean),
            pages.number(part.score_mean),
            *(pages.estimate(part.measured[metric]) if metric in part.measured else "&ndash;" for metric in shown),
        ]
        for part in findings.parts
    ]
    drawn = ""
    if known and primary in best.test:
        names = [f"{part.group}: {part.part}" for part in known]
        svg = plots.estimates(names, [part.measured[primary] for part in known], primary, best.test[primary])
        drawn = pages.figure(svg, f"{primary} by group, with intervals; the dashed line is that of all test rows.")
    return pages.section(
        "By group",
        "<p>Within a group the order is often harder than over all rows, for what parts the groups also parts the "
        "labels. Where the mean score lies far from the mean label, the model is wrong about the group as a whole.</p>",
        drawn,
        pages.table(["group", "rows", "mean label", "mean score", *shown], rows),
    )


def _fairness(found: Sequence[Fairness]) -> str:
    if not found:
        return ""
    return pages.section(
        "Do decisions fall alike",
        "<p>Selection is the share that is decided as 1. The true positive rate is that share among rows with label 1, the "
        "false positive rate among rows with label 0. Groups whose labels differ cannot have all three alike.</p>",
        *map(_one_fairness, found),
    )


def _one_fairness(found: Fairness) -> str:
    rates = ("selection_rate", "true_positive_rate", "false_positive_rate")
    names = [rate.replace("_", " ") for rate in rates]
    rows = [
        [
            escape(part.part),
            f"{part.rows:,}<small>{part.entities:,} entities</small>",
            *(pages.estimate(part.rates[rate]) for rate in rates),
        ]
        for part in found.parts
    ]
    apart = [
        [escape(part.part), "", *(pages.estimate(part.from_reference[rate]) for rate in rates)]
        for part in found.parts
        if part.from_reference is not None
    ]
    gaps = [["largest gap", "", *(pages.estimate(found.gaps[rate]) for rate in rates)]]
    return (
        f"<h3>{escape(found.group)}</h3>"
        + pages.table(["part", "rows", *names], rows)
        + f"<h3>Less the rate of {escape(found.reference)}</h3>"
        + pages.table(["part", "", *names], [*apart, *gaps])
    )


def _worst(findings: Findings) -> str:
    intro = (
        "<p>Every feature was cut into a few bins, and all bins and pairs of bins were searched on the validation rows for the "
        "highest loss. These are the suspects on the test rows, which the search did not see; p is the chance of a loss that "
        "much above the rest if the slice were like it, corrected for the number of suspects. A high loss can be "
        "uncertainty that nobody can remove, or, where mean score and mean label differ, a fault of the model.</p>"
    )
    if not findings.worst_slices:
        return pages.section("Where it does worst", intro, "<p>The search suspected nothing.</p>")
    rows = [
        [
            escape(one.name),
            f"{one.rows:,}<small>{one.entities:,} entities</small>",
            f"{pages.number(one.loss)}<small>elsewhere {pages.number(one.loss_elsewhere)}</small>",
            pages.number(one.label_mean),
            pages.number(one.score_mean),
            "&ndash;" if math.isnan(one.p_value) else "&lt; 0.001" if one.p_value < 0.001 else f"{one.p_value:.3f}",  # noqa: PLR2004
        ]
        for one in findings.worst_slices
    ]
    return pages.section(
        "Where it does worst", intro, pages.table(["slice", "rows", "loss", "mean label", "mean score", "p"], rows)
    )


_STRONGEST = 15
_SHOWN = 6


def _reasons(reasons: Reasons, problem: str) -> str:
    if not reasons.importance:
        return ""
    scale = "predicted number" if problem == "regression" else "log-odds" if problem == "binary" else "log-probability"
    top = list(reasons.importance)[:_STRONGEST]
    svg = plots.bars([name for name, _ in top], [value for _, value in top], f"mean absolute contribution ({scale})")
    left = len(reasons.importance) - len(top)
    caption = f"Mean absolute SHAP value over {reasons.rows:,} test rows" + (
        f"; {left} weaker features left out." if left else "."
    )
    examples = "".join(_example(title, one) for title, one in reasons.examples)
    return pages.section(
        "Why it says so",
        f"<p>What each feature adds to the raw score ({scale}, before calibration). The contributions of a prediction and the "
        "base sum to its raw score. They say what the model uses, not what would happen if the feature were changed.</p>",
        pages.figure(svg, caption),
        f'<div class="row">{examples}</div>',
    )


def _example(title: str, one: Explanation) -> str:
    shown = one.contributions[:_SHOWN]
    rest = sum(contribution.adds for contribution in one.contributions[_SHOWN:])
    widest = max((abs(contribution.adds) for contribution in shown), default=1.0) or 1.0
    rows = [
        [
            f"{escape(contribution.feature)}<small>{escape(pages.shown(contribution.value))}</small>",
            pages.signed(contribution.adds),
            pages.bar(contribution.adds / widest),
        ]
        for contribution in shown
    ]
    rows += [
        ["all others", pages.signed(rest), ""],
        ["base", pages.signed(one.base), ""],
        ["<b>raw score</b>", f"<b>{pages.signed(one.raw_score)}</b>", ""],
    ]
    return f"<div><h3>{escape(title)}</h3>{pages.table(['feature', 'adds', ''], rows)}</div>"


def _method(method: Method, findings: Findings) -> str:
    return pages.section(
        "How this was measured",
        f"<p>Validation rows are as of {escape(method.validation)}; they chose among candidates, the threshold and the "
        f"calibration ({escape(method.calibration)}). Test rows are as of {escape(method.test)}: later, and untouched by any "
        f"choice. Intervals are quantiles over {method.repeats:,} draws of the {findings.entities:,} test entities, each with "
        f"all of its rows, at {method.confidence:.0%} confidence (bootstrap by cluster, widened for few entities). With "
        "fewer than 30 entities there is none.</p>",
        pages.table(
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
