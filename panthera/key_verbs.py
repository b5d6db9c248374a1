"""`panthera keys ...`: create, list, revoke and rotate the API keys of the service's callers."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from core.access.api_key import DEFAULT_ENVIRONMENT, SCOPES, holds_key, id_in, is_environment
from core.errors import PantheraError
from core.settings import read_settings
from core.terminal import terminal_table
from panthera.verb import add_group, add_json, add_verb, duration, plain_text, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg
    from rich.table import Table

    from core.access.api_key import ApiKey, PlainKey
    from core.access.key_table import Change
    from panthera.verb import Add

_LONGEST_NAME = 100
_MOST_PER_SECOND = 1_000_000.0
#: Said of a key; a running service reads the keys every second.
_EFFECTIVE = "effective within 5 s"


@dataclass(frozen=True)
class KeyList:
    """All keys of the database, without their secrets."""

    keys: tuple[ApiKey, ...]
    as_of: datetime

    def to_dict(self) -> dict[str, object]:
        """Return the keys as JSON values."""
        return {"enforced": bool(self.keys), "keys": [_as_json(key, self.as_of) for key in self.keys]}

    def table(self) -> Table:
        """Return the keys as a table for a terminal."""
        caption = None if self.keys else "no key exists: the service is open to callers on its own machine"
        table = terminal_table(
            "id", "name", "scopes", "rate", "created", "expires", "state", title="API keys", caption=caption
        )
        for key in self.keys:
            table.add_row(
                key.key_id,
                key.name or "",
                " ".join(key.scopes),
                f"{key.rate:g}/s" if key.rate else "",
                f"{key.created_at:%Y-%m-%d} by {key.created_by}",
                f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never",
                _state(key, self.as_of),
            )
        return table


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is None:
        return key.state(now)
    return f"revoked {key.revoked_at:%Y-%m-%d} by {key.revoked_by}: {key.revoked_why}"


def _as_json(key: ApiKey, now: datetime) -> dict[str, Any]:
    """Return the attributes of a key, without its hash, and its state."""
    times = ("created_at", "expires_at", "revoked_at")
    shown = {name: value for name, value in vars(key).items() if name != "digest"}
    return {
        **shown,
        **{name: shown[name] and shown[name].isoformat() for name in times},
        "scopes": list(key.scopes),
        "state": key.state(now),
    }


def create(arguments: argparse.Namespace) -> int:
    """Create an API key for callers of the service and print it; it is shown this once, and only its hash is stored."""
    from core.access.key_table import KeyTerms, create_key

    terms = KeyTerms(tuple(arguments.scope), arguments.name, arguments.expires, arguments.rate, arguments.environment)
    return _issue(arguments, lambda connection, change: create_key(connection, terms, change))


def rotate(arguments: argparse.Namespace) -> int:
    """Create and print a second API key with the terms of a key; both are accepted until the first is revoked."""
    from core.access.key_table import rotate_key

    key_id = _id_of(arguments.id)
    issued = _issue(arguments, lambda connection, change: rotate_key(connection, key_id, change))
    _note(f"when all callers have the new key: `panthera keys revoke {key_id} --why rotated`")
    return issued


def revoke(arguments: argparse.Namespace) -> int:
    """Revoke an API key of the service's callers; running services refuse it within 5 s."""
    from core.access.key_table import fetch_keys, revoke_key

    key_id = _id_of(arguments.id)
    with _connected() as connection:
        revoke_key(connection, key_id, _change(arguments.why))
        keys = fetch_keys(connection)
    print(f"{key_id}: revoked, {_EFFECTIVE}")
    if all(key.state(datetime.now(UTC)) != "live" for key in keys):
        _note("no key is live now: the service refuses every caller; `panthera keys create` makes a new one")
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    """List the API keys of the service's callers with their scopes, terms and history; secrets are not stored."""
    from core.access.key_table import fetch_keys

    with _connected() as connection:
        result = KeyList(tuple(fetch_keys(connection)), datetime.now(UTC))
    show(result, result.table, as_json=arguments.json)
    return 0


def _issue(arguments: argparse.Namespace, issue: Callable[[psycopg.Connection, Change], PlainKey]) -> int:
    """Create a key by `issue`; write it to the file of --to or to the standard output, and notes to the standard error."""
    from core.access.key_table import fetch_keys

    with _private_file(arguments.to) as file, _connected() as connection:
        plain = issue(connection, _change(arguments.why))
        keys = fetch_keys(connection)
        if file:
            file.write(f"{plain.text}\n")
            file.flush()  # before the key is committed, since it cannot be shown again
    (key,) = (key for key in keys if key.key_id == plain.key_id)
    if arguments.json:
        place = {"file": str(arguments.to)} if arguments.to else {"key": plain.text}
        print(json.dumps({**place, **_as_json(key, datetime.now(UTC))}, indent=2))
    elif not arguments.to:
        print(plain.text)
    _note(_summary(key))
    if len(keys) == 1:
        _note("this is the first key: from now on the service refuses callers without a key")
    return 0


