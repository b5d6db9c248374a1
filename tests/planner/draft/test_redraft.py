"""A second draft keeps what a person changed in the first, and changed data make exactly their lines stale."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from core.errors import PantheraError
from panthera.cli import main
from planner.diff.merge import merge_drafts
from planner.diff.values import changes

if TYPE_CHECKING:
    from collections.abc import Callable

LINE = "churn = 'yes'"
HEADER = "id,plan,months,paid,churn\n"


def table(rows: int = 200, paid: str = "{:.2f}") -> str:
    rng = random.Random(4)  # noqa: S311 - a fixed example
    lines = [
        f"c{number:04d},{rng.choice('ab')},{rng.randrange(9)},{paid.format(rng.random())},{rng.choice(['yes', 'no'])}"
        for number in range(rows)
    ]
    return HEADER + "\n".join(lines) + "\n"


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run a verb in a folder with `t.csv`; return the exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PANTHERA_PLAN", "params.yaml")
    Path("t.csv").write_text(table())

    def called(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["panthera", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        shown = capsys.readouterr()
        return int(left.value.code or 0), shown.out + shown.err

    return called


def test_a_draft_without_data_is_the_last_one_again_and_keeps_what_was_changed(
    run: Callable[..., tuple[int, str]],
) -> None:
    assert run("draft", "t.csv", "--predict", LINE)[0] == 0
    drafted = Path("params.yaml").read_text()
    Path("params.yaml").write_text(drafted.replace("above: act", "above: call") + "# mine\n")
    Path("t.csv").write_text(table(2500))  # more rows: larger trees
    code, said = run("draft")
    assert code == 0
    assert "kept 1 keys" in said
    text = Path("params.yaml").read_text()
    plan = yaml.safe_load(text)
    assert plan["serve"]["decisions"]["above"] == "call"
    assert plan["train"]["candidates"]["trees"]["params"]["min_child_samples"] == 40
    assert text.endswith("# mine\n")
    assert run("draft")[0] == 0
    assert Path("params.yaml").read_text() == text


def test_a_key_that_both_changed_stays_as_the_person_wrote_it_and_is_named(run: Callable[..., tuple[int, str]]) -> None:
    run("draft", "t.csv", "--predict", LINE)
    drafted = Path("params.yaml").read_text()
    Path("params.yaml").write_text(drafted.replace("min_child_samples: 10", "min_child_samples: 7"))
    Path("t.csv").write_text(table(2500))
    _, said = run("draft")
    assert (
        yaml.safe_load(Path("params.yaml").read_text())["train"]["candidates"]["trees"]["params"]["min_child_samples"]
        == 7
    )
    assert "train.candidates.trees.params" in said
    assert "40" in said


def test_a_plan_that_no_draft_wrote_is_refused_and_stays(run: Callable[..., tuple[int, str]]) -> None:
    Path("params.yaml").write_text("mine: 1\n")
    code, said = run("draft", "t.csv", "--predict", LINE)
    assert code == 1
    assert "was not written by a draft" in said
    assert Path("params.yaml").read_text() == "mine: 1\n"
    code, said = run("draft")
    assert code == 1
    assert said.startswith(
        "error: there is no plan.evidence.json, the evidence of a draft beside its plan; name the data"
    )


def test_changed_data_make_exactly_the_lines_stale_whose_evidence_changed(run: Callable[..., tuple[int, str]]) -> None:
    run("draft", "t.csv", "--predict", LINE)
    assert run("plan", "stale")[0] == 0
    Path("t.csv").write_text(table().replace(",a,", ",c,", 1))
    code, said = run("plan", "stale", "--json")
    assert code == 3
    assert [one["path"] for one in json.loads(said)["stale"]] == ["ingest.t.columns.plan", "validate.t.allowed"]
    Path("t.csv").write_text(table(paid="{:.0f}"))
    stale = [one["path"] for one in json.loads(run("plan", "stale", "--json")[1])["stale"]]
    assert stale == ["ingest.t.columns.paid"]


def test_every_touched_line_is_kept_over_random_changes(run: Callable[..., tuple[int, str]]) -> None:
    run("draft", "t.csv", "--predict", LINE)
    last = Path("params.yaml").read_text()
    Path("t.csv").write_text(table(2500).replace(",a,", ",c,", 3))
    run("draft", "t.csv", "--predict", LINE, "--out", "other/params.yaml")
    draft = Path("other/params.yaml").read_text()
    rng = random.Random(1)  # noqa: S311 - a fixed example
    words = {
        "400": "123",
        "0.05": "0.02",
        "act": "call",
        "first": "second",
        "0.2": "0.3",
        "31": "9",
        "roc_auc": "log_loss",
    }
    for _ in range(15):
        lines = last.splitlines(keepends=True)
        for number in rng.sample(range(len(lines)), 6):
            for word, other in words.items():
                lines[number] = lines[number].replace(f" {word}", f" {other}") if rng.random() < 0.5 else lines[number]
            if rng.random() < 0.3:
                lines[number] = f"# note {number}\n{lines[number]}" if lines[number][0] not in " #" else lines[number]
        plan = "".join(lines)
        try:
            merged = merge_drafts(last, plan, draft)
        except PantheraError:  # a change that is no valid plan by itself
            continue
        kept = yaml.safe_load(merged.text)
        touched = [one for one in changes(yaml.safe_load(last), yaml.safe_load(plan)) if one.kind != "removed"]
        assert {one.path for one in changes(kept, yaml.safe_load(plan))}.isdisjoint(one.path for one in touched)
        assert [line for line in plan.splitlines() if line.startswith("# note")] == [
            line for line in merged.text.splitlines() if line.startswith("# note")
        ]
