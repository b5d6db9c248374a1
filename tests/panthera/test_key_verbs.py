"""`panthera keys` and `panthera up`: what they print, and where, and what they refuse without quoting it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from core.access.api_key import generate_key, parse_key
from panthera.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Panthera = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Panthera:
    """Run a verb without a database; return its exit code, its output and its errors."""
    monkeypatch.setenv("PANTHERA_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PANTHERA_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    monkeypatch.setenv("PANTHERA_ACTOR", "ann")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["panthera", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture
def panthera(command: Panthera, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Panthera:
    """Run a verb with a database."""
    monkeypatch.setenv("PANTHERA_DATABASE_URL", database_url)
    return command


def test_a_key_lives_from_its_creation_over_a_rotation_to_its_revocation(panthera: Panthera) -> None:
    code, printed, notes = panthera("keys", "create", "--scope", "predict", "--name", "shop", "--expires", "90d")
    key = parse_key(printed.removesuffix("\n"))
    assert code == 0
    assert key is not None
    assert "this is the first key: from now on the service refuses callers without a key" in notes
    assert key.text[-64:] not in notes
    code, printed, notes = panthera("keys", "rotate", key.key_id, "--why", "yearly", "--json")
    assert f"`panthera keys revoke {key.key_id} --why rotated`" in notes
    second = json.loads(printed)
    assert (code, second["replaces"], second["scopes"], second["name"]) == (0, key.key_id, ["predict"], "shop")
    code, printed, notes = panthera("keys", "revoke", key.text, "--why", "rotated")
    assert (code, printed) == (0, f"{key.key_id}: revoked, effective within 5 s\n")
    assert notes == ""
    _, _, notes = panthera("keys", "revoke", second["key_id"], "--why", "leaked")
    assert "no key is live now" in notes
    code, printed, _ = panthera("keys", "list", "--json")
    listed = json.loads(printed)
    assert (code, listed["enforced"], [key["state"] for key in listed["keys"]]) == (0, True, ["revoked", "revoked"])
    assert [key["revoked_why"] for key in listed["keys"]] == ["rotated", "leaked"]
    assert [key["created_by"] for key in listed["keys"]] == ["ann", "ann"]
    table = panthera("keys", "list")[1]
    assert key.text[-64:] not in printed + table
    assert key.key_id in table.replace("\n", "")


def test_up_names_the_command_that_closes_an_open_service_until_a_key_was_made(panthera: Panthera) -> None:
    assert "open to every caller on this machine; `panthera keys create --scope" in panthera("up")[1]
    panthera("keys", "create", "--scope", "read")
    assert "open" not in panthera("up")[1]


def test_up_stores_the_admin_key_of_the_environment_and_does_not_print_it(
    panthera: Panthera, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = generate_key()
    monkeypatch.setenv("PANTHERA_ADMIN_KEY", f"{key.text}\n")
    for _ in range(2):
        code, printed, errors = panthera("up")
        assert (code, errors) == (0, "")
        assert f"PANTHERA_ADMIN_KEY is the key {key.key_id}\n" in printed
        assert key.text[-64:] not in printed
    panthera("keys", "revoke", key.key_id, "--why", "there are others now")
    assert "was revoked and stays so" in panthera("up")[1]
    monkeypatch.setenv("PANTHERA_ADMIN_KEY", "hunter2")
    code, printed, errors = panthera("up")
    assert code == 1
    assert "hunter2" not in printed + errors
    assert "openssl rand" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", "--scope", "write"),
        ("create", "--scope", "read", "--rate", "0"),
        ("create", "--scope", "read", "--rate", "nan"),
        ("create", "--scope", "read", "--rate", "inf"),
        ("create", "--scope", "read", "--expires", "0d"),
        ("create", "--scope", "read", "--expires", "soon"),
        ("create", "--scope", "read", "--name", " "),
        ("create", "--scope", "read", "--name", "x" * 101),
        ("create", "--scope", "read", "--environment", "Live"),
        ("create", "--scope", "read", "--environment", "a_b"),
        ("revoke", "0123456789ab"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(command: Panthera, arguments: tuple[str, ...]) -> None:
    code, _, errors = command("keys", *arguments)
    assert code == 2
    assert "panthera keys" in errors


def test_a_key_in_the_place_of_a_text_is_neither_stored_nor_quoted(command: Panthera) -> None:
    key = generate_key().text
    for arguments in (
        ("create", "--scope", "read", "--name", key),
        ("create", "--scope", "read", "--why", f"as {key}"),
        ("revoke", f"{key}0", "--why", "x"),
        ("rotate", f"x{key}"),
        ("revoke", "0123456789ab", "--why", key),
    ):
        code, printed, errors = command("keys", *arguments)
        assert code in {1, 2}
        assert key[-64:] not in printed + errors


def test_a_key_is_written_to_a_new_file_of_its_owner_alone(panthera: Panthera, tmp_path: Path) -> None:
    file = tmp_path / "shop.key"
    code, printed, notes = panthera("keys", "create", "--scope", "read", "--to", str(file))
    key = parse_key(file.read_text().removesuffix("\n"))
    assert key is not None
    assert (code, printed, file.stat().st_mode & 0o777) == (0, "", 0o600)
    assert f"key {key.key_id} for read" in notes
    for there in (file, tmp_path / "nowhere" / "shop.key"):
        assert "name a new file with --to" in panthera("keys", "rotate", key.key_id, "--to", str(there))[2]
    assert file.read_text() == f"{key.text}\n"
    other = tmp_path / "other.key"
    assert panthera("keys", "rotate", "0123456789ab", "--to", str(other))[0] == 1
    assert not other.exists()
    assert len(json.loads(panthera("keys", "list", "--json")[1])["keys"]) == 1


def test_an_id_that_does_not_exist_is_one_line(panthera: Panthera) -> None:
    for arguments in (("revoke", "0123456789ab", "--why", "x"), ("rotate", "0123456789ab")):
        code, _, errors = panthera("keys", *arguments)
        assert code == 1
        assert errors == "error: the database has no key 0123456789ab; `panthera keys list` shows those that it has\n"
