"""`panthera`: the verbs of the platform. `panthera VERB --help` explains each."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from core.errors import PantheraError
from core.settings import read_settings, silence_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from rich.console import RenderableType

    from core.plan import Plan
    from models.release_verbs import RolesNow

#: What the shell sees: bad usage is 2 (argparse), a finding that needs attention 3.
EXIT_ERROR, EXIT_FINDING, EXIT_INTERRUPTED = 1, 3, 130

REPORT = Path("reports/drift.html")
DATA = Path("data")


class _Result(Protocol):
    def to_dict(self) -> dict[str, object]: ...


def _plan() -> Plan:
    from core.plan_file import read_plan

    return read_plan(read_settings().plan)


def _show(result: _Result, table: Callable[[], RenderableType], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    from rich.console import Console

    Console().print(table())


def _time(text: str) -> datetime:
    from core.plan import parse_instant

    try:
        return parse_instant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _length(text: str) -> timedelta:
    from core.plan import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def up(_: argparse.Namespace) -> int:
    """Start the embedded database (if none is named by PANTHERA_DATABASE_URL) and bring its schema up to date."""
    from core.database import ensure_database, shown

    print(f"database: {shown(ensure_database(read_settings()))}")
    return 0


def down(_: argparse.Namespace) -> int:
    """Stop the embedded database."""
    from core.postgres_server import EmbeddedServer

    settings = read_settings()
    if settings.database_url is not None:
        print("database: PANTHERA_DATABASE_URL names a server of yours, which is left alone")
        return 0
    print("database: stopped" if EmbeddedServer(settings.state).stop() else "database: was not running")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Say what is registered and online, and whether the receipts of the stages still hold."""
    from panthera.status import read_status

    found = read_status(read_settings(), _plan(), arguments.data)
    _show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.stale else 0


def check_plan(_: argparse.Namespace) -> int:
    """Check the plan without running anything."""
    plan = _plan()
    views = plan.build_features.views
    features = sum(len(view.features) for view in views.values())
    print(
        f"{read_settings().plan}: {plan.project.name} is sound: {len(plan.ingest)} sources, {len(views)} views with "
        f"{features} features, {len(plan.train.candidates)} candidates"
    )
    return 0


def project(arguments: argparse.Namespace) -> int:
    """Make a folder in which this checkout's code runs another plan, with data, state and releases of its own."""
    from panthera.project_folder import make_project

    make_project(arguments.plan, arguments.folder)
    print(
        f"{arguments.folder} runs {arguments.plan}: `cd {arguments.folder}`, then `dvc repro`, `panthera status` and the rest"
    )
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Run the whole loop once: reproduce, serve, score, send outcomes, measure drift, parity and cohorts."""
    from panthera.demo import run_demo
    from panthera.project_folder import default_folder, enter_project

    if arguments.plan:
        folder = arguments.folder or default_folder(arguments.plan, read_settings().state)
        enter_project(arguments.plan, folder)
        print(f"in the project folder {folder}", flush=True)
    run_demo(read_settings(), _plan())
    return 0


def catch_up(arguments: argparse.Namespace) -> int:
    """Take in what the sources have learnt since, and bring the features as of an instant online."""
    from datetime import UTC, datetime

    from feature_repo.catch_up import catch_up as run_catch_up

    as_of = arguments.as_of or datetime.now(UTC)
    caught_up = run_catch_up(read_settings(), _plan(), arguments.data, as_of)
    for name, rows in caught_up.sources.items():
        print(f"{name}: {rows.accepted:,} new rows accepted, {rows.rejected:,} rejected")
    for name, online in caught_up.views.items():
        print(f"{name}: {online:,} rows online as of {as_of:%Y-%m-%d %H:%M}")
    return 0


def repair(_: argparse.Namespace) -> int:
    """Bring back what the database or the state folder lost since the stages ran."""
    from panthera.pipeline import repair as run_again

    run_again()
    return 0


def drift(arguments: argparse.Namespace) -> int:
    """Compare what was served with what the release was trained on; exit with 3 if a column drifted."""
    from monitoring.verbs import drift_verb

    result = drift_verb(
        read_settings(),
        _plan(),
        as_of=arguments.as_of,
        window=arguments.window,
        role=arguments.role,
        report=arguments.report,
    )
    _show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.alarms else 0


def parity(arguments: argparse.Namespace) -> int:
    """Recompute served feature vectors offline and compare them value by value; exit with 3 on a defect."""
    from monitoring.verbs import parity_verb

    result = parity_verb(read_settings(), _plan(), data=arguments.data, as_of=arguments.as_of, window=arguments.window)
    _show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.defects else 0


def explain(arguments: argparse.Namespace) -> int:
    """Tell what each feature added to the score of a prediction that was served."""
    from monitoring.verbs import explain_verb

    result = explain_verb(read_settings(), arguments.prediction)
    _show(result, result.table, as_json=arguments.json)
    return 0


def cohorts(arguments: argparse.Namespace) -> int:
    """Compare the outcomes of champion and challenger over mature exposures."""
    from datetime import UTC, datetime

    from monitoring.cohorts import cohorts_table
    from monitoring.verbs import cohorts_verb

    result = cohorts_verb(read_settings(), _plan(), as_of=arguments.as_of or datetime.now(UTC))
    _show(result, lambda: cohorts_table(result), as_json=arguments.json)
    return 0


def key(_: argparse.Namespace) -> int:
    """Show the public key of what signs bundles here: a service elsewhere is told it by PANTHERA_TRUSTED_KEY."""
    from models.signing import read_signer

    print(read_signer(read_settings()).public)
    return 0


def releases(arguments: argparse.Namespace) -> int:
    """List the latest releases with their roles, the gate's verdicts and their measures on the test rows."""
    from models.release_verbs import list_verb

    found = list_verb(read_settings(), _plan(), arguments.limit)
    _show(found, found.table, as_json=arguments.json)
    return 0


