"""The report stands alone, says what the numbers are, and escapes what the data says."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from core.contracts import ContractFeature
from core.plan.plan import Project
from models.evaluate import analyse_best, figures_of, over_baseline, plot_files, reasons_of
from models.evaluation.evaluation import Evaluation
from models.evaluation.measure_candidates import evaluate
from models.measures.metrics import _FACTORIES
from models.reports.page import MEANINGS, Method, report
from tests.models.evaluation.test_measure_candidates import MODELS, TEST, VALIDATION, section

if TYPE_CHECKING:
    from core.plan.evaluate import Evaluate

FEATURES = tuple(ContractFeature("v", name, "float64") for name in ("one", "sure", "none"))
PROJECT = Project(name="a-project", problem="binary", statement="Who <leaves> & why?")
METHOD = Method(
    "temporal", "2024-01-01 (600 rows)", "2024-02-01 (600 rows)", 500, 0.95, "none", "md5:abc", "git:def", "all_of_it"
)
_MONEY = {"currency": "EUR", "kept_value": 100, "offer_cost": 10, "acceptance": 0.3}


def table(rows: int = 600) -> pa.Table:
    matrix = TEST.rows.inputs.matrix[:rows]
    columns = {feature.column: matrix[:, place] for place, feature in enumerate(FEATURES)}
    return pa.table({**columns, "v__kind": [["<b>old</b>", "new"][place % 2] for place in range(rows)]})


def settings(**more: Any) -> Evaluate:
    return section(
        metrics=["roc_auc", "log_loss", "ece", "recall", "profit"],
        threshold={"maximise": "profit"},
        money=_MONEY,
        groups={"kind": {"feature": "v.kind"}},
        fairness={"groups": ["kind"]},
        worst_slices={"minimum_entities": 30},
        intervals={"repeats": 100},
        baseline="nothing",
        **more,
    )


@pytest.fixture(scope="module")
def written() -> tuple[str, dict[str, str]]:
    """Write the page and the curves of three candidates over 600 rows."""
    section = settings()
    judged = evaluate(section, "binary", MODELS, VALIDATION, TEST, 7)
    evaluation = Evaluation("roc_auc", "nothing", tuple(one.result for one in judged))
    findings = analyse_best(section, judged[0], VALIDATION, TEST, table(), FEATURES, 7)
    figures = figures_of("binary", judged)
    reasons = reasons_of(MODELS[findings.candidate], "binary", FEATURES, table(100), table(100), 7)
    over = over_baseline(section, judged, 7)
    return report(PROJECT, evaluation, findings, figures, reasons, METHOD, over), plot_files(figures, findings)


class _Seen(HTMLParser):
    """Collects headings, and checks that every element that opens is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def test_the_page_is_whole_and_has_a_section_for_each_question(written: tuple[str, dict[str, str]]) -> None:
    seen = _Seen()
    seen.feed(written[0])
    assert seen.open == []
    assert seen.headings == [
        "Candidates on the test rows",
        "Ranking",
        "Calibration of the probabilities",
        "Decisions at the threshold",
        "Profit",
        "By group",
        "Fairness of decisions",
        "Slices with the highest loss",
        "Feature contributions",
        "How this was measured",
    ]


def test_the_page_asks_the_network_for_nothing(written: tuple[str, dict[str, str]]) -> None:
    page = written[0]
    assert set(re.findall(r"https?://[^\"' <>]*", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"<(script|link|img|iframe)|@import|src=|url\((?!#)", page)


def test_what_the_plan_and_the_data_say_is_escaped(written: tuple[str, dict[str, str]]) -> None:
    page = written[0]
    assert "Who &lt;leaves&gt; &amp; why?" in page
    assert "<b>old</b>" not in page
    assert "kind: &lt;b&gt;old&lt;/b&gt;" in page


def test_the_page_says_what_was_found_and_of_what(written: tuple[str, dict[str, str]]) -> None:
    page = written[0]
    assert "Of 3 candidates <b>one</b> is the best" in page
    assert "On the test rows it is significantly better than the baseline nothing." in page
    assert all(identity in page for identity in ("md5:abc", "git:def", "all_of_it"))
    assert all(policy in page for policy in ("contact at the threshold", "contact all", "contact none"))


def test_the_page_is_light_or_dark_as_its_reader_is_and_so_are_its_figures(written: tuple[str, dict[str, str]]) -> None:
    page = written[0]
    assert "prefers-color-scheme:dark" in page
    for drawn in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert "#000000" not in drawn
        assert "var(--ink)" in drawn


def test_a_curve_that_the_problem_does_not_have_is_a_head_alone(written: tuple[str, dict[str, str]]) -> None:
    section = settings()
    judged = evaluate(section, "binary", MODELS, VALIDATION, TEST, 7)
    findings = analyse_best(section, judged[0], VALIDATION, TEST, table(), FEATURES, 7)
    files = plot_files(figures_of("regression", judged), replace(findings, money=None))
    assert files.keys() == written[1].keys()
    assert files["profit.csv"] == "share_approached,profit_per_1000\n"
    assert files["roc.csv"] == "false_positive_rate,true_positive_rate\n"
    assert files["calibration.csv"] == written[1]["calibration.csv"]


def test_every_metric_has_its_meaning_in_words() -> None:
    assert set(MEANINGS) == {metric for factories in _FACTORIES.values() for metric in factories}
