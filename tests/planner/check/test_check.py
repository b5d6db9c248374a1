"""What a check of a plan with its data finds before the first stage, and why a drafted line is so."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from core.errors import PantheraError
from core.plan.file import parse_plan
from planner.check.check import check_data
from planner.check.sarif import key_lines, line_of, sarif
from planner.check.why import find_why
from planner.verbs import check_plan_and_sources

if TYPE_CHECKING:
    from pathlib import Path

    from planner.check.findings import Checked
    from planner.workspace import Workspace
    from tests.planner.drafted import Drafted

HEADER = "id,x,mail,hint,y\n"


def lines(rows: int = 600) -> list[str]:
    rng = random.Random(6)  # noqa: S311 - a fixed example
    return [f"{n},{rng.random():.3f},u{n}@example.org,{rng.random() + n % 2:.3f},{n % 2}\n" for n in range(rows)]


@pytest.fixture
def text(drafted: Drafted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The drafted plan of the lines; the process stands in its folder."""
    _, draft = drafted({"t.csv": HEADER + "".join(lines())}, "y = 1", answers={"leak.hint": "yes"})
    (tmp_path / "plan.evidence.json").write_text(draft.evidence)
    monkeypatch.chdir(tmp_path)
    return draft.text


def check(workspace: Workspace, text: str, rows: list[str] | None = None, header: str = HEADER) -> Checked:
    if rows is not None:
        with open("t.csv", "w", encoding="utf-8") as file:  # noqa: PTH123 - in the folder of the plan
            file.write(header + "".join(rows))
    return check_data(workspace.connection, parse_plan(text), workspace.scratch)


def refused(found: Checked) -> list[str]:
    return [finding.path for finding in found.findings if finding.level == "refuse"]


def test_a_draft_has_no_finding_on_the_data_that_it_was_made_of(workspace: Workspace, text: str) -> None:
    found = check(workspace, text)
    assert found.findings == ()
    assert found.rows == 600


def test_a_key_of_two_rows_a_lost_column_and_words_among_numbers_are_found_at_once(
    workspace: Workspace, text: str
) -> None:
    rows = [line.replace("0.", "none of it ", 1) if number < 30 else line for number, line in enumerate(lines())]
    found = check(workspace, text, [rows[0], *rows], HEADER.replace("hint", "tip"))
    assert refused(found) == [
        "ingest.t.columns.hint",
        "ingest.t.columns.id",
        "ingest.t.columns.x",
    ]


def test_a_column_that_tells_the_label_is_found_unless_the_plan_allows_it(workspace: Workspace, text: str) -> None:
    assert "row.hint" in text
    plan = text[: text.index("  leakage:")] + text[text.index("  service: everything") :]
    (finding,) = check(workspace, plan).findings
    assert (finding.level, "row.hint" in finding.path) == ("refuse", True)


def test_personal_data_that_are_not_declared_are_found(workspace: Workspace, text: str) -> None:
    (finding,) = check(workspace, text.replace("mail: {dtype: string, pii: remove}", "mail: {dtype: string}")).findings
    assert (finding.level, finding.path) == ("warn", "ingest.t.columns.mail.pii")


def test_a_file_that_is_gone_is_a_finding(workspace: Workspace, text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").unlink()
    found = check(workspace, text)
    assert refused(found) == ["ingest.t.reader"]
    assert json.loads(json.dumps(found.to_dict()))["findings"][0]["level"] == "refuse"


def test_few_positive_labels_are_a_warning(workspace: Workspace, text: str) -> None:
    rows = [line[:-2] + "0\n" if number > 80 else line for number, line in enumerate(lines())]
    found = check(workspace, text, rows)
    assert [(one.level, one.path) for one in found.findings if one.path == "label.column"] == [("warn", "label.column")]


def test_the_reason_of_a_line_is_counted_again(workspace: Workspace, text: str, tmp_path: Path) -> None:
    plan, evidence = parse_plan(text), tmp_path / "plan.evidence.json"
    (reason,) = find_why(workspace.connection, plan, evidence, "ingest.t.columns.x", workspace.scratch).reasons
    assert (reason.then, reason.now) == (0, 0)
    without = [
        ",".join(["" if place == 1 else value for place, value in enumerate(line.split(","))]) for line in lines()
    ]
    (tmp_path / "t.csv").write_text(HEADER + "".join(without[:5]))
    (reason,) = find_why(workspace.connection, plan, evidence, "ingest.t.columns.x", workspace.scratch).reasons
    assert (reason.then, reason.now) == (0, 5)


def test_a_key_without_evidence_is_refused_with_the_nearest(workspace: Workspace, text: str, tmp_path: Path) -> None:
    with pytest.raises(PantheraError, match=r"has no evidence of 'ingest\.t\.columns\.xx'"):
        find_why(
            workspace.connection,
            parse_plan(text),
            tmp_path / "plan.evidence.json",
            "ingest.t.columns.xx",
            workspace.scratch,
        )


def test_dates_in_another_format_than_the_plan_states_are_found(
    drafted: Drafted, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(8)  # noqa: S311 - a fixed example
    rows = "".join(f"{n},{rng.random():.3f},{n % 28 + 1}.11.2023,{n % 2}\n" for n in range(200))
    _, draft = drafted({"t.csv": "id,x,joined,y\n" + rows}, "y = 1")
    assert refused(check(workspace, draft.text)) == []
    found = check(workspace, draft.text.replace('"%d.%m.%Y"', '"%Y.%m.%d"'))
    assert refused(found) == ["ingest.t.columns.joined"]
    assert found.findings[0].found == "200 of 200 values are no date"
    assert "state its format" in found.findings[0].next


def test_sarif_has_each_finding_at_the_line_of_its_key(workspace: Workspace, text: str) -> None:
    rows = [line.replace("0.", "none of it ", 1) if number < 30 else line for number, line in enumerate(lines())]
    found = check(workspace, text, rows)
    (run,) = sarif(found, text, "params.yaml")["runs"]
    refusal = next(one for one in run["results"] if one["level"] == "error")
    assert refusal["message"]["text"].startswith("ingest.t.columns.x: 30 of 600 values are no float64")
    line = refusal["locations"][0]["physicalLocation"]["region"]["startLine"]
    assert text.splitlines()[line - 1].strip().startswith("x: {dtype: float64")
    assert {one["ruleId"] for one in run["results"]} <= {rule["id"] for rule in run["tool"]["driver"]["rules"]}


def test_a_key_without_a_line_is_shown_at_the_nearest_key_above() -> None:
    known = key_lines("a:\n  b: {c: 1}\nd: 2\n")
    assert known == {"a": 1, "a.b": 2, "a.b.c": 2, "d": 3}
    assert [line_of(path, known) for path in ("a.b.c", "a.b.x.y", "a.x", "top level")] == [2, 2, 1, 1]


def test_faults_of_a_plan_that_is_not_valid_come_all_at_once(text: str, tmp_path: Path) -> None:
    plan = tmp_path / "bad.yaml"
    plan.write_text(text.replace("maximise: f1", "maximise: f2").replace("estimator: majority", "estimator: best"))
    found = check_plan_and_sources(plan)
    assert found.refused
    assert [one.path for one in found.findings] == ["evaluate.threshold.maximise", "train.candidates.baseline"]
    plan.write_text("a: [")
    assert [one.path for one in check_plan_and_sources(plan).findings] == ["top level"]
