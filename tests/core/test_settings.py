"""The environment, read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import PantheraError
from core.settings import ENVIRONMENT_NAMES, TELEMETRY_OFF, Settings, read_settings, silence_telemetry


def test_an_empty_environment_gives_the_folder_that_the_program_runs_in() -> None:
    assert read_settings({}) == Settings(
        plan=Path("params.yaml"), state=Path.cwd() / ".panthera", database_url=None, mlflow_url=None
    )


def test_an_empty_value_is_as_good_as_none() -> None:
    assert read_settings(dict.fromkeys(ENVIRONMENT_NAMES, "")) == read_settings({})


def test_every_declared_name_is_read() -> None:
    other = {"PANTHERA_LOG": "json", "PANTHERA_DEADLINE_MS": "900"}
    for name in ENVIRONMENT_NAMES:
        assert read_settings({name: other.get(name, "elsewhere")}) != read_settings({}), name


def test_the_state_folder_is_absolute_so_that_a_change_of_folder_does_not_move_it() -> None:
    assert read_settings({"PANTHERA_STATE": "somewhere"}).state == Path.cwd() / "somewhere"


@pytest.mark.parametrize("name", ["back\\slash", "line\nbreak", "\x1b[2J"])
def test_a_state_folder_that_the_tools_cannot_be_given_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(PantheraError, match="has a backslash or a control character") as refused:
        read_settings({"PANTHERA_STATE": f"/srv/{name}/state"})
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "name", ["o'brien", "with a blank", "$HOME", "mit Ümläut", "100%", "[1]*?", 'say "so"', "a#b?c=d"]
)
def test_a_state_folder_of_any_other_name_is_taken(name: str) -> None:
    assert read_settings({"PANTHERA_STATE": f"/srv/{name}"}).state == Path("/srv") / name


def test_secrets_are_not_in_what_settings_print() -> None:
    settings = read_settings(
        {"PANTHERA_DATABASE_URL": "postgresql://me:hunter2@db/x", "PANTHERA_MLFLOW_URL": "http://me:hunter3@mlflow"}
    )
    assert "hunter" not in f"{settings!r} {settings}"


def test_telemetry_is_switched_off_unless_the_user_has_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TELEMETRY_OFF:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    silence_telemetry()
    assert {name: os.environ[name] for name in TELEMETRY_OFF} == {**TELEMETRY_OFF, "DO_NOT_TRACK": "0"}
