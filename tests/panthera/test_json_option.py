"""Every verb that shows something prints it as one JSON object on request."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import pytest

from panthera import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The verbs that start, stop or run something, and have no result of their own.
ACTING = {"up", "down", "project", "demo", "repair", "feast", "keys revoke"}


def verbs(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each verb that can be run, with its parser."""
    if parser.get_default("function"):
        yield name, parser
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            for action, below in group.choices.items():
                yield from verbs(below, f"{name} {action}".strip())


VERBS = dict(verbs(cli._parser()))


@pytest.mark.parametrize("name", sorted(VERBS))
def test_a_verb_has_json_unless_it_only_acts(name: str) -> None:
    assert ("--json" in VERBS[name]._option_string_actions) == (name not in ACTING)


def test_the_verbs_that_only_act_are_verbs() -> None:
    assert set(VERBS) >= ACTING


@pytest.mark.parametrize(
    ("arguments", "as_json"),
    [
        (["plan"], False),
        (["plan", "--json"], True),
        (["plan", "check"], False),
        (["plan", "check", "--json"], True),
        (["plan", "--json", "check"], True),
        (["plan", "--json", "render"], True),
        (["plan", "render"], False),
        (["demo"], False),
    ],
)
def test_json_holds_wherever_it_stands(arguments: list[str], as_json: bool) -> None:
    assert cli._parser().parse_args(arguments).json is as_json


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    monkeypatch.setattr("sys.argv", ["panthera", *arguments, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_checked_plan_and_the_public_key_are_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PANTHERA_STATE", str(tmp_path))
    plan = run(["plan"], monkeypatch, capsys)
    assert list(plan) == ["plan", "project", "sources", "views", "features", "candidates"]
    key = run(["key"], monkeypatch, capsys)
    assert run(["key"], monkeypatch, capsys) == key
    assert list(key) == ["public_key"]
