"""The difference of two plans: their keys, the stages that `dvc repro` runs for it, and whom else it concerns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from panthera.cli import main
from planner.diff.difference import Difference, difference
from planner.diff.values import Change, changes

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "params.yaml").read_text()
LATER = {"training_set", "leakage", "train", "evaluate", "register"}


def changed(edit: Callable[[dict[str, Any]], object]) -> Difference:
    content = yaml.safe_load(TEXT)
    edit(content)
    after = yaml.safe_dump(content, sort_keys=False)
    return difference("before", yaml.safe_dump(yaml.safe_load(TEXT), sort_keys=False), after, "after", ROOT, {})


def stages(found: Difference) -> dict[str, str]:
    return {run.name: run.runs for run in found.stages}


def certain(*names: str) -> dict[str, str]:
    return dict.fromkeys(["inputs", *names], "yes")


def test_the_deepest_keys_are_named_and_lists_are_values() -> None:
    before, after = {"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"b": 1.0, "c": [2]}, "e": None}
    assert list(changes(before, after)) == [
        Change("a.b", "changed", 1, 1.0),
        Change("a.c", "changed", [1, 2], [2]),
        Change("d", "removed", before=1),
        Change("e", "added"),
    ]


def test_a_candidate_trains_and_no_view_is_built() -> None:
    found = changed(lambda plan: plan["train"]["candidates"]["lightgbm"].update(rounds=10))
    assert stages(found) == certain("train", "evaluate", "register")
    assert [change.path for change in found.keys] == ["train.candidates.lightgbm.rounds"]
    assert not found.breaking


def test_another_spelling_of_a_value_runs_no_stage_that_reads_it_and_another_order_of_features_does() -> None:
    assert stages(changed(lambda plan: plan["label"].update(horizon="2160h"))) == certain()

    def turn(plan: dict[str, Any]) -> None:
        view = plan["build_features"]["views"]["purchase_history"]
        view["features"] = dict(reversed(view["features"].items()))

    assert "build_features" in stages(changed(turn))


def test_a_metric_is_evaluated_alone() -> None:
    assert stages(changed(lambda plan: plan["evaluate"].update(primary="pr_auc"))) == certain("evaluate", "register")


def test_what_only_the_service_or_monitoring_reads_runs_no_stage_that_depends_on_it() -> None:
    def edit(plan: dict[str, Any]) -> None:
        plan["serve"]["salt"] = "another"
        plan["monitor"]["psi_alarm"] = 0.3

    found = changed(edit)
    assert stages(found) == certain()
    said = {effect.subject: effect.effect for effect in found.effects}
    assert said["experiment"] == "a new phase begins, and every entity is assigned anew"
    assert {"service", "monitoring"} <= said.keys()


def test_other_terms_change_the_looks_of_a_running_experiment() -> None:
    def looks(number: int) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load(TEXT)
        content["monitor"] |= {"decide": {"better": "lower"}, "experiment": {"minimum_effect": 0.01, "looks": number}}
        return content

    def effects(before: dict[str, Any], after: dict[str, Any]) -> str:
        texts = [yaml.safe_dump(content, sort_keys=False) for content in (before, after)]
        found = difference("before", texts[0], texts[1], "after", ROOT, {})
        return "; ".join(effect.effect for effect in found.effects)

    assert "their error is no longer kept" in effects(looks(5), looks(3))
    assert "their error is no longer kept" not in effects(yaml.safe_load(TEXT), looks(5))


def test_the_instant_of_the_online_tables_fills_them_alone() -> None:
    assert stages(changed(lambda plan: plan.update(materialize={"as_of": "1998-03-01"}))) == certain("materialize")


def test_a_meaning_of_a_feature_builds_views_again_but_not_the_training_rows() -> None:
    features = ("build_features", "views", "purchase_history", "features", "spend")

    def edit(plan: dict[str, Any]) -> None:
        for key in features:
            plan = plan[key]
        plan["meaning"] = "money so far"

    found = changed(edit)
    assert stages(found) == certain("build_features", "apply", *(LATER - {"training_set"}), "materialize")
    assert not found.breaking


def test_a_feature_computed_otherwise_has_another_table_and_breaks_no_caller() -> None:
    def edit(plan: dict[str, Any]) -> None:
        plan["build_features"]["views"]["purchase_history"]["features"]["orders"]["sql"] = "count(*) + 1"

    found = changed(edit)
    assert stages(found) == certain("build_features", "apply", *LATER, "materialize")
    assert not found.breaking
    assert any(effect.subject == "view purchase_history" for effect in found.effects)


@pytest.mark.parametrize(
    "edit",
    [
        lambda plan: plan["build_features"]["views"]["recent_purchases"]["features"].pop("month_of_year"),
        lambda plan: plan["serve"]["decisions"].update(above="call"),
        lambda plan: plan["serve"].update(max_entities=10),
        lambda plan: plan["label"].update(names=["stays", "goes"]),
    ],
)
def test_what_a_caller_sends_or_reads_is_breaking(edit: Callable[[dict[str, Any]], object]) -> None:
    assert changed(edit).breaking


def test_a_rule_runs_training_only_if_other_rows_pass_or_a_view_reads_it() -> None:
    def by_limit(plan: dict[str, Any]) -> None:
        plan["validate"]["purchases"]["max_rejected"] = 0.5

    never_read = changed(by_limit)
    assert stages(never_read) == certain("validate", "build_features", "apply", "register", "materialize")
    read = changed(lambda plan: plan["validate"]["purchases"].update(range={"cds": [1, 9]}))
    if_rows_differ = dict.fromkeys(["leakage", "train", "evaluate"], "if_rows_differ")
    by_its_table = certain("validate", "build_features", "apply", "training_set", "register", "materialize")
    assert stages(read) == by_its_table | if_rows_differ


def test_time_and_bytes_are_those_of_the_last_runs(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    outs = {"inputs": [{"size": 10}, {"size": 5}], "materialize": [{"size": 7}], "train": [{"size": 10**9}]}
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": {name: {"outs": each} for name, each in outs.items()}}))
    after = TEXT.replace('as_of: "1998-04-01"', 'as_of: "1998-03-01"')
    seconds = {"inputs": 1.5, "materialize": 2.0, "train": 1e6}
    found = difference("before", TEXT, after, "after", tmp_path, seconds)
    assert (found.seconds, found.output_bytes) == (3.5, 22)
    assert difference("before", TEXT, after, "after", tmp_path, {"inputs": 1.5}).seconds is None


def test_a_revision_of_git_a_file_and_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def called(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["panthera", "plan", "diff", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PANTHERA_PLAN", "params.yaml")
    Path("params.yaml").write_text(TEXT)
    Path("dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    assert called() == 1
    assert "no file" in capsys.readouterr().err
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "params.yaml"], [*author, "commit", "-qm", "a plan"]):
        subprocess.run(["git", *command], check=True)
    assert called() == 0
    assert "no key of the plan differs" in capsys.readouterr().out
    Path("earlier.yaml").write_text(TEXT.replace("above: win_back", "above: call"))
    assert called("earlier.yaml", "--json") == 3
    shown = json.loads(capsys.readouterr().out)
    assert shown["breaking"]
    assert [change["path"] for change in shown["keys"]] == ["serve.decisions.above"]
    assert called("--", "-no-such-option") == 1
