"""The command `panthera` and its verbs; `panthera VERB --help` explains each."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

from core.entry import exit_code
from core.settings import read_settings
from panthera.experiment_verbs import add_experiment_verbs
from panthera.feature_verbs import add_feature_verbs
from panthera.key_verbs import add_key_verbs
from panthera.log_verbs import add_log_verbs
from panthera.monitor_verbs import add_monitor_verbs
from panthera.plan_verbs import add_plan_verbs
from panthera.release_verbs import add_release_verbs
from panthera.score_verb import add_score_verb
from panthera.verb import DATA, EXIT_FINDING, add_data, add_json, add_verb, past_instant, read_current_plan, show


def up(_: argparse.Namespace) -> int:
    """Start the embedded database (unless PANTHERA_DATABASE_URL is set), migrate it, and store PANTHERA_ADMIN_KEY's hash."""
    from core.postgres.database import connect, ensure_database, shown
    from core.postgres.roles import grant_roles
    from panthera.service.access import prepare_access

    settings = read_settings()
    url = ensure_database(settings)
    print(f"database: {shown(url)}")
    with connect(url) as connection:
        if fault := grant_roles(connection):
            print(f"roles: the service runs as the user of the database, who may not create its own ({fault})")
    for line in prepare_access(settings, url):
        print(line)
    return 0


def down(_: argparse.Namespace) -> int:
    """Stop the embedded database."""
    from core.postgres.server import EmbeddedServer

    settings = read_settings()
    if settings.database_url is not None:
        print("database: PANTHERA_DATABASE_URL names your own server, which is not stopped")
        return 0
    print("database: stopped" if EmbeddedServer(settings.state).stop() else "database: was not running")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Show what is registered and online, and whether it agrees with the receipts of the stages; exit with 3 if it does not."""
    from panthera.status import read_status

    result = read_status(read_settings(), read_current_plan(), arguments.data)
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.stale else 0


def project(arguments: argparse.Namespace) -> int:
    """Create a folder in which this checkout's code runs another plan, with separate data, state and releases."""
    from panthera.project_folder import make_project

    make_project(arguments.plan, arguments.folder)
    print(
        f"{arguments.folder} runs {arguments.plan}: `cd {arguments.folder}`, then `dvc repro`, `panthera status` and the rest"
    )
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Run the whole loop once in a project folder: reproduce, serve, predict, send outcomes, measure drift, parity, cohorts."""
    from panthera.demo import run_demo
    from panthera.project_folder import code_folder, default_folder, enter_project

    settings = read_settings()
    plan = arguments.plan or (settings.plan if Path.cwd() == code_folder() else None)
    if plan:
        folder = arguments.folder or default_folder(plan, settings.state)
        enter_project(plan, folder)
        print(f"in the project folder {folder}", flush=True)
    run_demo(read_settings(), read_current_plan())
    return 0


def catch_up(arguments: argparse.Namespace) -> int:
    """Ingest new rows of the sources, and materialize the features as of an instant."""
    from datetime import UTC, datetime

    from feature_repo.catch_up import catch_up as run_catch_up
    from panthera.online_features import record_tables_in_use
    from panthera.pipeline import changing_tables

    as_of = arguments.as_of or datetime.now(UTC)
    record_tables_in_use(read_settings())
    with changing_tables(arguments.data):
        caught_up = run_catch_up(read_settings(), read_current_plan(), arguments.data, as_of)
    show(caught_up, caught_up.text, as_json=arguments.json)
    return 0


def repair(_: argparse.Namespace) -> int:
    """Restore what was lost from the database or the state folder since the stages ran."""
    from panthera.pipeline import repair as run_again

    run_again()
    return 0


def feast(arguments: argparse.Namespace) -> int:
    """Run Feast's own command line on this checkout's feature repository, connected to its registry."""
    from feature_repo.stores.registry import run_feast

    return run_feast(read_settings(), arguments.rest)


class _Version(argparse.Action):
    """Print the version of this package; the slow lookup of the version runs for this option only."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"{parser.prog} {version('pantherapredict')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="panthera", description="Plan, train, serve and compare releases.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parser.set_defaults(json=False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    verb = partial(add_verb, verbs.add_parser)
    add_plan_verbs(verbs.add_parser)
    verb("up", up)
    verb("down", down)
    added = verb("project", project)
    added.add_argument("plan", type=Path, help="plan to run")
    added.add_argument("folder", type=Path, help="folder to create, or a project folder to update")
    added = verb("demo", demo)
    added.add_argument("--plan", type=Path, help="plan to run; default: the current one")
    added.add_argument("--folder", type=Path, help="its project folder; default: one in the state folder")
    verb("repair", repair)
    added = verb("catch-up", catch_up)
    added.add_argument("--as-of", type=past_instant, help="the instant, such as 1998-04-02; default: now")
    add_data(added)
    add_json(added)
    added = verb("status", status)
    added.add_argument("--data", type=Path, default=DATA, help="folder of the stages' tables and receipts")
    add_json(added)
    add_monitor_verbs(verbs.add_parser)
    add_release_verbs(verbs.add_parser)
    add_score_verb(verbs.add_parser)
    add_feature_verbs(verbs.add_parser)
    add_key_verbs(verbs.add_parser)
    add_log_verbs(verbs.add_parser)
    add_experiment_verbs(verbs.add_parser)
    verb("feast", feast).add_argument("rest", nargs=argparse.REMAINDER, help="arguments of feast")
    return parser


def main() -> None:
    """Run the verb in the command-line arguments, and exit with its code."""
    arguments = _parser().parse_args()
    sys.exit(exit_code(partial(arguments.function, arguments)))


if __name__ == "__main__":
    main()