def release_show(arguments: argparse.Namespace) -> int:
    """Tell all about a release: data, code, features, numbers, verdicts, roles, and whom it answered when."""
    from models.release_verbs import show_verb

    found = show_verb(read_settings(), _plan(), arguments.release)
    _show(found, found.table, as_json=arguments.json)
    return 0


def promote(arguments: argparse.Namespace) -> int:
    """Give a role to a release; exit with 3 if it has it, but MLflow's aliases could not follow."""
    from models.release_verbs import promote_verb

    return _show_roles(
        promote_verb(read_settings(), _plan(), arguments.release, arguments.role, arguments.why), arguments
    )


def rollback(arguments: argparse.Namespace) -> int:
    """Let an earlier champion answer again: the one before the present one, or any other by its id."""
    from models.release_verbs import rollback_verb

    return _show_roles(rollback_verb(read_settings(), _plan(), arguments.to, arguments.why), arguments)


def release_retire(arguments: argparse.Namespace) -> int:
    """Take the challenger's role from a release; the champion answers in its place."""
    from models.release_verbs import retire_verb

    return _show_roles(retire_verb(read_settings(), _plan(), arguments.release, arguments.why), arguments)


def _show_roles(found: RolesNow, arguments: argparse.Namespace) -> int:
    _show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.mlflow_problem else 0


def release_sign(arguments: argparse.Namespace) -> int:
    """Vouch for a bundle that nobody has signed, or a key that is gone: sign it with the key of this place."""
    from models.release_verbs import sign_verb

    print(f"{arguments.release}: signed by {sign_verb(read_settings(), _plan(), arguments.release)}")
    return 0


def features_status(arguments: argparse.Namespace) -> int:
    """Say what is online, how old it is, and which runs brought it; exit with 3 if a view is not online."""
    from panthera import feature_verbs

    found = feature_verbs.features_status(_plan())
    _show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.missing else 0


def features_diff(arguments: argparse.Namespace) -> int:
    """Compare what is online with the snapshots, value by value, and say why they differ; exit with 3 on a defect."""
    from panthera import feature_verbs

    found = feature_verbs.features_diff(_plan(), arguments.data, arguments.as_of)
    _show(found, found.table, as_json=arguments.json)
    return EXIT_FINDING if found.defects else 0


def features_push(arguments: argparse.Namespace) -> int:
    """Bring fresh rows online, one JSON object a line: event_id, the entity's key, event_time and features."""
    from panthera import feature_verbs

    receipt = feature_verbs.features_push(_plan(), arguments.view, arguments.file)
    print(f"push: {receipt.stored:,} rows stored, {receipt.duplicates:,} had been before")
    return 0


def features_delete(arguments: argparse.Namespace) -> int:
    """Delete one entity's rows from every online table."""
    from panthera import feature_verbs

    for table, rows in feature_verbs.features_delete(_plan(), arguments.entity, arguments.key).items():
        print(f"delete: {table}: {rows} rows")
    return 0


def features_collect(_: argparse.Namespace) -> int:
    """Drop the tables of earlier versions of views that no release reads."""
    from panthera import feature_verbs

    dropped = feature_verbs.features_collect()
    print(f"collect: {', '.join(dropped) or 'nothing to drop'}")
    return 0


