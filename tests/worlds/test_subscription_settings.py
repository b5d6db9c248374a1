"""What the settings of the subscription world refuse, and how the command says so."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import PantheraError
from worlds.subscription.__main__ import main
from worlds.subscription.settings import SubscriptionSettings

SHIFT: dict[str, Any] = {"kind": "covariate_shift", "start_month": 3, "segments": ["family"], "minutes_factor": 0.5}
LOST: dict[str, Any] = {"kind": "column_missing", "start_month": 3, "table": "usage_daily", "column": "minutes"}
UNIT: dict[str, Any] = {**LOST, "kind": "unit_change", "factor": 60}
CONCEPT: dict[str, Any] = {"kind": "concept_shift", "start_month": 3, "term": "open_tickets", "coefficient": 0}
EFFECTS = {"consumer": 0, "family": 0, "student": 0, "business": 0}

REFUSED = [
    ({"faults": {"late_rate": 1.01}}, "faults.late_rate", "less than or equal to 1, found 1.01"),
    ({"faults": {"duplicate_rate": -0.1}}, "faults.duplicate_rate", "greater than or equal to 0"),
    ({"faults": {"missing_rate": float("nan")}}, "faults.missing_rate", "finite"),
    ({"faults": {"missing_rate": 0.6, "impossible_rate": 0.5}}, "faults.impossible_rate", "exceed 1 together"),
    ({"behaviour": {"refund_rate": 2}}, "behaviour.refund_rate", "less than or equal to 1"),
    ({"existing_share": 1.5}, "existing_share", "less than or equal to 1"),
    ({"changes": [{**LOST, "share": 7}]}, "changes.0.column_missing.share", "less than or equal to 1"),
    ({"horizon_days": 732}, "horizon_days", "longer than the history of 731 days"),
    ({"months": 1, "changes": [], "horizon_days": 32}, "horizon_days", "longer than the history of 31 days"),
    ({"horizon_days": 29}, "horizon_days", "longer than the shortest month (28 days)"),
    ({"changes": [{**SHIFT, "segments": ["pirates"]}]}, "changes.0.segments", "unknown segment 'pirates'"),
    ({"offer": {"effects": {**EFFECTS, "pirates": -1}}}, "offer.effects", "unknown segment 'pirates'"),
    ({"offer": {"effects": {"consumer": -1}}}, "offer.effects", "no effect for segment 'family'"),
    ({"protected": {"gender": "unknown"}}, "protected.gender", "unknown gender 'unknown'"),
    ({"segments": [{"name": "all", "share": 0.9}]}, "segments", "add up to 0.9, not 1"),
    ({"regions": [{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}]}, "regions", "a name occurs twice"),
    ({"changes": [{**SHIFT, "start_month": 24}]}, "changes.0.start_month", "outside the history of 24 months"),
    ({"changes": [{**SHIFT, "end_month": 3}]}, "changes.0.end_month", "not after month 3"),
    ({"changes": [{**CONCEPT, "term": "weather"}]}, "changes.0.concept_shift.term", "not a term of the hazard"),
    ({"changes": [{**LOST, "column": "customer_id"}]}, "changes.0.column_missing.column", "customer_id"),
    ({"changes": [{**UNIT, "table": "weather"}]}, "changes.0.unit_change.table", "unknown table 'weather'"),
    ({"start_date": "2023-01-02"}, "start_date", "not the first of a month"),
    ({"customers": 0}, "customers", "greater than or equal to 1, found 0"),
    ({"seed": -1}, "seed", "greater than or equal to 0"),
    ({"weather": 1}, "weather", "not permitted"),
]


@pytest.mark.parametrize(("values", "field", "reason"), REFUSED, ids=[f"{field}: {why}" for _, field, why in REFUSED])
def test_a_bad_value_is_refused_in_one_line_that_names_the_field(
    values: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(PantheraError) as refusal:
        SubscriptionSettings(**values)
    message = str(refusal.value)
    assert message.startswith(f"{field}: ")
    assert reason in message
    assert "\n" not in message


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SubscriptionSettings().seed = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--customers", "0"], "error: customers: input should be greater than or equal to 1, found 0\n"),
        (["--workers", "0"], "error: workers: must be at least 1, found 0\n"),
        (["--settings", "nowhere.yaml"], "error: settings: nowhere.yaml cannot be read: "),
    ],
)
def test_the_command_refuses_with_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--out", "world", "--quiet", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["- a list", "a: [", "late_rate"])
def test_the_command_refuses_a_settings_file_that_holds_no_settings(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    assert main(["--out", str(tmp_path / "world"), "--settings", str(file)]) == 2
    error = capsys.readouterr().err
    assert str(file) in error
    assert error.count("\n") == 1


def test_wrong_arguments_are_refused_with_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["--out", "world", "--customers", "many"])
    assert ending.value.code == 2
    assert capsys.readouterr().err == "error: argument --customers: invalid int value: 'many'; see --help\n"


def test_help_imports_no_heavy_library() -> None:
    probe = "import sys, worlds.subscription.__main__ as m; m._parser().format_help(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout
    assert "'numpy'" not in loaded
    assert "'pyarrow'" not in loaded
    assert "'pydantic'" not in loaded


def _fill(folder: Path) -> None:
    folder.mkdir()
    (folder / "kept.txt").write_text("mine")


def _occupy(folder: Path) -> None:
    folder.write_text("mine")


@pytest.mark.parametrize("occupy", [_fill, _occupy])
def test_what_already_lies_at_the_place_is_never_touched(
    occupy: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "world"
    occupy(folder)
    assert main(["--out", str(folder), "--customers", "10", "--quiet"]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == ([folder, folder / "kept.txt"] if folder.is_dir() else [folder])
