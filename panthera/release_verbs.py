"""`panthera releases`, `promote`, `rollback`, `release ...` and `key`: show releases and change their roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.roles import CHAMPION, ROLES
from core.settings import read_settings
from panthera.verb import (
    EXIT_FINDING,
    add_group,
    add_json,
    add_verb,
    count,
    plain_text,
    read_current_plan,
    show,
    show_line,
)

if TYPE_CHECKING:
    import argparse

    from models.releases.verbs import RolesNow
    from panthera.verb import Add


def key(arguments: argparse.Namespace) -> int:
    """Show the public key of the key that signs bundles, for PANTHERA_TRUSTED_KEY (API keys of callers: `panthera keys`)."""
    from models.bundles.signing import read_signer

    public = read_signer(read_settings()).public
    show_line(public, {"public_key": public}, as_json=arguments.json)
    return 0


def releases(arguments: argparse.Namespace) -> int:
    """List the latest releases with their roles, the gate's verdicts and their metrics on the test rows."""
    from models.releases.verbs import list_verb

    result = list_verb(read_settings(), read_current_plan(), arguments.limit)
    show(result, result.table, as_json=arguments.json)
    return 0


def show_release(arguments: argparse.Namespace) -> int:
    """Show a release: its data, code, features, metrics, verdicts, roles, and when it answered requests."""
    from models.releases.verbs import show_verb

    result = show_verb(read_settings(), read_current_plan(), arguments.release)
    show(result, result.table, as_json=arguments.json)
    return 0


def promote(arguments: argparse.Namespace) -> int:
    """Assign a role to a release; exit with 3 if it was assigned, but MLflow's aliases could not be updated."""
    from models.releases.verbs import promote_verb

    return _show_roles(
        promote_verb(read_settings(), read_current_plan(), arguments.release, arguments.role, arguments.why), arguments
    )


def rollback(arguments: argparse.Namespace) -> int:
    """Make an earlier champion the champion again: the previous one, or another by its id."""
    from models.releases.verbs import rollback_verb

    return _show_roles(rollback_verb(read_settings(), read_current_plan(), arguments.to, arguments.why), arguments)


def retire(arguments: argparse.Namespace) -> int:
    """Remove the challenger role from a release; the champion answers its requests."""
    from models.releases.verbs import retire_verb

    return _show_roles(retire_verb(read_settings(), read_current_plan(), arguments.release, arguments.why), arguments)


def _show_roles(result: RolesNow, arguments: argparse.Namespace) -> int:
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.mlflow_problem else 0


def sign(arguments: argparse.Namespace) -> int:
    """Sign a bundle with the key of this installation, if it is unsigned or was signed with a lost key."""
    from models.releases.verbs import sign_verb

    release, signer = arguments.release, sign_verb(read_settings(), read_current_plan(), arguments.release)
    show_line(f"{release}: signed by {signer}", {"release": release, "signer": signer}, as_json=arguments.json)
    return 0


def add_release_verbs(add: Add) -> None:
    """Add the verbs about releases and their keys."""
    key_parser, list_parser, promote_parser, rollback_parser = (
        add_verb(add, "key", key),
        add_verb(add, "releases", releases),
        add_verb(add, "promote", promote),
        add_verb(add, "rollback", rollback),
    )
    add_action = add_group(add, "release", "Show, sign or retire one release.")
    show_parser, sign_parser, retire_parser = (
        add_verb(add_action, "show", show_release),
        add_verb(add_action, "sign", sign),
        add_verb(add_action, "retire", retire),
    )
    list_parser.add_argument("--limit", type=count, default=20, metavar="N", help="number of releases; default: 20")
    promote_parser.add_argument("--role", choices=ROLES, default=CHAMPION, help="role to assign; default: champion")
    rollback_parser.add_argument(
        "--to", type=plain_text, metavar="ID", help="an earlier champion; default: the previous one"
    )
    for added in (show_parser, sign_parser, retire_parser, promote_parser):
        added.add_argument("release", type=plain_text, metavar="ID", help="id of a release, or its role")
    for added in (retire_parser, promote_parser, rollback_parser):
        added.add_argument(
            "--why", type=plain_text, required=True, metavar="TEXT", help="the reason, recorded in the ledger"
        )
    for added in (
        key_parser,
        list_parser,
        show_parser,
        sign_parser,
        retire_parser,
        promote_parser,
        rollback_parser,
    ):
        add_json(added)