def _summary(key: ApiKey) -> str:
    until = f"until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "without expiry"
    return f"key {key.key_id} for {', '.join(key.scopes)}, {until}, {_EFFECTIVE}; it cannot be shown again"


@contextmanager
def _private_file(path: Path | None) -> Iterator[TextIO | None]:
    """Create a file that only its owner may read, and remove it if the block fails; None without a path."""
    if path is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise PantheraError(f"{path} cannot be created ({error.strerror}); name a new file with --to") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def _connected() -> Iterator[psycopg.Connection]:
    from core.postgres.database import connect, ensure_database

    with connect(ensure_database(read_settings())) as connection:
        yield connection


def _change(reason: str) -> Change:
    from core.access.key_table import Change
    from models.bundles.revisions import actor

    return Change(actor(read_settings(), Path.cwd()), reason)


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _id_of(text: str) -> str:
    """Return the id in an argument, which may be a whole key; raise PantheraError, without the text, for another one."""
    found = id_in(text)
    if found is None:
        raise PantheraError("expected the id of a key, 12 hexadecimal digits; `panthera keys list` shows it")
    return found


def text_without_key(text: str) -> str:
    """Return an argument that is plain text in which no key stands; raise ArgumentTypeError, without the text, otherwise."""
    if holds_key(text):
        raise argparse.ArgumentTypeError("a key stands in the text, which is stored; name the id of a key instead")
    return plain_text(text)


def key_name(text: str) -> str:
    """Return an argument that is a short text on one line; raise ArgumentTypeError otherwise."""
    if not 0 < len(text_without_key(text).strip()) <= _LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"expected a name of 1 to {_LONGEST_NAME} characters, such as storefront")
    return text.strip()


def environment(text: str) -> str:
    """Return an argument that can be the environment in a key; raise ArgumentTypeError otherwise."""
    if not is_environment(text):
        raise argparse.ArgumentTypeError(
            f"{text!a} is not up to 16 lower-case letters and digits, such as live or test"
        )
    return text


def lifetime(text: str) -> timedelta:
    """Return an argument that is a duration above zero; raise ArgumentTypeError otherwise."""
    parsed = duration(text)
    if not parsed:
        raise argparse.ArgumentTypeError(f"{text!r} is no time at all; expected a duration such as 90d")
    return parsed


def rate(text: str) -> float:
    """Return an argument that is a positive number of requests per second; raise ArgumentTypeError otherwise."""
    try:
        parsed = float(text)
    except ValueError:
        parsed = 0.0
    if not 1 / _MOST_PER_SECOND <= parsed <= _MOST_PER_SECOND:  # NaN is refused too
        raise argparse.ArgumentTypeError(f"{text!a} is not a positive number of requests per second, such as 50 or 0.5")
    return parsed


def add_key_verbs(add: Add) -> None:
    """Add the verbs about API keys."""
    add_action = add_group(
        add,
        "keys",
        "Create, list, revoke or rotate the API keys of the service's callers (`panthera key` is about signed bundles).",
    )
    create_parser, list_parser, revoke_parser, rotate_parser = (
        add_verb(add_action, "create", create),
        add_verb(add_action, "list", list_keys),
        add_verb(add_action, "revoke", revoke),
        add_verb(add_action, "rotate", rotate),
    )
    _add_terms(create_parser)
    for added in (revoke_parser, rotate_parser):
        added.add_argument("id", metavar="ID", help="id of the key, its part before the secret")
    revoke_parser.add_argument(
        "--why", type=text_without_key, required=True, metavar="TEXT", help="the reason, recorded"
    )
    for added in (create_parser, rotate_parser):
        added.add_argument(
            "--why", type=text_without_key, default="not stated", metavar="TEXT", help="the reason, recorded"
        )
        added.add_argument(
            "--to", type=Path, metavar="FILE", help="write the key to a new file with mode 600 instead of printing it"
        )
    for added in (create_parser, list_parser, rotate_parser):
        add_json(added)


def _add_terms(parser: argparse.ArgumentParser) -> None:
    """Add the options for what a new key allows."""
    parser.add_argument(
        "--scope", action="append", required=True, choices=SCOPES, help="what it allows; repeat it for several"
    )
    parser.add_argument("--name", type=key_name, help="whose key it is, for the list")
    parser.add_argument("--expires", type=lifetime, metavar="DURATION", help="its life, such as 90d; default: no end")
    parser.add_argument(
        "--rate", type=rate, metavar="N", help="most requests per second on one machine; default: no limit"
    )
    parser.add_argument(
        "--environment",
        type=environment,
        default=DEFAULT_ENVIRONMENT,
        metavar="NAME",
        help=f"a word in the key, for its holders; default: {DEFAULT_ENVIRONMENT}",
    )
