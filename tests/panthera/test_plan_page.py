"""The page and the schema of the plan: current, complete, and of one mind with the plan itself."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from pydantic import ValidationError

from core.plan.plan import Plan
from core.plan.train import LogisticCandidate
from panthera import cli
from panthera.plan_page import PAGE, SCHEMA, page, schema_text
from panthera.plan_schema import NAMES_ALONE, key_descriptions, plan_schema, sections
from tests.core.plan.shop_plan import SHOP, Change, changed
from tests.worlds.subscription_candidates import CASES

ROOT = Path(__file__).parents[2]
DISCRIMINATORS = {"kind", "estimator", *NAMES_ALONE}
LOGISTIC = jsonschema_rs.Draft7Validator(
    {**plan_schema()["definitions"]["LogisticCandidate"], "definitions": plan_schema()["definitions"]}
)
VALIDATOR = jsonschema_rs.Draft7Validator(plan_schema())


class _Yaml12(yaml.SafeLoader):
    """Reads a date as editors do, which is as a text."""


_Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def faults_of(text: str) -> list[str]:
    """List what a validator of editors says of a plan: the path of each fault, and its message."""
    raw = yaml.load(text, Loader=_Yaml12)  # noqa: S506 - derived from SafeLoader
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in VALIDATOR.iter_errors(raw)]


def plans() -> list[Path]:
    """List the plans that git has."""
    listed = subprocess.run(["git", "ls-files", "*.yaml"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]
    return [file for file in files if re.search(r"^build_features:", file.read_text(), flags=re.MULTILINE)]


def test_the_page_and_the_schema_are_current() -> None:
    made = "run `python -m panthera.plan_page`"
    assert page() == PAGE.read_text(), made
    assert schema_text() == SCHEMA.read_text(), made


def test_the_schema_is_one() -> None:
    jsonschema_rs.meta.validate(plan_schema())


@pytest.mark.parametrize("name", sorted({*sections(), "Plan"}))
def test_every_section_and_key_is_described(name: str) -> None:
    section = sections()[name]
    keys = {field.alias or key for key, field in section.model_fields.items()}
    assert section.__doc__
    assert keys - key_descriptions(section).keys() - DISCRIMINATORS == set()


def test_editors_accept_every_plan_of_the_repository_and_find_its_schema() -> None:
    found = plans()
    assert len(found) >= 3
    for plan in found:
        assert faults_of(plan.read_text()) == [], plan
        first = plan.read_text().partition("\n")[0]
        if not plan.parent.name.startswith("kept_version"):  # as an earlier version wrote it
            assert first.startswith("# yaml-language-server: $schema="), plan
            assert (plan.parent / first.partition("=")[2]).resolve() == SCHEMA


def test_editors_accept_every_kind_of_candidate_step_and_selector() -> None:
    assert faults_of(changed({"train/candidates": CASES})) == []


HISTORY = "build_features/views/history"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"trian": {}}, ": Additional properties are not allowed ('trian' was unexpected)"),
        ({"train/sed": 1}, "train: Additional properties are not allowed ('sed' was unexpected)"),
        (
            {"ingest/orders/reader/delimeter": ";"},
            "ingest.orders.reader: Additional properties are not allowed ('delimeter'",
        ),
        (
            {f"{HISTORY}/features/orders/windw": "90d"},
            "build_features.views.history.features.orders: Additional properties are not allowed ('windw'",
        ),
        ({"train/candidates/trees/round": 5}, "train.candidates.trees: Additional properties are not allowed ('round'"),
        (
            {"train/candidates/trees/tune": {"search": {}, "trails": 3}},
            "train.candidates.trees.tune: Additional properties are not allowed ('trails'",
        ),
        (
            {"train/candidates/trees/numeric": [{"step": "winsorise", "uper": 0.9}]},
            "train.candidates.trees.numeric.0: Additional properties are not allowed ('uper'",
        ),
        ({"evaluate/money": {"margin": 3}}, "evaluate.money: Additional properties are not allowed ('margin'"),
        ({"evaluate/threshold/maximise": "f2"}, 'evaluate.threshold.maximise: "f2" is not one of'),
        (
            {"train/candidates/trees/estimator": "lightgmb"},
            'train.candidates.trees.estimator: "lightgmb" is not one of',
        ),
        ({"train/candidates/trees/numeric": ["pca"]}, 'train.candidates.trees.numeric.0: "pca" is not one of'),
        ({"label/horizon": "30 days"}, 'label.horizon: "30 days" does not match'),
        ({"materialize/as_of": "30.11.2023"}, 'materialize.as_of: "30.11.2023" does not match'),
        ({"train/seed": ...}, 'train: "seed" is a required property'),
        ({"serve/arms": {"chalenger": 1}}, "serve.arms"),
        ({f"{HISTORY}/features/Orders": {}}, "build_features.views.history.features"),
    ],
)
def test_editors_name_a_wrong_key_or_value_where_it_stands(change: Change, found: str) -> None:
    assert faults_of(SHOP) == []
    said = faults_of(changed(change))
    assert [line for line in said if line.startswith(found)], said


def accepted_by_the_plan(steps: Change) -> bool:
    try:
        LogisticCandidate.model_validate({"estimator": "logistic_regression", **steps})
    except ValidationError:
        return False
    return True


def test_a_name_stands_alone_in_an_editor_where_it_does_in_the_plan() -> None:
    schemas = [part["properties"] for part in plan_schema()["definitions"].values() if "properties" in part]
    kinds = [shown[key] for shown in schemas for key in NAMES_ALONE & shown.keys()]
    names = [name for kind in kinds for name in kind.get("enum", [kind.get("const")])]
    assert len(names) > 25
    for key in ("numeric", "categorical", "text", "joined", "select"):
        of_plan = [name for name in names if accepted_by_the_plan({key: [name]})]
        plain = {"estimator": "logistic_regression"}
        of_editor = [
            name for name in names if not faults_of(changed({"train/candidates/rule": {**plain, key: [name]}}))
        ]
        assert of_plan == of_editor
        assert of_plan


def test_the_verb_prints_the_schema(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["panthera", "plan", "--schema"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == plan_schema()


def test_a_section_is_described_by_its_own_words_and_those_of_its_base() -> None:
    keys: dict[str, Any] = key_descriptions(Plan)
    assert keys["validate"] == "Quality rules by source."
    assert key_descriptions(sections()["AsOf"])["start"] == "First instant."
    assert key_descriptions(sections()["LightGbmCandidate"])["rounds"] == "Largest number of trees."