def feast(arguments: argparse.Namespace) -> int:
    """Run Feast's own command line on this checkout's feature repository, connected to its registry."""
    from feature_repo.registry import run_feast

    return run_feast(read_settings(), arguments.rest)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="panthera", description="Plan, train, serve and compare releases.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    verb = partial(_verb, verbs.add_parser)
    verb("plan", check_plan)
    verb("up", up)
    verb("down", down)
    added = verb("project", project)
    added.add_argument("plan", type=Path, help="plan to run")
    added.add_argument("folder", type=Path, help="folder to make, or a project folder to bring up to date")
    added = verb("demo", demo)
    added.add_argument("--plan", type=Path, help="another plan, run in a project folder; without it: the one here")
    added.add_argument("--folder", type=Path, help="its project folder; without it: one in the state folder")
    verb("repair", repair)
    added = verb("catch-up", catch_up)
    added.add_argument("--as-of", type=_time, help="the instant, such as 1998-04-02; without it: now")
    added.add_argument("--data", type=Path, default=DATA, help="folder of the stages' tables")
    added = verb("status", status)
    added.add_argument("--data", type=Path, default=DATA, help="folder of the stages' tables and receipts")
    added.add_argument("--json", action="store_true", help="print one JSON object")
    for name, function in {"drift": drift, "parity": parity, "cohorts": cohorts}.items():
        added = verb(name, function)
        added.add_argument("--as-of", type=_time, help="end of the window, such as 1998-04-01; without it: now")
        added.add_argument("--json", action="store_true", help="print one JSON object")
        if name != "cohorts":
            added.add_argument("--window", type=_length, help="length of the window, such as 7d; without it: all")
        if name == "drift":
            added.add_argument("--role", choices=("champion", "challenger"), default="champion")
            added.add_argument("--report", type=Path, help="also draw an HTML report into this file")
        if name == "parity":
            added.add_argument("--data", type=Path, default=DATA, help="folder of the stages' tables")
    added = verb("explain", explain)
    added.add_argument("prediction", type=UUID, nargs="?", help="its prediction_id; without it: the last one")
    added.add_argument("--json", action="store_true", help="print one JSON object")
    verb("key", key)
    _release_verbs(verbs.add_parser)
    _feature_verbs(verbs.add_parser)
    verb("feast", feast).add_argument("rest", nargs=argparse.REMAINDER, help="arguments of feast")
    return parser


def _verb(
    add: Callable[..., argparse.ArgumentParser], name: str, function: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    text = (function.__doc__ or "").strip()
    added = add(name, help=text, description=text)
    added.set_defaults(function=function)
    return added


def _release_verbs(add: Callable[..., argparse.ArgumentParser]) -> None:
    listing, promotion, back = (
        _verb(add, "releases", releases),
        _verb(add, "promote", promote),
        _verb(add, "rollback", rollback),
    )
    text = "Look at one release, take its role, or vouch for it."
    act = add("release", help=text, description=text).add_subparsers(required=True, metavar="ACTION").add_parser
    show, sign, retire = (
        _verb(act, "show", release_show),
        _verb(act, "sign", release_sign),
        _verb(act, "retire", release_retire),
    )
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="how many; without it: 20")
    promotion.add_argument("--role", choices=("champion", "challenger"), default="champion")
    back.add_argument("--to", metavar="ID", help="an earlier champion; without it: the one before the present one")
    for added in (show, sign, retire, promotion):
        added.add_argument("release", metavar="ID", help="id of a release, or its role")
    for added in (retire, promotion, back):
        added.add_argument("--why", required=True, metavar="TEXT", help="the reason, which the ledger keeps")
    for added in (listing, show, retire, promotion, back):
        added.add_argument("--json", action="store_true", help="print one JSON object")


def _feature_verbs(add: Callable[..., argparse.ArgumentParser]) -> None:
    text = "Look at what is online, bring rows there, or take them away."
    act = add("features", help=text, description=text).add_subparsers(required=True, metavar="ACTION").add_parser
    show, compare = _verb(act, "status", features_status), _verb(act, "diff", features_diff)
    compare.add_argument("--as-of", type=_time, help="compare with what was knowable then; without it: now")
    compare.add_argument("--data", type=Path, default=DATA, help="folder of the stages' tables")
    for added in (show, compare):
        added.add_argument("--json", action="store_true", help="print one JSON object")
    added = _verb(act, "push", features_push)
    added.add_argument("view", help="name of the view")
    added.add_argument("file", type=Path, nargs="?", help="file of JSON lines; without it: the standard input")
    added = _verb(act, "delete", features_delete)
    added.add_argument("entity", help="name of the entity, as the plan has it")
    added.add_argument("key", help="its key")
    _verb(act, "collect", features_collect)


def main() -> None:
    """Run the verb that the command line names."""
    arguments = _parser().parse_args()
    silence_telemetry()
    try:
        sys.exit(arguments.function(arguments))
    except PantheraError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
