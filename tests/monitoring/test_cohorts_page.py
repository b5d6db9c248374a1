"""The page of a comparison: what it says and shows, in one small file without scripts and addresses."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.monitoring.experiments import START, TERMS, WEEK, days_of, read
from core.experiment.cohorts import ExperimentArms
from core.experiment.day_ends import decided
from core.experiment.metrics import MetricArms, judge_metrics
from core.experiment.money import money_result
from core.experiment.strata import compare
from monitoring.cohorts_page import cohorts_page, write_cohorts_page
from tests.core.experiment.test_metrics import CALLS, SPENT, summed
from tests.core.experiment.test_money import TERMS as MONEY

if TYPE_CHECKING:
    from pathlib import Path

    from core.experiment.cohorts import Comparison


def compared(effect: float = 0.03) -> Comparison:
    """Compare thirteen weeks of a simulated experiment with two guardrails, a secondary metric and money."""
    rng = np.random.default_rng(8)
    plain = read(days_of(rng, effect), START + 13 * WEEK, "score")
    arms = {name: MetricArms(1, summed(rng.normal(1, 1, 5_000)), summed(rng.normal(mean, 1, 5_000)))
            for name, mean in (("calls", 1.0), ("refunds", 1.15), ("spent", 1.2))}  # fmt: skip
    terms = {"calls": CALLS, "refunds": replace(CALLS, name="refunds"), "spent": SPENT}
    metrics = judge_metrics({terms[name]: [arms[name]] for name in terms}, {1}, 0.95)
    money = money_result(MONEY, [arms["spent"]], {1}, 0.95)
    return decided(replace(plain, metrics=metrics, money=money), TERMS)


def test_the_page_gives_the_verdict_with_its_reasons_and_figures(tmp_path: Path) -> None:
    comparison = compared()
    write_cohorts_page(comparison, tmp_path / "cohorts.html")
    page = (tmp_path / "cohorts.html").read_text()
    assert comparison.decision is not None
    assert comparison.decision.decision == "go on"
    assert "<h2>Verdict: go on</h2>" in page
    assert "but the guardrail refunds is not shown to hold yet" in page
    assert "adjusted by the covariate score (CUPED)" in page
    assert page.count("<svg") == 3
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', page)) == set(ids)
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings[1:] == [
        *("Arms", "The difference over time", "Looks", "Guardrails and secondary metrics", "Money"),
        *("Checks", "How to read this"),
    ]
    assert not re.findall(r"""<script|(?:src|href)=["']?(?:https?:)?//""", page)
    assert len(page) < 300_000


def test_the_page_of_an_experiment_without_units_or_terms_says_so() -> None:
    page = cohorts_page(compare(ExperimentArms("<b>trial</b>", START), {"champion": 1, "challenger": 1}, 0.95, 0.001))
    assert "&lt;b&gt;trial" in page
    assert "<h2>Verdict: withheld</h2>" in page
    assert "has 0 mature units with an outcome, 30 are needed" in page
    assert "<svg" not in page
