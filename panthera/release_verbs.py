"""`panthera releases`, `promote`, `rollback`, `release ...` and `key`: which releases there are, and who may answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.roles import CHAMPION, ROLES
from core.settings import read_settings
from panthera.verb import EXIT_FINDING, add_group, add_json, add_verb, count, plan_here, show, words

if TYPE_CHECKING:
    import argparse

    from models.releases.verbs import RolesNow
    from panthera.verb import Add


def key(_: argparse.Namespace) -> int:
    """Show the public key of what signs bundles here: a service elsewhere is told it by PANTHERA_TRUSTED_KEY."""
    from models.bundles.signing import read_signer

    print(read_signer(read_settings()).public)
    return 0


def releases(arguments: argparse.Namespace) -> int:
    """List the latest releases with their roles, the gate's verdicts and their measures on the test rows."""
    from models.releases.verbs import list_verb

    found = list_verb(read_settings(), plan_here(), arguments.limit)
    show(found, found.table, as_json=arguments.json)
    return 0


def show_release(arguments: argparse.Namespace) -> int:
    """Tell all about a release: data, code, features, numbers, verdicts, roles, and whom it answered when."""
    from models.releases.verbs import show_verb

    found = show_verb(read_settings(), plan_here(), arguments.release)
    show(found, found.table, as_json=arguments.json)
    return 0


def promote(arguments: argparse.Namespace) -> int:
    """Give a role to a release; exit with 3 if it has it, but MLflow's aliases could not follow."""
    from models.releases.verbs import promote_verb

    return _show_roles(
        promote_verb(read_settings(), plan_here(), arguments.release, arguments.role, arguments.why), arguments
    )


def rollback(arguments: argparse.Namespace) -> int:
    """Let an earlier champion answer again: the one before the present one, or any other by its id."""
    from models.releases.verbs import rollback_verb

    return _show_roles(rollback_verb(read_settings(), plan_here(), arguments.to, arguments.why), arguments)


def retire(arguments: argparse.Namespace) -> int:
    """Take the challenger's role from a release; the champion answers in its place."""
    from models.releases.verbs import retire_verb

    return _show_roles(retire_verb(read_settings(), plan_here(), arguments.release, arguments.why), arguments)


def _show_roles(found: RolesNow, arguments: argparse.Namespace) -> int:
    show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.mlflow_problem else 0


def sign(arguments: argparse.Namespace) -> int:
    """Vouch for a bundle that nobody has signed, or a key that is gone: sign it with the key of this place."""
    from models.releases.verbs import sign_verb

    print(f"{arguments.release}: signed by {sign_verb(read_settings(), plan_here(), arguments.release)}")
    return 0


def add_release_verbs(add: Add) -> None:
    """Add the verbs about releases and their keys."""
    add_verb(add, "key", key)
    listing, promotion, back = (
        add_verb(add, "releases", releases),
        add_verb(add, "promote", promote),
        add_verb(add, "rollback", rollback),
    )
    act = add_group(add, "release", "Look at one release, take its role, or vouch for it.")
    showing, signing, retiring = (
        add_verb(act, "show", show_release),
        add_verb(act, "sign", sign),
        add_verb(act, "retire", retire),
    )
    listing.add_argument("--limit", type=count, default=20, metavar="N", help="how many; without it: 20")
    promotion.add_argument("--role", choices=ROLES, default=CHAMPION)
    back.add_argument(
        "--to", type=words, metavar="ID", help="an earlier champion; without it: the one before the present one"
    )
    for added in (showing, signing, retiring, promotion):
        added.add_argument("release", type=words, metavar="ID", help="id of a release, or its role")
    for added in (retiring, promotion, back):
        added.add_argument(
            "--why", type=words, required=True, metavar="TEXT", help="the reason, which the ledger keeps"
        )
    for added in (listing, showing, retiring, promotion, back):
        add_json(added)
