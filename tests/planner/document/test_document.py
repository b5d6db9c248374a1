"""The document of a plan has the whole plan, says what each sentence is based on, and shows any text as text."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PlanError
from core.plan.text import parse_sections
from models.evaluation.evaluation import CandidateResult, Evaluation
from panthera.cli import main
from planner.document.document import document_of
from planner.document.markdown import markdown, plan_text
from planner.document.page import document_page
from planner.document.parts import Row, Statement, Table
from planner.document.results import Results, read_results

if TYPE_CHECKING:
    from planner.document.parts import Basis, Document

ROOT = Path(__file__).parents[3]
PLANS = [ROOT / "params.yaml", *ROOT.glob("worlds/public/*.yaml"), ROOT / "worlds/subscription/plan.yaml"]
PLANS += ROOT.glob("tests/e2e/*.yaml")
TEXT = (ROOT / "params.yaml").read_text()


def document(text: str, results: Results | None = None) -> Document:
    return document_of(parse_sections(text), text, results or Results())


def basis_of(found: Document, start: str) -> Basis:
    parts = [part for chapter in found.chapters for part in chapter.parts]
    (basis,) = [part.basis for part in parts if isinstance(part, Statement) and part.text.startswith(start)]
    return basis


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_document_has_the_whole_plan_and_no_empty_chapter(path: Path) -> None:
    text = path.read_text()
    found = document(text)
    assert plan_text(markdown(found)) == text
    assert [chapter.title for chapter in found.chapters if not chapter.parts] == []
    assert len(document_page(found)) < 300_000


def test_findings_of_a_check_are_among_the_risks() -> None:
    finding = {
        "level": "warn",
        "path": "ingest.a",
        "found": "3 rows without a key",
        "expected": "a key",
        "next": "add it",
    }
    (chapter,) = [
        one for one in document(TEXT, Results(checks={"findings": [finding]})).chapters if one.title == "Risks"
    ]
    assert isinstance(chapter.parts[-1], Table)
    assert chapter.parts[-1].rows == (
        Row(("ingest.a", "warn", "3 rows without a key; expected: a key", "add it"), "measured"),
    )


def test_the_terms_of_the_experiment_are_part_of_what_is_watched() -> None:
    raw = yaml.safe_load(TEXT)
    raw["monitor"] |= {"decide": {"better": "lower"}, "experiment": {"minimum_effect": 0.01}}
    text = yaml.safe_dump(raw)
    assert basis_of(document(text), "The experiment is decided by 5 looks, and finds a difference of 0.01") == "stated"


@settings(deadline=None, max_examples=15)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])), st.text("`~|<>&#\n-_*[]() "))
def test_any_words_come_back_as_they_were(words: str, marks: str) -> None:
    raw = yaml.safe_load(TEXT)
    raw["project"] |= {"statement": f"a{words}", "scope": f"m{marks}"}
    text = yaml.safe_dump(raw)  # which escapes line ends that the plan's reader refuses
    again = plan_text(markdown(document(text)))
    assert parse_sections(again) == parse_sections(text)


def test_a_plan_with_fences_of_its_own_comes_back() -> None:
    text = TEXT + "# ```yaml\n# ````\n## The plan"
    assert plan_text(markdown(document(text))) == text + "\n"


def test_a_document_without_a_plan_is_refused() -> None:
    with pytest.raises(PlanError, match="render it again"):
        plan_text("# Project plan\n\nno plan\n")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(
            name in {"src", "onclick"} or (name == "href" and value and value[0] != "#") for name, value in attrs
        )

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_page_shows_any_text_as_text_and_asks_nothing_of_the_network() -> None:
    raw = yaml.safe_load(TEXT)
    raw["project"]["statement"] = '<script>alert(1)</script> & "quoted" \u202e'
    page = document_page(document(yaml.safe_dump(raw)))
    read = _Tags()
    read.feed(page)
    assert "script" not in read.tags
    assert '<script>alert(1)</script> & "quoted" \\u202e' in read.words
    assert page.count("<th ") == page.count('<th scope="col"')


@pytest.mark.parametrize("meaning", ["orders " * 20, "客户订单" * 40, "<\"&'>" * 40, "a" * 2100])
def test_a_page_of_many_features_stays_below_300_kb_and_says_what_it_leaves_out(meaning: str) -> None:
    raw = yaml.safe_load(TEXT)
    more = {f"f_{number}": {"sql": "count(*)", "dtype": "int64", "meaning": meaning} for number in range(1200)}
    raw["build_features"]["views"]["purchase_history"]["features"] |= more
    columns = {f"c_{number}": {"dtype": "string", "pii": "remove"} for number in range(1200)}
    raw["ingest"]["purchases"]["columns"] |= columns
    page = document_page(document(yaml.safe_dump(raw, allow_unicode=True)))
    assert len(page.encode()) < 300_000
    assert "more rows are in the plan" in page
    assert "lines are left out here" in page


def test_a_default_is_assumed_until_the_plan_states_it() -> None:
    assert basis_of(document(TEXT), "A row without a label fails") == "assumed"
    raw = yaml.safe_load(TEXT)
    raw["label"]["unlabelled"] = "leave_out"
    assert basis_of(document(yaml.safe_dump(raw)), "A row without a label is left out") == "stated"


def test_what_is_not_stated_is_a_question() -> None:
    raw = yaml.safe_load(TEXT)
    del raw["project"]["scope"]
    (asked,) = [chapter for chapter in document(yaml.safe_dump(raw)).chapters if chapter.title == "Open questions"]
    (table,) = asked.parts
    assert isinstance(table, Table)
    assert [row.cells[0] for row in table.rows] == ["project.scope"]


def test_the_last_run_is_measured(tmp_path: Path) -> None:
    best = CandidateResult("lightgbm", {"roc_auc": 0.8}, {"roc_auc": 0.75}, 0.5, {"roc_auc": 0.7}, {"roc_auc": 0.8})
    base = CandidateResult("recency", {"roc_auc": 0.6}, {"roc_auc": 0.55}, 0.5)
    (tmp_path / "evaluation.json").write_text(Evaluation("roc_auc", "recency", (best, base)).to_json())
    leaks = {"alone": [{"feature": "a.b", "reached": 0.625}, {"feature": "a.c", "reached": 0.5}]}
    (tmp_path / "leakage.json").write_text(json.dumps(leaks))
    written = markdown(document(TEXT, read_results(tmp_path)))
    assert "| lightgbm | 0.7500 (0.7000 to 0.8000) | measured |" in written
    assert "a.b alone reaches 0.625" in written
    assert "roc_auc 0.7500 against 0.5500 on the test rows" in written


@pytest.mark.parametrize(
    ("option", "start"), [("--markdown", "# Project plan"), ("--html", "<!doctype html>"), ("--json", "{")]
)
def test_the_verb_writes_it_in_three_forms(
    option: str, start: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PANTHERA_PLAN", str(ROOT / "params.yaml"))
    monkeypatch.setattr(sys, "argv", ["panthera", "plan", "render", option, "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out.startswith(start)


def test_cards_have_the_chapters_of_the_document_about_the_data_and_about_the_model() -> None:
    measured = {"roc_auc": {"value": 0.75, "lower": 0.7, "upper": 0.8}, "lift": {"value": None}}
    part = {"group": "age", "part": "below 40", "rows": 1200, "measured": measured}
    found = Results(findings={"parts": [part]})
    whole, data, model = (
        document_of(parse_sections(TEXT), TEXT, found, kind=kind) for kind in ("plan", "data", "model")
    )
    titles = [{chapter.title for chapter in each.chapters} for each in (whole, data, model)]
    assert titles[1] < titles[0]
    assert titles[2] < titles[0]
    assert "Model selection" in titles[2] - titles[1]
    assert {"Results", "Groups", "Risks"} <= titles[2]
    assert [data.title, model.title] == ["Data card: cdnow-repeat-purchase", "Model card: cdnow-repeat-purchase"]
    (groups,) = [chapter.parts[0] for chapter in model.chapters if chapter.title == "Groups"]
    assert isinstance(groups, Table)
    assert groups.rows[0].cells == ("age: below 40", "1,200", "0.750 (0.700 to 0.800)", "")
